//! Legal erasure: a principal's name becomes one that says nothing, and its events lose what may say
//! whose they are. The single exception to an append-only log.
//!
//! Invariant: all of it is one transaction, and whatever changes the log is `erase_principal`, a function
//! of the database that only the owner may call and that notes each erasure in `erasures`.
//! Invariant: what an export is still being made into is erased by nobody: the rest of the import would
//! bring back what was erased.
//! Invariant: where no rule is in the way, no answer changes. Where one is, and that is wanted, what the
//! buckets hold of the principal is folded anew from what is left (see `refold`).
//! Ordering: rules, then the lease, then the events, and the partition's row last and shortly: writers
//! wait for as long as it takes to blank what came in since.

use crate::database::{Connection, IDLE_IN_TRANSACTION_TIMEOUT};
use crate::error::StoreError;
use crate::import::{self, Unfinished};
use crate::partitions;
use crate::principals::{self, Unknown};
use crate::rules::{self, read_definition};
use crate::statement::Statement;
use crate::values::{JsonString, JsonText};
use aevon_core::erasure::{
    self as core, Choice, Extent, Extents, Obstacle, Plan, Spelled, Version,
};
use aevon_core::identity::partition_of;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

mod refold;
mod totals;

/// Whom to erase, and how.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// Whose principal.
    pub tenant_id: String,
    /// Who.
    pub principal_id: String,
    /// What is known of the places that rules read.
    pub choice: Choice,
    /// Whether places that rules read are blanked too, by which answers change.
    pub is_forced: bool,
    /// Whether nothing is done in the end.
    pub is_rehearsal: bool,
}

/// What there is of a principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its events.
    pub events: i64,
    /// What was rejected of it.
    pub rejected: usize,
    /// Rules that have its name in them, and keep it.
    pub spelled: Vec<Spelled>,
}

/// What was erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Under which name the events are found now; none where there were none.
    pub pseudonym: Option<String>,
    /// Events that were blanked.
    pub events: i64,
    /// Rejected events that were deleted.
    pub rejected: i64,
    /// Places that were blanked though rules read them.
    pub blanked: Vec<Obstacle>,
    /// Rules that have the name in them, and keep it.
    pub spelled: Vec<Spelled>,
}

/// Why something is not erased.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The log is not all here.
    #[error("an erasure would be undone by the rest of an import: {0}")]
    Importing(Unfinished),
    /// No event, and no rejected one, is theirs.
    #[error("the tenant has no principal of that name, and nothing that was rejected names it")]
    Nobody,
    /// Places that were named and that no rule reads.
    #[error("no rule reads {}: it is blanked anyhow", .0.join(", "))]
    Unread(Vec<String>),
    /// Rules read more than numbers of the events.
    #[error("rules read what would be erased")]
    InTheWay(Vec<Obstacle>),
}

/// Why nothing was erased.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It ought not to be, as it was asked for.
    #[error("{why}")]
    Refused {
        /// What it was about.
        found: Found,
        /// Why.
        why: Refusal,
    },
    /// Other events than those that were looked at came in meanwhile.
    #[error("events came in meanwhile of which rules read more; run it again")]
    Moved,
    /// No random numbers.
    #[error("this system gives no random numbers: {0}")]
    NoChance(String),
}

