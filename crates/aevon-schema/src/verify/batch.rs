//! One batch: some principals of a partition, or the total of a tenant there, in one snapshot.

use super::{Ahead, Checked, Difference, Principal, Tenant, Versions};
use crate::database::Connection;
use crate::error::StoreError;
use crate::rules::read_definition;
use crate::statement::Statement;
use crate::values::{JsonString, end_to_pg, from_pg, start_to_pg};
use aevon_core::amount::Amount;
use aevon_core::fold::{Fact, LogEvent};
use aevon_core::labels::Labels;
use aevon_core::operator::Columns;
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::time::Grain;
use aevon_core::verify::{self, Comparison, Findings, Mark, Refold, Row, Span, Stored};
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;
use std::sync::Arc;

/// No lock is held, so a fold may take its time between two statements; Postgres sorts in memory
/// what fits, and on its disk what does not.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                     SET LOCAL idle_in_transaction_session_timeout = '10min'; \
                     SET LOCAL work_mem = '32MB'";

/// Verifies the buckets of some principals of a partition.
///
/// # Errors
/// [`StoreError`].
pub async fn check(
    connection: &mut Connection,
    partition: i32,
    principals: &[Principal],
    versions: &Versions,
) -> Result<Checked, StoreError> {
    let principals = principals.iter().collect();
    check_batch(connection, partition, principals, None, versions).await
}

/// Verifies the totals of a tenant in a partition, for the rule versions that keep any there: as if all
/// events of its principals were of one. Those that keep none are the unswept ones here.
///
/// # Errors
/// [`StoreError`].
pub async fn check_totals(
    connection: &mut Connection,
    partition: i32,
    tenant: &Tenant,
    versions: &Versions,
) -> Result<Checked, StoreError> {
    let total = Principal {
        principal_no: tenant.tenant_no,
        tenant_id: tenant.tenant_id.clone(),
        principal_id: String::new(),
    };
    let total_of = Some(tenant.tenant_id.as_str());
    check_batch(connection, partition, vec![&total], total_of, versions).await
}

async fn check_batch(
    connection: &mut Connection,
    partition: i32,
    mut principals: Vec<&Principal>,
    total_of: Option<&str>,
    versions: &Versions,
) -> Result<Checked, StoreError> {
    connection.begin_use();
    let mut pg = &connection.pg;
    pg.batch_execute(BEGIN).await?;
    let rules = Rules::load(pg, partition, versions, total_of.is_some()).await?;
    principals.sort_unstable_by_key(|principal| principal.principal_no);
    let principal_nos: Vec<i64> = principals.iter().map(|p| p.principal_no).collect();
    let batch = Batch {
        pg,
        partition,
        rules: &rules,
        principals,
        principal_nos,
        total_of,
    };
    let (events, findings) = batch.run().await?;
    let checked = Checked {
        events,
        buckets: findings.buckets,
        differences: findings.differences,
        first: findings.first.map(|first| batch.named(first)),
        swept: rules.names.clone(),
        unswept: rules.unswept.clone(),
        ahead: rules.ahead.clone(),
    };
    pg.batch_execute("COMMIT").await?;
    connection.end_use();
    Ok(checked)
}

/// The rule versions of a partition, in the order of their checkpoints.
struct Rules {
    rules: Vec<Rule>,
    checkpoints: Vec<i64>,
    rule_nos: Vec<i32>,
    generations: Vec<i32>,
    names: Vec<String>,
    unswept: Vec<String>,
    ahead: Vec<Ahead>,
}

