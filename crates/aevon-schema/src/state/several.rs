//! Reads of several principals, or of a tenant's total, in several partitions from one snapshot.
//!
//! A first round trip finds where each partition stands, and the rules; then buckets are read, then the
//! events that no bucket stands for, a few partitions or principals ahead of what is taken in.
//!
//! Invariant: every part is read as of a position that was found in the same snapshot, in the way of
//! [`super::past`]: the newest state is the one as of the heads.

use super::chosen::{Chosen, Selected, check_question};
use super::conclude::{Cost, Finished, states};
use super::past::{PastRead, TreeRow, Using};
use super::rows::{self, RawOfTenantRow};
use super::trace::Trace;
use super::{AsOf, StateError, StateQuery, TenantQuery, TenantState};
use crate::error::StoreError;
use crate::pipeline::Sent;
use crate::rules::read_definition;
use crate::statement::Statement;
use crate::values::{JsonString, from_pg, to_pg};
use aevon_core::position::{Position, Version};
use aevon_core::state::{Answer, Plan, Span};
use aevon_core::time::Timestamp;
use diesel::QueryResult;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Double, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};

/// Statements that are sent ahead of the answer that is being taken in. What Postgres has answered
/// waits in memory.
const AHEAD: usize = 4;

/// One transaction, and what is asked in it.
pub(super) struct Several<'a> {
    pub(super) pg: &'a AsyncPgConnection,
    /// Whether its statements were prepared, but for those of events.
    pub(super) warm: bool,
    /// Whether these were, too.
    pub(super) warm_for_events: bool,
    /// The partitions that the answer is about, ascending.
    pub(super) partitions: &'a [i32],
    /// How many there are.
    pub(super) all_partitions: i32,
    pub(super) asked: &'a TenantQuery,
    /// The same for those who read a part.
    pub(super) query: &'a StateQuery,
}

/// Where a partition stands in the snapshot, and as of when it is read.
pub(super) struct PartitionStand {
    pub(super) partition: i32,
    pub(super) head: i64,
    pub(super) seq: i64,
    pub(super) ingested_at: Option<Timestamp>,
    /// Whether the tenant has principals there.
    pub(super) is_touched: bool,
    /// How often something was erased there.
    erasures: i64,
}

/// What the first round trip found.
pub(super) struct Standings {
    /// By partition.
    pub(super) stands: Vec<PartitionStand>,
    pub(super) rules: Vec<RuleCheckpoints>,
    pub(super) staleness_seconds: f64,
    is_replica: bool,
}

/// A rule, and its checkpoints of each sort by partition.
pub(super) struct RuleCheckpoints {
    pub(super) rule: Chosen,
    checkpoints: [Checkpoints; 3],
}

/// What a checkpoint says is complete up to it.
#[derive(Clone, Copy)]
pub(super) enum Complete {
    /// The buckets of each principal.
    Buckets = 0,
    /// Those of the tenant's total.
    Totals = 1,
    /// What principals' buckets say of the totals that they are parts of.
    Links = 2,
}

/// A principal, or the tenant's total, in one partition.
pub(super) struct Part<'a> {
    pub(super) past: PastRead<'a>,
    pub(super) chosen: Vec<Chosen>,
    pub(super) seq: i64,
    /// Which set of answers it belongs to.
    pub(super) set: usize,
}

impl RuleCheckpoints {
    /// By partition.
    pub(super) fn checkpoints(&self, what: Complete) -> &Checkpoints {
        &self.checkpoints[what as usize]
    }
}

impl Standings {
    /// How often something was erased in any of the partitions.
    pub(super) fn erasures(&self) -> i64 {
        self.stands.iter().map(|stand| stand.erasures).sum()
    }

    fn index(&self, partition: i32) -> usize {
        let found = self
            .stands
            .binary_search_by_key(&partition, |stand| stand.partition);
        found.unwrap_or_default()
    }

    /// A partition that the answer is about.
    pub(super) fn at(&self, partition: i32) -> &PartitionStand {
        &self.stands[self.index(partition)]
    }

    /// The positions as of which the partitions are read.
    pub(super) fn seqs(&self) -> Vec<i64> {
        self.stands.iter().map(|stand| stand.seq).collect()
    }