impl From<diesel::result::Error> for ErasureError {
    fn from(error: diesel::result::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// Sweeps hold their lease, and `aevon rules apply` its lock, for less; what is computed between two
/// statements, of the longest history, too.
const SETTINGS: &str =
    "SET lock_timeout = '2min'; SET idle_in_transaction_session_timeout = '10min'";
/// Most rejected events, of up to 256 KiB each, that are looked at together.
const REJECTED_PAGE: i64 = 64;

/// Erases a principal over a connection that is used for nothing else.
///
/// # Errors
/// See [`ErasureError`]; nothing was changed then.
pub async fn erase(
    connection: &mut Connection,
    partitions: i32,
    erasure: &Erasure,
    random: impl FnMut() -> Result<u128, String>,
) -> Result<Erased, ErasureError> {
    connection.begin_use();
    let mut pg = &connection.pg;
    pg.batch_execute(SETTINGS).await?;
    pg.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await?;
    let done = run(&mut connection.pg, partitions, erasure, random).await;
    let end = match done.is_ok() && !erasure.is_rehearsal {
        true => "COMMIT",
        false => "ROLLBACK",
    };
    connection.pg.batch_execute(end).await?;
    connection.end_use();
    done
}

async fn run(
    pg: &mut AsyncPgConnection,
    partitions: i32,
    erasure: &Erasure,
    random: impl FnMut() -> Result<u128, String>,
) -> Result<Erased, ErasureError> {
    let (tenant_id, principal_id) = (&erasure.tenant_id, &erasure.principal_id);
    // No rule begins to read what is blanked here, and no other erasure runs.
    rules::lock(pg).await?;
    let partition = partition_of(tenant_id, principal_id, partitions);
    if erasure.is_forced {
        // Nobody sweeps what nobody has looked at: what the buckets hold is blanked before it is refolded.
        lease(pg, partition).await?;
    }
    let principal_no = number(pg, partition, erasure).await?;
    let rejected = rejected(pg, erasure).await?;
    let look = Look {
        versions: versions(pg).await?,
        partition,
        principal_no: principal_no.unwrap_or_default(),
    };
    let Looked {
        mut extents,
        events,
        up_to: seen,
    } = look.at_events(pg, 0).await?;
    let plan = core::plan(&look.versions, &extents, &erasure.choice);
    let found = Found {
        events,
        rejected: rejected.len(),
        spelled: core::spelled(&look.versions, principal_id),
    };
    let is_nobody = principal_no.is_none() && rejected.is_empty();
    let unfinished = import::unfinished_in(pg).await?;
    if let Some(why) = refusal(unfinished, is_nobody, &plan, erasure.is_forced) {
        return Err(ErasureError::Refused { found, why });
    }
    let pseudonym = core::pseudonym(tenant_id, partition, partitions, random);
    let pseudonym = pseudonym.map_err(ErasureError::NoChance)?;
    let step = Step {
        erasure,
        partition,
        pseudonym: &pseudonym,
        plan: &plan,
        rejected: &rejected,
    };
    let changed: Vec<i32> = plan.changed.iter().copied().collect();
    step.run(pg, Some(seen)).await?;
    if let (Some(principal_no), false) = (principal_no, changed.is_empty()) {
        let erased = refold::ErasedPrincipal {
            tenant_id,
            pseudonym: &pseudonym,
            partition,
            principal_no,
        };
        refold::run(pg, &erased, &look.versions, &changed).await?;
    }
    // What came in meanwhile may be of a type, or of a size, that nobody has looked at. Nothing more
    // does now, and nobody who appends waits for longer than for another who appends.
    pg.batch_execute(&format!(
        "SET LOCAL idle_in_transaction_session_timeout = {}",
        IDLE_IN_TRANSACTION_TIMEOUT.as_millis()
    ))
    .await?;
    partitions::lock(pg, &[partition]).await?;
    for (event_type, late) in look.at_events(pg, seen).await?.extents {
        let extent = extents.entry(event_type).or_default();
        extent.data = extent.data.max(late.data);
        extent.metadata = extent.metadata.max(late.metadata);
    }
    // Also where nothing new is in the way, what is kept of what is larger may be more.
    if core::plan(&look.versions, &extents, &erasure.choice) != plan {
        return Err(ErasureError::Moved);
    }
    let (events, rejected) = step.run(pg, None).await?;
    Ok(Erased {
        pseudonym: principal_no.map(|_| pseudonym),
        events,
        rejected,
        blanked: plan.obstacles,
        spelled: found.spelled,
    })
}

/// Whether it is not to be; all was looked at by then.
fn refusal(
    unfinished: Option<Unfinished>,
    is_nobody: bool,
    plan: &Plan,
    is_forced: bool,
) -> Option<Refusal> {
    match unfinished {
        Some(unfinished) => Some(Refusal::Importing(unfinished)),
        None if is_nobody => Some(Refusal::Nobody),
        None if !plan.unread.is_empty() => Some(Refusal::Unread(plan.unread.clone())),
        None if !plan.obstacles.is_empty() && !is_forced => {
            Some(Refusal::InTheWay(plan.obstacles.clone()))
        }
        None => None,
    }
}

async fn number(
    pg: &AsyncPgConnection,
    partition: i32,
    erasure: &Erasure,
) -> Result<Option<i64>, StoreError> {
    let mut asked = Unknown::default();
    asked.push(&erasure.tenant_id, &erasure.principal_id, partition);
    let found = principals::find(pg, &[partition], &asked).await?;
    Ok(found.into_iter().next().map(|(_, _, number)| number))
}

/// What was rejected of the principal's, by number.
async fn rejected(pg: &mut AsyncPgConnection, erasure: &Erasure) -> Result<Vec<i64>, StoreError> {
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let query = diesel::sql_query(include_str!("sql/erasure_rejected.sql"))
            .bind::<Text, _>(&erasure.tenant_id)
            .bind::<BigInt, _>(after)
            .bind::<BigInt, _>(REJECTED_PAGE);
        type Columns = (BigInt, Text, Text, Binary);
        let page: Vec<(i64, String, String, Vec<u8>)> =
            Statement::<_, Columns>::new(query).load(pg).await?;
        let Some((last, ..)) = page.last() else {
            return Ok(found);
        };
        after = *last;
        let identifier = &erasure.principal_id;
        let theirs = page.iter().filter(|(_, faults, headers, body)| {
            core::is_about(body, faults, identifier) || core::repeats(headers, identifier)
        });
        found.extend(theirs.map(|(number, ..)| *number));
    }
}

async fn versions(pg: &mut AsyncPgConnection) -> Result<Vec<Version>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/erasure_versions.sql"));
    let rows: Vec<(i32, i32, JsonString)> = Statement::<_, (Integer, Integer, Jsonb)>::new(query)
        .load(pg)
        .await?;
    let version = |(rule_no, version, JsonString(definition))| {
        Ok(Version {
            rule_no,
            version,
            rule: read_definition(&definition)?,
        })
    };
    rows.into_iter().map(version).collect()
}

