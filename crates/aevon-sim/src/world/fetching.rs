//! States over HTTP, of a projection service that runs in this process: each is what the oracle says, and
//! whoever has an answer already, and is told that it is still the one, has the one that would be sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use aevon_core::position::Position;
use aevon_service::health::Readiness;
use aevon_service::http::{self as shell, HttpOptions};
use aevon_service::metrics::Metrics;
use aevon_service::openapi::Document;
use aevon_service::settings::{AuthMode, Secret, Settings};
use aevon_service::shutdown::Shutdown;
use anyhow::Context;
use projection_svc::{Projection, READY_DATABASE};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::World;
use crate::asking::{check_sent, selection};
use crate::fault::Fault;
use crate::model::partition;
use crate::operation::By;
use crate::run::Violation;
use crate::wire::DEADLINE;

/// Between two questions whether the service is ready.
const READY_INTERVAL: Duration = Duration::from_millis(10);

/// A projection service in this process.
#[derive(Debug)]
pub(super) struct Service {
    address: SocketAddr,
    shutdown: Shutdown,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

/// What a caller keeps of an answer.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    tag: String,
    body: Json,
}

/// By path.
pub(super) type Cache = HashMap<String, Kept>;

/// A response.
struct Response {
    status: u16,
    headers: HashMap<String, String>,
    /// Null where there is none.
    body: Json,
}

impl Service {
    pub(super) async fn start(url: &str) -> anyhow::Result<Self> {
        let mut settings = Settings::default();
        settings.database.url = Some(Secret::new(url));
        settings.database.max_connections = 2;
        settings.auth.mode = AuthMode::Disabled;
        let mut options = HttpOptions::from_settings(&settings)?;
        (options.port, options.workers) = (0, 1);
        let listener = shell::bind(&options)?;
        let address = listener.local_addr()?;
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let thread = std::thread::spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let readiness = Readiness::new(&[READY_DATABASE]);
                let metrics = Metrics::new()?;
                let projection = Projection::new(&settings, &metrics)?;
                let serve = shell::serve(
                    listener,
                    options,
                    readiness.clone(),
                    metrics,
                    stop,
                    Document::of([projection_svc::openapi()]),
                    projection.configure(),
                );
                let work = async {
                    projection.prepare(&readiness).await?;
                    projection.watch(readiness.clone()).await;
                    anyhow::Ok(())
                };
                tokio::select! {
                    served = serve => served,
                    worked = work => worked,
                }
            })
        });
        let service = Self {
            address,
            shutdown,
            thread: Some(thread),
        };
        let deadline = Instant::now() + DEADLINE;
        while service.get("/readyz", None).await?.status != 200 {
            anyhow::ensure!(Instant::now() < deadline, "the service is not ready");
            sleep(READY_INTERVAL).await;
        }
        Ok(service)
    }

    /// Asks over a connection of its own, for what is not that of the tag.
    async fn get(&self, path: &str, tag: Option<&str>) -> anyhow::Result<Response> {
        let condition = tag.map(|tag| format!("if-none-match: {tag}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{}\r\n",
            self.address,
            condition.unwrap_or_default()
        );
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = timeout(DEADLINE, asked).await??;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let header = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_lowercase(), value.to_owned()))
        };
        Ok(Response {
            status: status.context("no status")?.parse()?,
            headers: lines.filter_map(header).collect(),
            body: serde_json::from_str(body).unwrap_or(Json::Null),
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shutdown.trigger();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Response {
    fn header(&self, name: &str) -> String {
        self.headers.get(name).cloned().unwrap_or_default()
    }

    /// What an answer is, but for what it tells of how it was made.
    fn answer(&self) -> Json {
        let mut answer = self.body.clone();
        if let Some(answer) = answer.as_object_mut() {
            answer.remove("meta");
        }
        answer
    }
}

impl World {
    pub(super) async fn fetch(&mut self, nth: u8) -> Result<(), Violation> {
        let of = self.model.principal(nth);
        let path = format!("/v1/state/{}/{}", of.0, of.1);
        let kept = self.cache.get(&path).cloned();
        self.counted.reads += 2;
        let told = self.get(&path, kept.as_ref()).await?;
        let fresh = self.get(&path, None).await?;
        self.check_fetched(of, &fresh)?;
        let answer = match (told.status, kept) {
            (200, _) => told.answer(),
            (304, Some(kept)) => kept.body,
            (status, _) => return Violation::of(format!("{path}: {status}: {}", told.body)),
        };
        if answer != fresh.answer() {
            let (status, now) = (told.status, fresh.answer());
            return Violation::of(format!("{path}: {status} for {answer}, which is {now}"));
        }
        let kept = Kept {
            tag: self.tag(&fresh),
            body: answer,
        };
        self.cache.insert(path, kept);
        Ok(())
    }

    /// What is sent is what the oracle says, where the partition stands.
    fn check_fetched(&self, of: (&str, &str), fresh: &Response) -> Result<(), Violation> {
        let partition = partition(of);
        let seq = self.model.head(partition);
        let version = Position { partition, seq }.to_string();
        let Some((_, expected)) = selection(&self.model, By::Every) else {
            return Ok(());
        };
        let (status, body) = (fresh.status, &fresh.body);
        if (status, body["version"].as_str()) != (200, Some(&version)) {
            return Violation::of(format!("{status} at {version}: {body}"));
        }
        let events = self.model.standing(of, seq);
        let checked = check_sent(&self.model, body, &expected, &events);
        checked.map_err(|wrong| wrong.about(format!("{} of {} over HTTP", of.1, of.0)))
    }

    async fn get(&self, path: &str, kept: Option<&Kept>) -> Result<Response, Violation> {
        let is_faulty = self.fault == Some(Fault::TagWithoutRuleVersion);
        let tag = kept.map(|kept| kept.tag.as_str());
        let got = self.service.get(path, tag.filter(|_| !is_faulty)).await;
        let mut got = got.map_err(|error| Violation(format!("{path}: {error:#}")))?;
        if is_faulty && tag.is_some_and(|tag| tag == self.tag(&got)) {
            got.status = 304;
        }
        Ok(got)
    }

    /// The tag of a response; with the fault, one that depends on the version of the log alone.
    fn tag(&self, response: &Response) -> String {
        match self.fault {
            Some(Fault::TagWithoutRuleVersion) => response.header("aevon-version"),
            _ => response.header("etag"),
        }
    }
}