    /// The rules with their checkpoints in a partition.
    pub(super) fn chosen(&self, partition: i32, what: Complete) -> Vec<Chosen> {
        let index = self.index(partition);
        let chosen = |ruled: &RuleCheckpoints| Chosen {
            checkpoint: ruled.checkpoints(what).get(index).copied().flatten(),
            ..ruled.rule.clone()
        };
        self.rules.iter().map(chosen).collect()
    }

    /// What the answer knows of the log.
    pub(super) fn version(&self) -> Version {
        let mut version = Version::default();
        for stand in &self.stands {
            version.raise(Position {
                partition: stand.partition,
                seq: stand.seq,
            });
        }
        version
    }

    /// The newest stamp of what the answer knows.
    pub(super) fn data_through(&self) -> Option<Timestamp> {
        self.stands.iter().filter_map(|p| p.ingested_at).max()
    }

    /// That what was asked for is there: of every partition a position that the log has come to.
    pub(super) fn check(&self, asked: &TenantQuery) -> Result<(), StateError> {
        for stand in &self.stands {
            if let Some(AsOf::Version(version)) = &asked.as_of
                && version.of(stand.partition).is_none()
            {
                return Err(StateError::IncompleteVersion {
                    version: version.clone(),
                    partition: stand.partition,
                });
            }
            let head = stand.head;
            let position = |seq| Position {
                partition: stand.partition,
                seq,
            };
            if stand.seq > head {
                let wanted = position(stand.seq);
                return Err(match self.is_replica {
                    true => StateError::NotVisible { wanted, head },
                    false => StateError::UnknownVersion { wanted, head },
                });
            }
            if let Some(seq) = asked.min_version.of(stand.partition)
                && seq > head
            {
                let wanted = position(seq);
                return Err(StateError::NotVisible { wanted, head });
            }
        }
        Ok(())
    }

    /// How far the slowest partition's buckets, all in all, lag behind.
    pub(super) fn lags(&self, what: Complete) -> Vec<i64> {
        let mut lags = vec![0; self.rules.len()];
        for stand in self.stands.iter().filter(|stand| stand.is_touched) {
            for (lag, chosen) in lags.iter_mut().zip(self.chosen(stand.partition, what)) {
                *lag += (stand.seq - chosen.checkpoint.unwrap_or(0)).max(0);
            }
        }
        lags
    }
}

impl<'a> Several<'a> {
    /// The total of the tenant. Everything is read before it returns, and the transaction has ended,
    /// whatever the answer.
    pub(super) async fn total(&self) -> Result<Result<TenantState, StateError>, StoreError> {
        let found = self.begin().await?;
        let question = &self.query.question;
        let plan = Plan::new(question);
        let touched = found.stands.iter().filter(|stand| stand.is_touched);
        let part = |stand: &PartitionStand| Part {
            past: self.past(stand.partition, self.query, true),
            chosen: found.chosen(stand.partition, Complete::Totals),
            seq: stand.seq,
            set: 0,
        };
        let parts: Vec<Part<'_>> = touched.map(part).collect();
        let mut answers = answers(&found.rules, question, &plan);
        for part in &parts {
            set_checkpoints(&mut answers, part);
        }
        let mut sets = [answers];
        let checked = found
            .check(self.asked)
            .and_then(|()| check_question(self.query, &found.chosen(0, Complete::Totals)));
        let cost = match &checked {
            Ok(()) => self.read(&parts, &plan, &mut sets).await?,
            Err(_) => Cost::default(),
        };
        self.end().await?;
        let [answers] = sets;
        let finished = answers.into_iter().map(Finished::of).collect();
        let chosen = found.chosen(0, Complete::Totals);
        let state = checked.and_then(|()| {
            let states = states(self.query, chosen, finished, &found.lags(Complete::Totals))?;
            Ok(TenantState {
                version: found.version(),
                data_through: found.data_through(),
                staleness_seconds: found.staleness_seconds,
                erasures: found.erasures(),
                states,
                buckets: cost.buckets,
                raw_events: cost.raw_events,
            })
        });
        Ok(state)
    }