/// Takes the right to write the buckets of a partition, when its sweeper gives it back.
async fn lease(pg: &mut AsyncPgConnection, partition: i32) -> Result<(), StoreError> {
    let query =
        diesel::sql_query(include_str!("sql/erasure_lease.sql")).bind::<Integer, _>(partition);
    let _: Vec<(i32,)> = Statement::<_, (Integer,)>::new(query).load(pg).await?;
    Ok(())
}

/// What an erasure is planned by.
struct Look {
    versions: Vec<Version>,
    partition: i32,
    principal_no: i64,
}

/// What a look saw.
struct Looked {
    /// How large they are, by type.
    extents: Extents,
    /// How many events.
    events: i64,
    /// The position of the last of them.
    up_to: i64,
}

impl Look {
    /// Looks at the events behind a position.
    async fn at_events(
        &self,
        pg: &mut AsyncPgConnection,
        after: i64,
    ) -> Result<Looked, StoreError> {
        let query = diesel::sql_query(include_str!("sql/erasure_extents.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<BigInt, _>(self.principal_no)
            .bind::<BigInt, _>(after);
        let rows: Vec<(String, i64, i64, i64, i64)> =
            Statement::<_, (Text, BigInt, BigInt, BigInt, BigInt)>::new(query)
                .load(pg)
                .await?;
        let up_to = rows.iter().map(|row| row.3).max().unwrap_or(after);
        let events = rows.iter().map(|row| row.4).sum();
        let extent = |(event_type, data, metadata, ..): (String, i64, i64, i64, i64)| {
            let extent = Extent {
                data: data.unsigned_abs(),
                metadata: metadata.unsigned_abs(),
            };
            (event_type, extent)
        };
        Ok(Looked {
            extents: rows.into_iter().map(extent).collect(),
            events,
            up_to,
        })
    }
}

/// What the function of the database is told.
struct Step<'a> {
    erasure: &'a Erasure,
    partition: i32,
    pseudonym: &'a str,
    plan: &'a Plan,
    rejected: &'a [i64],
}

impl Step<'_> {
    /// Blanks what stands up to a position; the last time, without one, also what came in since, and
    /// the name. How many events and rejected ones that were until now.
    async fn run(
        &self,
        pg: &mut AsyncPgConnection,
        up_to: Option<i64>,
    ) -> Result<(i64, i64), StoreError> {
        let query = diesel::sql_query(include_str!("sql/erasure_run.sql"))
            .bind::<Text, _>(&self.erasure.tenant_id)
            .bind::<Text, _>(&self.erasure.principal_id)
            .bind::<Integer, _>(self.partition)
            .bind::<Text, _>(self.pseudonym)
            .bind::<Jsonb, _>(JsonText(&self.plan.kept))
            .bind::<Array<BigInt>, _>(self.rejected)
            .bind::<Bool, _>(!self.plan.obstacles.is_empty())
            .bind::<Nullable<BigInt>, _>(up_to);
        Ok(Statement::<_, (BigInt, BigInt)>::new(query)
            .get_result(pg)
            .await?)
    }
}
