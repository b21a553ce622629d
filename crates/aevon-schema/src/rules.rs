//! `rules`: what is computed. Written by whoever applies a set of files, and by the switch of a
//! version that has caught up; what stands here is swept, whatever files lie where.
//!
//! Ordering: writers take the table's lock first, so that two sets never mix; readers don't wait.

use crate::access::Access;
use crate::database::Connection;
use crate::error::StoreError;
use crate::schema::rules;
use crate::statement::Statement;
use crate::values::{JsonString, JsonText, from_pg};
use aevon_core::rule::Rule;
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use std::collections::BTreeMap;

/// What applying a set of rules needs of the database.
pub(crate) const ACCESS: Access = Access {
    is_writing: true,
    privileges: &[
        ("rules", "SELECT"),
        ("rules", "INSERT"),
        ("rules", "UPDATE"),
    ],
};

/// Where a version is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its buckets are being filled; an older version answers, or the raw log.
    Building,
    /// It answers.
    Active,
    /// It answers only where it is named with its version.
    Retired,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Building, Self::Active, Self::Retired];

    /// Its name in the table and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| StoreError::Corrupt(format!("a rule has the status {text}")))
    }
}

/// One version of a rule, and how far its buckets are behind.
#[derive(Clone, Debug)]
pub struct RuleVersion {
    /// The version.
    pub version: i32,
    /// What it computes.
    pub rule: Rule,
    /// SHA-256, in hex, of what an answer depends on.
    pub fingerprint: String,
    /// Where it is in its life.
    pub status: Status,
    /// Events of the log that its buckets don't hold yet.
    pub lag_events: i64,
    /// Age of the oldest of them, in seconds.
    pub lag_seconds: f64,
    /// When it was swept last.
    pub swept_at: Option<Timestamp>,
    /// How long that slice took.
    pub sweep_seconds: Option<f64>,
    /// Whether its buckets are being made anew beside those that answer.
    pub is_rebuilding: bool,
    /// Since when it is retired.
    pub retired_at: Option<Timestamp>,
}

/// What applying a set did, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// New names, and names whose meaning changed: the version that was registered.
    pub registered: Vec<(String, i32)>,
    /// Names that stood already.
    pub unchanged: Vec<String>,
    /// Names that are not in the set any more.
    pub retired: Vec<String>,
}

/// Makes the set given the set of rules, in one transaction. The last set applied wins.
///
/// # Errors
/// [`StoreError`]; nothing was changed then.
pub async fn apply(connection: &mut Connection, set: &[Rule]) -> Result<Applied, StoreError> {
    connection.begin_use();
    let applied = connection
        .pg
        .transaction::<_, StoreError, _>(async |pg| {
            lock(pg).await?;
            apply_locked(pg, set).await
        })
        .await?;
    connection.end_use();
    Ok(applied)
}

pub(crate) async fn lock(pg: &mut AsyncPgConnection) -> Result<(), StoreError> {
    Ok(pg
        .batch_execute("LOCK TABLE rules IN SHARE ROW EXCLUSIVE MODE")
        .await?)
}

async fn apply_locked(pg: &mut AsyncPgConnection, set: &[Rule]) -> Result<Applied, StoreError> {
    let rows: Vec<(i32, String, i32, String, String)> = rules::table
        .select((
            rules::rule_no,
            rules::name,
            rules::version,
            rules::fingerprint,
            rules::status,
        ))
        .order((rules::name, rules::version))
        .load(pg)
        .await?;
    let mut newest: BTreeMap<&str, (i32, i32, &str, &str)> = BTreeMap::new();
    for (rule_no, name, version, fingerprint, status) in &rows {
        newest.insert(name, (*rule_no, *version, fingerprint, status));
    }
    let mut applied = Applied::default();
    for rule in set {
        let newest = newest.get(rule.name.as_str());
        match newest {
            Some((rule_no, _, fingerprint, status))
                if *fingerprint == rule.fingerprint() && *status != Status::Retired.as_str() =>
            {
                // The description is no part of the meaning; the newest text stays.
                describe(pg, *rule_no, rule).await?;
                applied.unchanged.push(rule.name.clone());
            }
            _ => {
                let version = newest.map_or(1, |(_, version, ..)| version + 1);
                // One that never answered gives way to the one that replaces it.
                retire(pg, &rule.name, Status::Building).await?;
                insert(pg, rule, version).await?;
                applied.registered.push((rule.name.clone(), version));
            }
        }
    }
    for (name, (.., status)) in newest {
        if *status != *Status::Retired.as_str() && !set.iter().any(|rule| rule.name == name) {
            retire(pg, name, Status::Building).await?;
            retire(pg, name, Status::Active).await?;
            applied.retired.push(name.to_owned());
        }
    }
    Ok(applied)
}

async fn describe(pg: &mut AsyncPgConnection, rule_no: i32, rule: &Rule) -> QueryResult<()> {
    let query = diesel::sql_query(
        "UPDATE rules SET definition = $2 WHERE rule_no = $1 AND definition <> $2",
    );
    let definition = rule.definition();
    query
        .bind::<Integer, _>(rule_no)
        .bind::<Jsonb, _>(JsonText(&definition))
        .execute(pg)
        .await
        .map(|_| ())
}