type RulesRow = (i32, i32, i32, JsonString, Option<i64>, i64);
type RulesColumns = (Integer, Integer, Integer, Jsonb, Nullable<BigInt>, BigInt);
type EventRow = (
    i64,
    i64,
    PgTimestamp,
    PgTimestamp,
    String,
    i32,
    JsonString,
    Option<JsonString>,
    Option<i64>,
    Option<String>,
);
type EventColumns = (
    BigInt,
    BigInt,
    Timestamptz,
    Timestamptz,
    Text,
    Integer,
    Jsonb,
    Nullable<Jsonb>,
    Nullable<BigInt>,
    Nullable<Text>,
);
type BucketRow = (
    i64,
    i32,
    Option<JsonString>,
    Vec<u8>,
    i16,
    PgTimestamp,
    i32,
    i16,
    i64,
    i64,
    Vec<Option<i64>>,
    Option<String>,
    Option<PgTimestamp>,
    Option<i64>,
    Option<String>,
    Option<Vec<u8>>,
);
type BucketColumns = (
    BigInt,
    Integer,
    Nullable<Jsonb>,
    Binary,
    SmallInt,
    Timestamptz,
    Integer,
    SmallInt,
    BigInt,
    BigInt,
    Array<Nullable<BigInt>>,
    Nullable<Text>,
    Nullable<Timestamptz>,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Binary>,
);

/// A row with a column that is wrong whatever the log says.
struct Unfit {
    row: Row,
    column: &'static str,
    stored: String,
    ought: Option<String>,
}

impl Rules {
    async fn load(
        mut pg: &AsyncPgConnection,
        partition: i32,
        versions: &Versions,
        of_totals: bool,
    ) -> Result<Self, StoreError> {
        let query = diesel::sql_query(include_str!("../sql/verify_rules.sql"))
            .bind::<Integer, _>(partition)
            .bind::<Nullable<Text>, _>(&versions.name)
            .bind::<Nullable<Integer>, _>(versions.version)
            .bind::<Bool, _>(of_totals);
        let rows: Vec<RulesRow> = Statement::<_, RulesColumns>::new(query)
            .load(&mut pg)
            .await?;
        let mut rules = Self {
            rules: Vec::new(),
            checkpoints: Vec::new(),
            rule_nos: Vec::new(),
            generations: Vec::new(),
            names: Vec::new(),
            unswept: Vec::new(),
            ahead: Vec::new(),
        };
        for (rule_no, generation, version, JsonString(definition), checkpoint, head) in rows {
            let rule = read_definition(&definition)?;
            let name = format!("{}:{version}", rule.name);
            let Some(checkpoint) = checkpoint else {
                rules.unswept.push(name);
                continue;
            };
            if checkpoint > head {
                rules.ahead.push(Ahead {
                    rule: name.clone(),
                    checkpoint: Position {
                        partition,
                        seq: checkpoint,
                    },
                    head,
                });
            }
            rules.rules.push(rule);
            rules.checkpoints.push(checkpoint);
            rules.rule_nos.push(rule_no);
            rules.generations.push(generation);
            rules.names.push(name);
        }
        Ok(rules)
    }
}

struct Batch<'a> {
    pg: &'a AsyncPgConnection,
    partition: i32,
    rules: &'a Rules,
    /// By number.
    principals: Vec<&'a Principal>,
    principal_nos: Vec<i64>,
    /// The tenant, where it is about a tenant's total, which stands for the principal.
    total_of: Option<&'a str>,
}

