//! Connections to Postgres: opened, bounded, checked, taken out of service when in doubt.
//!
//! Invariant: every connection carries its timeouts from the first statement on.
//! Invariant: a connection on which something was begun and not ended is never used again.

use crate::access::{self, Access, Unfit};
use crate::error::StoreError;
use deadpool::managed::{self, Metrics, Object, Pool, RecycleError, RecycleResult};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use prometheus::core::Collector;
use rustc_hash::FxHashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

mod address;
mod budget;
mod metrics;

use address::Address;
pub use budget::Budget;
use metrics::PoolMetrics;

/// How to reach Postgres, and how long anything there may take.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// `postgres://user:password@host:port/database`, with `sslmode` and `sslrootcert` behind a `?`.
    pub url: String,
    /// Most connections of the pool.
    pub max_connections: usize,
    /// Shown in `pg_stat_activity`.
    pub application_name: &'static str,
    /// Longest statement.
    pub statement_timeout: Duration,
}

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement may wait for a lock, so that a stalled holder does not stop the others.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a transaction may stand idle between two statements: long for a program that only
/// computes in between, short for whoever waits behind its locks.
pub(crate) const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(2);

/// After how long a peer that does not answer at all counts as gone: a machine that lost its power
/// closes no connection.
const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two questions to a silent peer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// Questions to a silent peer.
const KEEPALIVE_RETRIES: u32 = 3;

/// Between two questions whether Postgres lets a service work.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// A pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pool: Pool<Manager>,
    connector: Arc<Connector>,
    metrics: PoolMetrics,
}

impl Database {
    /// A pool; nothing is opened yet. Its connections are driven by the runtime that calls this, so
    /// that a busy worker thread of a server never holds up those that others wait for.
    ///
    /// # Errors
    /// Where the url is none.
    pub fn new(options: DatabaseOptions) -> Result<Self, StoreError> {
        let address = Address::parse(&options.url)?;
        let max = options.max_connections;
        let metrics = PoolMetrics::new(options.application_name)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let connector = Arc::new(Connector {
            options,
            address,
            runtime: Handle::current(),
        });
        let pool = Pool::builder(Manager(Arc::clone(&connector)))
            .max_size(max)
            .runtime(deadpool::Runtime::Tokio1)
            .wait_timeout(Some(CONNECT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .build()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self {
            pool,
            connector,
            metrics,
        })
    }

    /// What is counted of the pool, under the name of its application.
    ///
    /// # Errors
    /// Never in practice: where a name is none.
    pub fn metrics(&self) -> Result<Vec<Box<dyn Collector>>, prometheus::Error> {
        let name = self.connector.options.application_name;
        self.metrics.collectors(&self.pool, name)
    }

    /// A connection of the pool.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where none can be had in time.
    pub async fn get(&self) -> Result<Object<Manager>, StoreError> {
        let begun = Instant::now();
        let connection = self.pool.get().await.map_err(|error| match error {
            managed::PoolError::Backend(error) => error,
            managed::PoolError::Timeout(managed::TimeoutType::Wait) => {
                StoreError::DeadlineExceeded("waiting for a free connection")
            }
            other => StoreError::Unavailable(other.to_string()),
        });
        let seconds = begun.elapsed().as_secs_f64();
        self.metrics.wait_seconds.observe(seconds);
        connection.inspect_err(|error| self.metrics.failed(error))
    }

    /// A connection of one's own, outside the pool, driven by the runtime that calls this.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn connect(&self) -> Result<Connection, StoreError> {
        open(&self.connector.options, &self.connector.address).await
    }

    /// Whether Postgres answers, and lets this service do its work.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn check(&self, access: &Access) -> Result<(), Unfit> {
        let mut connection = self.get().await?;
        let connection = &mut *connection;
        connection.begin_use();
        let checked = tokio::time::timeout(CONNECT_TIMEOUT, access::check(connection, access));
        let late = |_| StoreError::DeadlineExceeded("asking Postgres");
        checked.await.map_err(late)??;
        // One that may not do the work is thrown away: the next may, after a failover.
        connection.end_use();
        Ok(())
    }

    /// Asks again and again whether Postgres lets this service do its work, and reports it. Never
    /// returns.
    pub async fn watch(&self, access: &Access, report: impl AsyncFn(Result<(), Unfit>)) {
        loop {
            report(self.check(access).await).await;
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }
}

