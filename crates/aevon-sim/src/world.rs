//! A simulated world: a database, the programs that share it, each on a line of its own, and the model
//! of what ought to be.
//!
//! One database serves seed after seed, so that a seed costs milliseconds: it is emptied before each, its
//! tenants get other names, and all programs that keep anything are started again, so that a seed does the
//! same whatever was before it. Those that read keep their connections, and nothing of what they read.

mod appending;
mod ending;
mod fetching;
mod held;
mod reading;
mod ruling;
mod sweeping;

use std::collections::BTreeMap;
use std::time::Duration;

use aevon_schema::append::Appender;
use aevon_schema::rebuild::Rebuild;
use aevon_schema::state::StateQuery;
use aevon_schema::{Connection, Database, DatabaseOptions};
use aevon_testkit::TestDatabase;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio_postgres::Client;

use crate::dice;
use crate::fault::{Fault, Program};
use crate::model::{Model, PARTITIONS};
use crate::operation::{Operation, Point, Trouble};
use crate::run::{Counted, Violation};
use crate::wire::{Action, Wire};

/// How long one question may take.
pub(crate) const BUDGET: Duration = Duration::from_secs(20);

/// Empties everything that a seed leaves; the triggers that keep the log immutable are off here.
const EMPTY: &str = "
    DELETE FROM events; DELETE FROM voids; DELETE FROM principals; DELETE FROM tenants;
    DELETE FROM rules; DELETE FROM series; DELETE FROM pre_aggregates;
    DELETE FROM sweep_checkpoints; DELETE FROM discards; DELETE FROM sim_cached;";
/// Once for a database.
const PREPARE: &str = "
    ALTER TABLE events DISABLE TRIGGER ALL; ALTER TABLE voids DISABLE TRIGGER ALL;
    CREATE TABLE sim_cached (tenant_id text, principal_id text, partition integer, principal_no bigint);";
/// Seeds between two times that Postgres takes away what was deleted.
const SEEDS_BETWEEN_VACUUMS: u64 = 50;

/// One of the programs: what it keeps, and its line.
#[derive(Debug)]
struct Process<T> {
    wire: Wire,
    database: Database,
    /// Nothing while it is not running.
    kept: Option<T>,
}

/// What was answered once and is to be answered for ever.
#[derive(Debug)]
struct Remembered {
    query: StateQuery,
    text: String,
}

/// See the module.
pub struct World {
    /// What ought to be.
    pub model: Model,
    /// What was done.
    pub counted: Counted,
    fault: Option<Fault>,
    writers: [Process<Appender>; 2],
    sweepers: [Process<Connection>; 2],
    reader: Process<()>,
    rulers: [Process<Connection>; 2],
    service: fetching::Service,
    /// What a caller of it has.
    cache: fetching::Cache,
    observer: Client,
    rebuilds: BTreeMap<String, Rebuild>,
    remembered: Vec<Remembered>,
    /// Whether the first sweeper is held somewhere.
    is_held: bool,
    seeds: u64,
    /// Dropped last.
    _db: TestDatabase,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl<T> Process<T> {
    async fn start(url: &str, fault: Option<Fault>, program: Program) -> anyhow::Result<Self> {
        let rewrites = fault.map(|fault| fault.rewrites(program));
        let wire = Wire::start(url, rewrites.unwrap_or_default()).await?;
        let database = Database::new(DatabaseOptions {
            url: wire.url_for(url),
            max_connections: 2,
            application_name: "aevon-sim",
            statement_timeout: BUDGET,
        })?;
        Ok(Self {
            wire,
            database,
            kept: None,
        })
    }

    /// It is not running any more, and nothing waits for it.
    fn end(&mut self) {
        self.wire.clear();
        self.kept = None;
    }

    fn set(&self, trouble: Option<Trouble>) {
        if let Some(Trouble { point, is_killed }) = trouble {
            let action = if is_killed { Action::Kill } else { Action::Cut };
            self.wire.set(point, action);
        }
    }
}

impl Process<Connection> {
    /// The connection of a program, which runs from now on.
    async fn take(&mut self) -> Result<Connection, Violation> {
        if let Some(mut connection) = self.kept.take()
            && connection.is_usable()
        {
            return Ok(connection);
        }
        self.database.connect().await.map_err(Violation::from_store)
    }
}

/// Runs what a program does; none where it was killed.
async fn unless_killed<T>(
    wire: &Wire,
    trouble: Option<Trouble>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let is_killed = trouble.is_some_and(|trouble| trouble.is_killed);
    tokio::select! {
        biased;
        () = wire.sprung(), if is_killed => None,
        done = work => Some(done),
    }
}

impl World {
    /// A world in which nothing has happened; with a fault, where one is given.
    ///
    /// # Errors
    /// Where there is no Postgres.
    pub async fn open(fault: Option<Fault>) -> anyhow::Result<Self> {
        let db = TestDatabase::create().await;
        let observer = db.client().await;
        observer.batch_execute(PREPARE).await?;
        for table in ["partitions", "sweep_leases"] {
            let surplus = format!("DELETE FROM {table} WHERE partition >= {PARTITIONS}");
            observer.batch_execute(&surplus).await?;
        }
        let url = db.url();
        let writer = || Process::start(url, fault, Program::Writer);
        let sweeper = || Process::start(url, fault, Program::Sweeper);
        let ruler = || Process::start(url, fault, Program::Reader);
        if let Some(fault) = fault {
            observer.batch_execute(fault.prepare()).await?;
        }
        Ok(Self {
            model: Model::new(0),
            counted: Counted::default(),
            fault,
            writers: [writer().await?, writer().await?],
            sweepers: [sweeper().await?, sweeper().await?],
            reader: Process::start(url, fault, Program::Reader).await?,
            rulers: [ruler().await?, ruler().await?],
            service: fetching::Service::start(url).await?,
            cache: fetching::Cache::new(),
            observer,
            rebuilds: BTreeMap::new(),
            remembered: Vec::new(),
            is_held: false,
            seeds: 0,
            _db: db,
        })
    }