/// Retires the version of a name that has this status, if there is one. A rebuild of it ends.
async fn retire(pg: &mut AsyncPgConnection, name: &str, status: Status) -> QueryResult<()> {
    let of_status = rules::status.eq(status.as_str());
    diesel::update(rules::table.filter(rules::name.eq(name).and(of_status)))
        .set((
            rules::status.eq(Status::Retired.as_str()),
            rules::retired_at.eq(diesel::dsl::now),
            rules::next_generation.eq(None::<i32>),
        ))
        .execute(pg)
        .await
        .map(|_| ())
}

async fn insert(pg: &mut AsyncPgConnection, rule: &Rule, version: i32) -> QueryResult<()> {
    let definition = rule.definition();
    diesel::sql_query(
        "INSERT INTO rules (name, version, fingerprint, definition, status) \
         VALUES ($1, $2, $3, $4, 'building')",
    )
    .bind::<Text, _>(&rule.name)
    .bind::<Integer, _>(version)
    .bind::<Text, _>(rule.fingerprint())
    .bind::<Jsonb, _>(JsonText(&definition))
    .execute(pg)
    .await
    .map(|_| ())
}

/// Switches names over whose building version lags at most `slack` events in every partition.
/// Returns the names.
///
/// # Errors
/// [`StoreError`].
pub async fn activate(connection: &mut Connection, slack: i64) -> Result<Vec<String>, StoreError> {
    connection.begin_use();
    let switched = connection
        .pg
        .transaction::<_, StoreError, _>(async |pg| {
            let query =
                diesel::sql_query(include_str!("sql/rules_activate.sql")).bind::<BigInt, _>(slack);
            let ready: Vec<(i32, String)> =
                Statement::<_, (Integer, Text)>::new(query).load(pg).await?;
            if ready.is_empty() {
                return Ok(Vec::new());
            }
            lock(pg).await?;
            let mut switched = Vec::new();
            for (rule_no, name) in ready {
                // Under the lock it may turn out that the version was replaced meanwhile.
                let building = rules::table
                    .filter(rules::rule_no.eq(rule_no))
                    .filter(rules::status.eq(Status::Building.as_str()));
                if diesel::select(diesel::dsl::exists(building))
                    .get_result::<bool>(pg)
                    .await?
                {
                    retire(pg, &name, Status::Active).await?;
                    diesel::update(rules::table.find(rule_no))
                        .set(rules::status.eq(Status::Active.as_str()))
                        .execute(pg)
                        .await?;
                    switched.push(name);
                }
            }
            Ok(switched)
        })
        .await?;
    connection.end_use();
    Ok(switched)
}

/// True while any version is being filled.
///
/// # Errors
/// [`StoreError`].
pub async fn any_building(connection: &mut Connection) -> Result<bool, StoreError> {
    let building = rules::table.filter(rules::status.eq(Status::Building.as_str()));
    Ok(diesel::select(diesel::dsl::exists(building))
        .get_result(&mut connection.pg)
        .await?)
}

/// How many versions there are of each status that any has.
///
/// # Errors
/// [`StoreError`].
pub async fn count(connection: &mut Connection) -> Result<Vec<(Status, i64)>, StoreError> {
    let counted: Vec<(String, i64)> = rules::table
        .group_by(rules::status)
        .select((rules::status, diesel::dsl::count_star()))
        .load(&mut connection.pg)
        .await?;
    let read = |(status, count): (String, i64)| Ok((Status::parse(&status)?, count));
    counted.into_iter().map(read).collect()
}

type ListColumns = (
    Integer,
    Text,
    Integer,
    Text,
    Jsonb,
    Text,
    BigInt,
    Double,
    Nullable<Timestamptz>,
    Nullable<Double>,
    Bool,
    Nullable<Timestamptz>,
);
type ListRow = (
    i32,
    String,
    i32,
    String,
    JsonString,
    String,
    i64,
    f64,
    Option<PgTimestamp>,
    Option<f64>,
    bool,
    Option<PgTimestamp>,
);

/// Every version of every name, or of one, by name and version.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut Connection,
    name: Option<&str>,
) -> Result<Vec<RuleVersion>, StoreError> {
    let query =
        diesel::sql_query(include_str!("sql/rules_list.sql")).bind::<Nullable<Text>, _>(name);
    connection.begin_use();
    let rows: Vec<ListRow> = Statement::<_, ListColumns>::new(query)
        .load(&mut connection.pg)
        .await?;
    connection.end_use();
    let version = |row: ListRow| {
        Ok(RuleVersion {
            version: row.2,
            rule: read_definition(&row.4.0)?,
            fingerprint: row.3,
            status: Status::parse(&row.5)?,
            lag_events: row.6,
            // Stamps may run ahead of the clock for a moment.
            lag_seconds: row.7.max(0.0),
            swept_at: row.8.map(from_pg),
            sweep_seconds: row.9,
            is_rebuilding: row.10,
            retired_at: row.11.map(from_pg),
        })
    };
    rows.into_iter().map(version).collect()
}

/// A rule as it stands in the table.
pub(crate) fn read_definition(definition: &str) -> Result<Rule, StoreError> {
    Rule::from_definition(definition).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        StoreError::Corrupt(format!("a rule can't be read: {}", faults.join("; ")))
    })
}