#[derive(Debug)]
struct Connector {
    options: DatabaseOptions,
    address: Address,
    runtime: Handle,
}

impl Connector {
    /// A connection that is driven by the pool's runtime, whoever asks for it.
    async fn connect(&self) -> Result<Connection, StoreError> {
        let (options, address) = (self.options.clone(), self.address.clone());
        let opened = self
            .runtime
            .spawn(async move { open(&options, &address).await });
        opened
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
    }
}

async fn open(options: &DatabaseOptions, address: &Address) -> Result<Connection, StoreError> {
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, open_unbounded(options, address)).await;
    opened.unwrap_or(Err(StoreError::DeadlineExceeded("connecting to Postgres")))
}

async fn open_unbounded(
    options: &DatabaseOptions,
    address: &Address,
) -> Result<Connection, StoreError> {
    let away = |error: tokio_postgres::Error| StoreError::Unavailable(address::reason(&error));
    let mut config = address.config.clone();
    config
        .tcp_user_timeout(DEAD_PEER_TIMEOUT)
        .keepalives_idle(DEAD_PEER_TIMEOUT)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
    let (client, driver) = config.connect(address.tls.clone()).await.map_err(away)?;
    let mut pg = AsyncPgConnection::try_from_client_and_connection(client, driver).await?;
    // Every hot statement is served by an index, order included. While a table is too small for
    // the planner to see why, a plan made then could be kept and meet a table that has grown.
    // Generic plans: planning anew for each array of parameters costs more than running it.
    pg.batch_execute(&format!(
        "SET application_name = '{}'; SET statement_timeout = {}; SET lock_timeout = {}; \
         SET idle_in_transaction_session_timeout = {}; SET tcp_user_timeout = 10000; \
         SET synchronous_commit = on; SET jit = off; SET enable_seqscan = off; \
         SET enable_bitmapscan = off; SET enable_sort = off; SET max_parallel_workers_per_gather = 0; \
         SET plan_cache_mode = force_generic_plan",
        options.application_name,
        options.statement_timeout.as_millis(),
        LOCK_TIMEOUT.as_millis(),
        IDLE_IN_TRANSACTION_TIMEOUT.as_millis(),
    ))
    .await?;
    Ok(Connection {
        pg,
        warm: FxHashSet::default(),
        in_use: false,
    })
}

/// One connection.
pub struct Connection {
    pub(crate) pg: AsyncPgConnection,
    warm: FxHashSet<&'static str>,
    in_use: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("in_use", &self.in_use)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// True once every statement of the transaction of this name was prepared here.
    pub(crate) fn is_warm(&self, transaction: &'static str) -> bool {
        self.warm.contains(transaction)
    }

    /// Says that every statement of the transaction was prepared.
    pub(crate) fn set_warm(&mut self, transaction: &'static str) {
        self.warm.insert(transaction);
    }

    /// Marks the connection until [`Connection::end_use`]: whoever is cancelled or fails in
    /// between leaves it marked, and it is thrown away.
    pub(crate) fn begin_use(&mut self) {
        self.in_use = true;
    }

    /// Nothing is open any more.
    pub(crate) fn end_use(&mut self) {
        self.in_use = false;
    }

    /// False where the connection was lost, or something on it was begun and not ended.
    pub fn is_usable(&mut self) -> bool {
        !self.in_use && !self.pg.is_broken()
    }
}

/// Opens and checks the pool's connections.
#[derive(Debug)]
pub struct Manager(Arc<Connector>);

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = StoreError;

    async fn create(&self) -> Result<Connection, StoreError> {
        self.0.connect().await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<StoreError> {
        if connection.is_usable() {
            Ok(())
        } else {
            Err(RecycleError::message("in doubt"))
        }
    }
}