    /// Begins anew.
    ///
    /// # Errors
    /// Where Postgres fails.
    pub async fn empty(&mut self) -> anyhow::Result<()> {
        self.writers.iter_mut().for_each(Process::end);
        self.sweepers.iter_mut().for_each(Process::end);
        self.rulers.iter_mut().for_each(Process::end);
        self.observer.batch_execute(EMPTY).await?;
        self.seeds += 1;
        if self.seeds.is_multiple_of(SEEDS_BETWEEN_VACUUMS) {
            self.observer.batch_execute("VACUUM").await?;
        }
        self.model = Model::new(self.seeds);
        self.rebuilds.clear();
        self.remembered.clear();
        self.cache.clear();
        self.is_held = false;
        Ok(())
    }

    /// Does one thing, and checks what comes of it.
    pub fn execute<'w>(
        &'w mut self,
        operation: &'w Operation,
    ) -> LocalBoxFuture<'w, Result<(), Violation>> {
        self.counted.operations += 1;
        match operation {
            Operation::Tick(micros) => {
                self.model.now = self.model.now.plus_micros(*micros);
                async { Ok(()) }.boxed_local()
            }
            Operation::Append {
                writer,
                bodies,
                trouble,
            } => self.append(*writer, bodies, *trouble).boxed_local(),
            Operation::Race {
                first,
                point,
                second,
            } => self.race(first, *point, second).boxed_local(),
            Operation::Sweep {
                sweeper,
                slice,
                trouble,
            } => self.sweep(*sweeper, slice, *trouble).boxed_local(),
            Operation::During {
                slice,
                point,
                meanwhile,
            } => self.during(slice, *point, meanwhile).boxed_local(),
            Operation::Activate(slack, trouble) => self.activate(*slack, *trouble).boxed_local(),
            Operation::Rules(set, trouble) => self.apply(set, *trouble).boxed_local(),
            Operation::Contest {
                first,
                point,
                second,
            } => self.contest(first, *point, second).boxed_local(),
            Operation::Rebuild(name, trouble) => self.rebuild(*name, *trouble).boxed_local(),
            Operation::Switch(name, trouble) => self.switch(*name, *trouble).boxed_local(),
            Operation::GiveUp(name, trouble) => self.give_up(*name, *trouble).boxed_local(),
            Operation::Discard(trouble) => self.discard(*trouble).boxed_local(),
            Operation::Read {
                principal,
                at,
                by,
                ask,
            } => self.read(*principal, *at, *by, ask).boxed_local(),
            Operation::Compare {
                name,
                principal,
                at,
                ask,
            } => self.compare(*name, *principal, *at, ask).boxed_local(),
            Operation::Total { tenant, at, ask } => self.total(*tenant, *at, ask).boxed_local(),
            Operation::Verify => self.verify().boxed_local(),
            Operation::Fetch(principal) => self.fetch(*principal).boxed_local(),
            Operation::List { tenant, limit, ask } => self.list(*tenant, *limit, ask).boxed_local(),
        }
    }

    /// Points of the lists at the top of `dice.rs` at which nothing has happened in any seed so far.
    pub fn unreached(&self) -> Vec<String> {
        fn of<T>(programs: &[Process<T>], points: &[&[Point]]) -> Vec<String> {
            let is_reached = |point| programs.iter().any(|p| p.wire.has_reached(point));
            let points = points.concat();
            let unreached = points.into_iter().filter(|point| !is_reached(*point));
            unreached.map(|point| format!("{point:?}")).collect()
        }
        let of_writers = of(&self.writers, &[&dice::OF_APPENDS, &dice::OF_RACES]);
        let of_sweepers = of(&self.sweepers, &[&dice::OF_SWEEPS, &dice::OF_DISCARDS]);
        let of_rulers = of(&self.rulers, &[&dice::OF_RULES, &dice::OF_CONTESTS]);
        [of_writers, of_sweepers, of_rulers].concat()
    }

    /// Texts that a fault was to change and that stand nowhere any more.
    pub fn rotten(&self) -> Vec<&'static str> {
        let writers = self.writers.iter().map(|writer| &writer.wire);
        let sweepers = self.sweepers.iter().map(|sweeper| &sweeper.wire);
        let wires = writers.chain(sweepers).chain([&self.reader.wire]);
        wires.flat_map(Wire::rotten).collect()
    }
}
