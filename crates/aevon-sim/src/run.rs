//! Runs: a list of operations in a world, seeds one after another.

use std::panic::AssertUnwindSafe;

use aevon_schema::StoreError;
use futures_util::FutureExt;

use crate::dice;
use crate::operation::Operation;
use crate::shrink;
use crate::world::World;

/// What ought not to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl Violation {
    pub(crate) fn of<T>(what: impl Into<String>) -> Result<T, Self> {
        Err(Self(what.into()))
    }

    pub(crate) fn of_store<T>(what: &str, error: &StoreError) -> Result<T, Self> {
        Self::of(format!("{what}: {}", aevon_schema::with_causes(error)))
    }

    pub(crate) fn from_store(error: StoreError) -> Self {
        Self(format!(
            "the store failed: {}",
            aevon_schema::with_causes(&error)
        ))
    }

    pub(crate) fn from_observer(error: tokio_postgres::Error) -> Self {
        Self(format!(
            "a look failed: {}",
            aevon_schema::with_causes(&error)
        ))
    }

    pub(crate) fn about(self, what: String) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Operations, those within others too.
    pub operations: u64,
    /// Events that were sent.
    pub events: u64,
    /// Slices that were swept alone.
    pub sweeps: u64,
    /// Answers.
    pub reads: u64,
    /// Questions that were refused, as they may be.
    pub refused: u64,
    /// Programs that were killed or lost their connection, where they were.
    pub troubles: u64,
    /// Programs that were held while others went on.
    pub races: u64,
}

impl std::ops::AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.events += other.events;
        self.sweeps += other.sweeps;
        self.reads += other.reads;
        self.refused += other.refused;
        self.troubles += other.troubles;
        self.races += other.races;
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            operations,
            events,
            sweeps,
            reads,
            refused,
            troubles,
            races,
        } = self;
        write!(
            f,
            "{operations} operations, {events} events sent, {sweeps} slices swept, \
             {reads} answers ({refused} refused), {troubles} crashes and cuts, {races} held"
        )
    }
}

/// A list that shows a violation.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What it shows.
    pub violation: Violation,
    /// The list.
    pub operations: Vec<Operation>,
}

/// Runs a list in a world that is emptied first; the violation that it shows, if any.
///
/// # Errors
/// Where the world can't be emptied: there is no Postgres.
pub async fn run(world: &mut World, operations: &[Operation]) -> anyhow::Result<Option<Violation>> {
    world.empty().await?;
    let all = async {
        for (nth, operation) in operations.iter().enumerate() {
            let done = world.execute(operation).await;
            done.map_err(|violation| violation.about(format!("operation {nth}")))?;
        }
        let ended = world.finish().await;
        ended.map_err(|violation| violation.about("at the end".to_owned()))
    };
    let ran = AssertUnwindSafe(all).catch_unwind().await;
    Ok(match ran {
        Ok(done) => done.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Violation(format!("a panic: {}", text.unwrap_or_default())))
        }
    })
}

/// Runs the list of a seed.
///
/// # Errors
/// See [`run`].
pub async fn run_seed(world: &mut World, seed: u64) -> anyhow::Result<Option<Failure>> {
    let operations = dice::operations(seed);
    let violation = run(world, &operations).await?;
    Ok(violation.map(|violation| Failure {
        violation,
        operations,
    }))
}

/// The shortest list that is found to show a violation where a longer one does.
///
/// # Errors
/// See [`run`].
pub async fn shrink(world: &mut World, mut failure: Failure) -> anyhow::Result<Failure> {
    let mut candidates = shrink::Candidates::new(&failure.operations);
    while let Some(candidate) = candidates.next(&failure.operations) {
        let violation = run(world, &candidate).await?;
        candidates.tell(violation.is_some());
        if let Some(violation) = violation {
            failure = Failure {
                violation,
                operations: candidate,
            };
        }
    }
    Ok(failure)
}