    pub(super) fn past<'p>(
        &self,
        partition: i32,
        query: &'p StateQuery,
        is_total: bool,
    ) -> PastRead<'p>
    where
        'a: 'p,
    {
        PastRead {
            pg: self.pg,
            warm: self.warm,
            warm_for_events: self.warm_for_events,
            partition,
            query,
            is_total,
            using: Using::Buckets,
        }
    }

    /// Takes buckets in; how many stood, and where the events lie that are wanted beside.
    pub(super) async fn add_tree(
        &self,
        past: &PastRead<'_>,
        (answers, chosen): (&mut [Answer<'_>], &[Chosen]),
        plan: &Plan,
        seq: i64,
        tree: impl rows::Rows<TreeRow>,
    ) -> Result<(u64, Vec<Span>), StoreError> {
        let mut untraced = Trace::default();
        past.add_tree(answers, chosen, plan, seq, tree, &mut untraced)
            .await
    }

    /// Begins the transaction, and finds where it stands.
    pub(super) async fn begin(&self) -> Result<Standings, StoreError> {
        let mut begin_on = self.pg;
        // Not all goes out at once: Postgres waits while rows are taken in.
        let begin = Sent::new(begin_on.batch_execute(rows::begin(false)), self.warm).await;
        let stands = Sent::new(self.stands(), self.warm).await;
        let rules = Sent::new(self.rules(), self.warm).await;
        begin.answer().await.map_err(StoreError::from)?;
        let (stands, staleness_seconds, is_replica) = stands.answer().await?;
        Ok(Standings {
            stands,
            rules: rules.answer().await?,
            staleness_seconds,
            is_replica,
        })
    }

    /// Ends the transaction.
    pub(super) async fn end(&self) -> Result<(), StoreError> {
        let mut pg = self.pg;
        Ok(pg.batch_execute("COMMIT").await?)
    }

    async fn stands(&self) -> Result<(Vec<PartitionStand>, f64, bool), StoreError> {
        let partitions = self.partitions;
        let (version, instant) = match &self.asked.as_of {
            None => (None, None),
            Some(AsOf::Version(version)) => (Some(version), None),
            Some(AsOf::Instant(instant)) => (None, Some(to_pg(*instant))),
        };
        let seq_of = |partition: &i32| version.and_then(|version| version.of(*partition));
        let versions: Vec<Option<i64>> = partitions.iter().map(seq_of).collect();
        let query = diesel::sql_query(include_str!("../sql/state_positions.sql"))
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Array<Integer>, _>(partitions)
            .bind::<Array<Nullable<BigInt>>, _>(versions)
            .bind::<Nullable<Timestamptz>, _>(instant);
        let rows: Vec<StandRow> = Statement::<_, StandColumns>::new(query)
            .load(&mut &*self.pg)
            .await?;
        if rows.len() != partitions.len() {
            return Err(StoreError::Corrupt("a partition has no row".to_owned()));
        }
        let (staleness, is_replica) = rows
            .as_slice()
            .first()
            .map_or((0.0, false), |row| (row.5, row.6));
        let stand = |row: StandRow| PartitionStand {
            partition: row.0,
            head: row.1,
            seq: row.2,
            ingested_at: row.3.map(from_pg),
            is_touched: row.4,
            erasures: row.7,
        };
        Ok((rows.into_iter().map(stand).collect(), staleness, is_replica))
    }

    async fn rules(&self) -> Result<Vec<RuleCheckpoints>, StoreError> {
        let selected = Selected::new(&self.query.selection);
        let query = diesel::sql_query(include_str!("../sql/state_rules_of.sql"))
            .bind::<Bool, _>(selected.every)
            .bind::<Array<Text>, _>(selected.names)
            .bind::<Array<Text>, _>(selected.pinned_names)
            .bind::<Array<Integer>, _>(selected.pinned_versions)
            .bind::<Array<Integer>, _>(self.partitions);
        let rows: Vec<RulesRow> = Statement::<_, RulesColumns>::new(query)
            .load(&mut &*self.pg)
            .await?;
        let ruled = |(rule_no, version, definition, buckets, totals, links): RulesRow| {
            let rule = Chosen {
                rule_no,
                version,
                rule: read_definition(&definition.0)?,
                checkpoint: None,
            };
            Ok(RuleCheckpoints {
                rule,
                checkpoints: [buckets, totals, links],
            })
        };
        rows.into_iter().map(ruled).collect()
    }

    /// Reads parts into the sets of answers that they belong to.
    pub(super) async fn read(
        &self,
        parts: &[Part<'_>],
        plan: &Plan,
        sets: &mut [Vec<Answer<'_>>],
    ) -> Result<Cost, StoreError> {
        let (mut cost, mut wanted) = (Cost::default(), Vec::new());
        for wave in parts.chunks(AHEAD) {
            let mut sent = Vec::with_capacity(wave.len());
            for part in wave {
                sent.push(Sent::new(part.past.tree(plan, part.seq), self.warm).await);
            }
            for (part, tree) in wave.iter().zip(sent) {
                let tree = tree.answer().await.map_err(StoreError::from)?;
                let Part { past, chosen, .. } = part;
                let answers = &mut sets[part.set];
                let tree = self.add_tree(past, (answers, chosen), plan, part.seq, tree);
                let (buckets, mut spans) = tree.await?;
                cost.buckets += buckets;
                spans.extend(past.tail(chosen, part.seq));
                let spans = Span::disjoint(spans);
                if !spans.is_empty() {
                    wanted.push((part, spans));
                }
            }
        }
        for wave in wanted.chunks(AHEAD) {
            let mut sent = Vec::with_capacity(wave.len());
            for (part, spans) in wave {
                sent.push(Sent::new(part.events(spans), self.warm_for_events).await);
            }
            for ((part, _), events) in wave.iter().zip(sent) {
                let events = events.answer().await.map_err(StoreError::from)?;
                let (answers, partition) = (&mut sets[part.set], part.past.partition);
                cost.raw_events += rows::add_events_of_tenant(answers, partition, events).await?;
            }
        }
        Ok(cost)
    }
}

impl Part<'_> {
    /// Events of these spans, each with whose it is.
    async fn events(
        &self,
        spans: &[Span],
    ) -> QueryResult<BoxStream<'static, QueryResult<RawOfTenantRow>>> {
        let (past, chosen, seq) = (&self.past, &self.chosen, self.seq);
        if past.is_total {
            return Ok(past
                .events_of_tenant(chosen, seq, spans)
                .await?
                .into_stream()
                .boxed());
        }
        let principal_id = past.query.principal_id.clone();
        let events = past.events(chosen, seq, spans).await?;
        let whose = move |row: rows::StampedRow| {
            let (seq, occurred_at, event_type, schema_version, data, metadata, _) = row;
            let principal_id = principal_id.clone();
            (
                seq,
                occurred_at,
                event_type,
                schema_version,
                data,
                metadata,
                principal_id,
            )
        };
        Ok(events.map_ok(whose).boxed())
    }
}

/// Answers over nothing yet.
pub(super) fn answers<'a>(
    rules: &'a [RuleCheckpoints],
    question: &'a aevon_core::state::Question,
    plan: &'a Plan,
) -> Vec<Answer<'a>> {
    let answer = |ruled: &'a RuleCheckpoints| Answer::new(&ruled.rule.rule, question, plan, 0);
    rules.iter().map(answer).collect()
}

/// Says where the buckets of a part come to.
pub(super) fn set_checkpoints(answers: &mut [Answer<'_>], part: &Part<'_>) {
    for (answer, chosen) in answers.iter_mut().zip(&part.chosen) {
        answer.set_checkpoint(part.past.partition, chosen.checkpoint.unwrap_or(0));
    }
}

type StandColumns = (
    Integer,
    BigInt,
    BigInt,
    Nullable<Timestamptz>,
    Bool,
    Double,
    Bool,
    BigInt,
);
type StandRow = (i32, i64, i64, Option<PgTimestamp>, bool, f64, bool, i64);
type RulesColumns = (
    Integer,
    Integer,
    Jsonb,
    Array<Nullable<BigInt>>,
    Array<Nullable<BigInt>>,
    Array<Nullable<BigInt>>,
);
type RulesRow = (i32, i32, JsonString, Checkpoints, Checkpoints, Checkpoints);
pub(super) type Checkpoints = Vec<Option<i64>>;