impl Batch<'_> {
    /// Folds the events and compares, part by part; how many events there were, and what was found.
    async fn run(&self) -> Result<(u64, Findings), StoreError> {
        let (mut events, mut findings) = (0, Findings::default());
        if self.rules.rules.is_empty() {
            return Ok((events, findings));
        }
        let mut refold = Refold::new(&self.rules.rules, &self.rules.checkpoints);
        self.declare(&refold).await?;
        let mut from = None;
        loop {
            let rows = self.fetch().await?;
            for row in &rows {
                let event = self.event(row);
                if let Some(due) = refold.due(&event) {
                    findings.add(self.compare(&mut refold, from, Some(due)).await?);
                    from = Some(due);
                }
                refold.add(&event, row.8);
            }
            events += rows.len() as u64;
            if rows.is_empty() {
                break;
            }
        }
        findings.add(self.compare(&mut refold, from, None).await?);
        Ok((events, findings))
    }

    async fn declare(&self, refold: &Refold<'_>) -> Result<(), StoreError> {
        let reads_metadata = self.rules.rules.iter().any(|rule| rule.reads().metadata);
        let (checkpoint, types) = (refold.last_checkpoint(), refold.event_types());
        match self.total_of {
            None => {
                let query = diesel::sql_query(include_str!("../sql/verify_events.sql"))
                    .bind::<Integer, _>(self.partition)
                    .bind::<Array<BigInt>, _>(&self.principal_nos)
                    .bind::<BigInt, _>(checkpoint)
                    .bind::<Array<Text>, _>(types)
                    .bind::<Bool, _>(reads_metadata);
                query.execute(&mut &*self.pg).await?;
            }
            Some(tenant_id) => {
                let query = diesel::sql_query(include_str!("../sql/verify_events_of_tenant.sql"))
                    .bind::<Integer, _>(self.partition)
                    .bind::<BigInt, _>(self.principals[0].principal_no)
                    .bind::<BigInt, _>(checkpoint)
                    .bind::<Array<Text>, _>(types)
                    .bind::<Bool, _>(reads_metadata)
                    .bind::<Text, _>(tenant_id);
                query.execute(&mut &*self.pg).await?;
            }
        }
        Ok(())
    }

    async fn fetch(&self) -> Result<Vec<EventRow>, StoreError> {
        let query = diesel::sql_query(include_str!("../sql/verify_events_next.sql"));
        Ok(Statement::<_, EventColumns>::new(query)
            .load(&mut &*self.pg)
            .await?)
    }

    fn event<'r>(&'r self, row: &'r EventRow) -> LogEvent<'r> {
        let (seq, principal_no, at, ingested_at, event_type, schema_version, data, metadata, ..) =
            row;
        let principal_id = match (&row.9, self.principal(*principal_no)) {
            (Some(principal_id), _) => principal_id,
            (None, Some(principal)) => principal.principal_id.as_str(),
            (None, None) => "",
        };
        LogEvent {
            fact: Fact {
                position: Position {
                    partition: self.partition,
                    seq: *seq,
                },
                occurred_at: from_pg(*at),
                event_type,
                schema_version: *schema_version,
                principal_id,
                data: &data.0,
                metadata: metadata.as_ref().map_or("", |JsonString(text)| text),
            },
            principal_no: *principal_no,
            ingested_at: from_pg(*ingested_at),
        }
    }

    fn principal(&self, principal_no: i64) -> Option<&Principal> {
        let at = self.principal_nos.binary_search(&principal_no).ok()?;
        self.principals.get(at).copied()
    }

    /// Compares what lies between two marks.
    async fn compare(
        &self,
        refold: &mut Refold<'_>,
        from: Option<Mark>,
        to: Option<Mark>,
    ) -> Result<Findings, StoreError> {
        let spans = verify::spans(&self.principal_nos, from, to);
        let nos: Vec<i64> = spans.iter().map(|span| span.principal_no).collect();
        let grains: Vec<i16> = spans.iter().map(|span| span.grain.minutes()).collect();
        let start = |span: &Span| start_to_pg(span.from);
        let starts: Vec<PgTimestamp> = spans.iter().map(start).collect();
        let ends: Vec<PgTimestamp> = spans.iter().map(|span| end_to_pg(span.to)).collect();
        let query = diesel::sql_query(include_str!("../sql/verify_buckets.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Array<BigInt>, _>(nos)
            .bind::<Array<SmallInt>, _>(grains)
            .bind::<Array<Timestamptz>, _>(starts)
            .bind::<Array<Timestamptz>, _>(ends)
            .bind::<Array<Integer>, _>(&self.rules.rule_nos)
            .bind::<Array<Integer>, _>(&self.rules.generations);
        let mut pg = self.pg;
        let mut rows = Statement::<_, BucketColumns>::new(query)
            .load_stream::<BucketRow>(&mut pg)
            .await?;
        let mut comparison = Comparison::new(&self.rules.rules, refold.take(to));
        while let Some(row) = rows.try_next().await? {
            match self.stored(row)? {
                Ok(stored) => comparison.compare(stored),
                Err(unfit) => {
                    comparison.note(unfit.row, unfit.column, unfit.stored, unfit.ought);
                }
            }
        }
        Ok(comparison.finish())
    }

    fn stored(&self, row: BucketRow) -> Result<Result<Stored, Unfit>, StoreError> {
        let (principal_no, rule_no, labels, labels_hash, grain, window_start, epoch, ..) = row;
        let is_grouped = labels.is_some();
        let at = self.rules.rule_nos.iter().position(|no| *no == rule_no);
        let rule = at.map(|at| (at as u32, &self.rules.rules[at].group_by));
        let row_of = || {
            let (rule, dimensions) = rule?;
            let labels = match labels {
                None => Labels::default(),
                Some(JsonString(json)) => Labels::from_json(dimensions, &json)?,
            };
            Some(Row {
                principal_no,
                rule,
                labels: Arc::new(labels),
                grain: Grain::from_minutes(grain)?,
                window_start: from_pg(window_start),
                epoch,
            })
        };
        let of_whom = || {
            let Principal {
                tenant_id,
                principal_id,
                ..
            } = self.principal(principal_no)?;
            Some(format!("principal {principal_id} of tenant {tenant_id}"))
        };
        let unreadable = || {
            let what = "a series has labels that are not its rule's, or a bucket no known grain";
            let whose = of_whom().unwrap_or_default();
            StoreError::Corrupt(format!("{what} (rule_no {rule_no}, {whose})"))
        };
        let bucket = row_of().ok_or_else(unreadable)?;
        let unfit = |column, stored, ought| Unfit {
            row: bucket.clone(),
            column,
            stored,
            ought,
        };
        let canonical = |(_, dimensions): (_, &Vec<_>)| bucket.labels.to_json(dimensions);
        let ought_hash = rule.filter(|_| is_grouped).map(canonical);
        let ought_hash = ought_hash.map_or(Vec::new(), |json| Labels::hash(&json).to_vec());
        if labels_hash != ought_hash {
            let ought = Some(hex(&ought_hash));
            return Ok(Err(unfit("labels_hash", hex(&labels_hash), ought)));
        }
        let [Some(first_seq), Some(last_seq), last_void_seq] = *row.10.as_slice() else {
            return Ok(Err(unfit("first_seq", "null".to_owned(), None)));
        };
        let (value, moment) = match (amount(row.11), amount(row.14)) {
            (Ok(value), Ok(moment)) => (value, moment),
            (Err(none), _) => return Ok(Err(unfit("value", none, None))),
            (_, Err(none)) => return Ok(Err(unfit("moment", none, None))),
        };
        Ok(Ok(Stored {
            row: bucket,
            operator: row.7,
            event_count: row.8,
            skipped_count: row.9,
            first_seq,
            last_seq,
            last_void_seq,
            columns: Columns {
                value,
                latest_at: row.12.map(from_pg),
                latest_seq: row.13,
                moment,
                sketch: row.15,
            },
        }))
    }

    /// A difference with the names of what it belongs to.
    fn named(&self, found: verify::Difference) -> Difference {
        let verify::Difference {
            row,
            column,
            stored,
            folded,
        } = found;
        let rule = row.rule as usize;
        let dimensions = &self.rules.rules[rule].group_by;
        let is_grouped = *row.labels != Labels::default();
        let nobody = || Principal {
            principal_no: row.principal_no,
            tenant_id: String::new(),
            principal_id: String::new(),
        };
        Difference {
            principal: self
                .principal(row.principal_no)
                .cloned()
                .unwrap_or_else(nobody),
            rule: self.rules.names[rule].clone(),
            labels: is_grouped.then(|| row.labels.to_json(dimensions)),
            grain: row.grain,
            window_start: row.window_start,
            epoch: row.epoch,
            column,
            stored,
            folded,
        }
    }
}

/// An amount, or the text that is none: Postgres has `NaN` and infinities.
fn amount(text: Option<String>) -> Result<Option<Amount>, String> {
    let Some(text) = text else { return Ok(None) };
    let number = text.parse::<BigDecimal>().map(Amount::from_big);
    number.map(Some).map_err(|_| text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
