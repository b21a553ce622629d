//! A database for one test.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::DATABASE_URL;
use crate::template::{TEMPLATE, connect};
use crate::url::with_database;

/// Many tests copy the template at once, and each copy keeps the others out.
const CREATE_DEADLINE: Duration = Duration::from_secs(60);
const DROP_DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(20);

/// A database that only this test uses; it is dropped with this value, with whatever connections
/// it still has.
#[derive(Debug)]
pub struct TestDatabase {
    server: String,
    name: String,
    url: String,
}

impl TestDatabase {
    /// A copy of the migrated template.
    ///
    /// # Panics
    /// The tests were not started by `make test`, or the database could not be made.
    pub async fn create() -> Self {
        Self::from_template(TEMPLATE).await
    }

    /// A database with nothing in it, for tests of the migrations.
    ///
    /// # Panics
    /// The tests were not started by `make test`, or the database could not be made.
    pub async fn empty() -> Self {
        Self::from_template("template0").await
    }

    /// The address of the database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection to the database, driven by a task of its own.
    ///
    /// # Panics
    /// The server does not answer.
    pub async fn client(&self) -> Client {
        connect(&self.url).await.unwrap_or_else(|e| panic!("{e:#}"))
    }

    async fn from_template(template: &str) -> Self {
        let Ok(server) = std::env::var(DATABASE_URL) else {
            panic!("{DATABASE_URL} is not set: run tests by `make test`");
        };
        let name = unique_name();
        if let Err(e) = create(&server, &name, template).await {
            panic!("cannot make the test's database: {e:#}");
        }
        let url = with_database(&server, &name);
        Self { server, name, url }
    }
}

impl Drop for TestDatabase {
    /// In a thread with a runtime of its own, because the test's runtime may be ending. A database
    /// that cannot be dropped is left: the whole server goes at the end of the run.
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let server = self.server.clone();
        let dropping = thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                timeout(DROP_DEADLINE, async {
                    Ok(connect(&server).await?.batch_execute(&statement).await?)
                })
                .await?
            })
        });
        let _ = dropping.join();
    }
}

/// The process, a count within it, and chance, because process ids come back on a server that
/// outlives the run.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Every RandomState has new keys, so this hash of nothing is a random number.
    let chance = RandomState::new().hash_one(count) as u32;
    format!("test_{}_{count}_{chance:08x}", std::process::id())
}

async fn create(server: &str, name: &str, template: &str) -> Result<()> {
    let client = connect(server).await?;
    let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
    let end = Instant::now() + CREATE_DEADLINE;
    loop {
        match client.batch_execute(&statement).await {
            Ok(()) => return Ok(()),
            // "source database is being accessed by other users"
            Err(e) if e.code() == Some(&SqlState::OBJECT_IN_USE) && Instant::now() < end => {
                sleep(RETRY).await;
            }
            Err(e) => return Err(e).with_context(|| format!("copying {template}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_need_no_quotes() {
        let names: std::collections::BTreeSet<_> = (0..100).map(|_| unique_name()).collect();
        assert_eq!(names.len(), 100);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            names
                .iter()
                .all(|name| name.chars().all(plain) && name.len() < 63)
        );
    }
}
