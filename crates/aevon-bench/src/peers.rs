//! Servers to compare with, in this process: one that does one INSERT per request over a pool, and
//! one that parses and answers. Neither finds a duplicate or keeps an order of commits.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::limits::{Inserter, Row};
use crate::log::Places;
use crate::rig::connect;
use crate::workload::PRINCIPALS;

/// A running server.
pub(crate) struct Peer {
    port: u16,
    handle: ServerHandle,
}

impl Peer {
    /// One INSERT per request, by a pool of so many connections.
    pub(crate) async fn inserting(url: &str, connections: u64) -> Result<Self> {
        let places = Places::prepare(&connect(url).await?, PRINCIPALS).await?;
        let mut idle = Vec::new();
        for _ in 0..connections {
            idle.push(Inserter::open(url).await?);
        }
        Self::serve(Some(Pool {
            permits: Semaphore::new(idle.len()),
            idle: Mutex::new(idle),
            places,
        }))
    }

    /// Parses and answers 202.
    pub(crate) fn answering() -> Result<Self> {
        Self::serve(None)
    }

    fn serve(pool: Option<Pool>) -> Result<Self> {
        let pool = Data::new(pool);
        let app = move || {
            App::new()
                .app_data(pool.clone())
                .route("/v1/events", web::post().to(post))
        };
        let server = HttpServer::new(app)
            .disable_signals()
            .bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = server
            .addrs()
            .first()
            .context("a peer listens nowhere")?
            .port();
        let server = server.run();
        let handle = server.handle();
        // It ends by its handle.
        tokio::spawn(server);
        Ok(Self { port, handle })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn stop(self) {
        self.handle.stop(false).await;
    }
}

struct Pool {
    permits: Semaphore,
    idle: Mutex<Vec<Inserter>>,
    places: Places,
}

impl Pool {
    async fn insert(&self, row: Row<'_>) -> Result<(i32, i64)> {
        let _permit = self.permits.acquire().await?;
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let inserter = idle().pop().context("the pool is empty")?;
        let inserted = inserter.insert(&self.places, row).await;
        idle().push(inserter);
        inserted
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    principal_id: &'a str,
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    occurred_at: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Event<'_> {
    fn row(&self) -> Result<Row<'_>> {
        let occurred_at: jiff::Timestamp = self.occurred_at.parse()?;
        let digits = self
            .principal_id
            .strip_prefix('p')
            .context("not a principal of ours")?;
        Ok(Row {
            principal: digits.parse()?,
            id: self.id,
            kind: self.kind,
            occurred_at: SystemTime::from(occurred_at),
            data: self.data.get(),
        })
    }
}

async fn post(pool: Data<Option<Pool>>, body: Bytes) -> HttpResponse {
    match take(pool.as_ref().as_ref(), &body).await {
        Ok(answer) => HttpResponse::Accepted()
            .content_type("application/json")
            .body(answer),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

async fn take(pool: Option<&Pool>, body: &[u8]) -> Result<String> {
    let event: Event<'_> = serde_json::from_slice(body)?;
    let row = event.row()?;
    let (partition, seq) = match pool {
        Some(pool) => pool.insert(row).await?,
        None => (0, 0),
    };
    let id = event.id;
    Ok(format!(
        r#"{{"status":"accepted","id":"{id}","position":"{partition}:{seq}"}}"#
    ))
}
