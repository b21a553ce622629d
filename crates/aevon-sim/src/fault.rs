//! Deliberate faults: what the product would do if it were wrong, so that it shows whether the checks
//! would see it.
//!
//! Invariant: a fault is a value that a simulation hands to its world. It changes statements on the line
//! of one simulated program, or what the world makes of an answer; the product knows none of it.

use crate::wire::Rewrite;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Events are numbered before the partition is locked.
    SeqBeforeLock,
    /// The checkpoint is advanced behind the transaction that writes the buckets.
    CheckpointOutsideTransaction,
    /// A range takes a bucket too many at its end.
    BucketEdgeOffByOne,
    /// An event of a known id is a duplicate, whatever it says.
    DuplicateById,
    /// The tail begins at the checkpoint, not behind it.
    TailAtCheckpoint,
    /// Sums are floats.
    FloatSums,
    /// An earlier version is told by its time and not by its position.
    AsOfByTime,
    /// A principal's number is remembered before the transaction that gave it has committed.
    NumberCachedBeforeCommit,
    /// A void makes the span of a bucket smaller.
    SpansShrink,
    /// Buckets are deleted, and the checkpoint stays.
    CheckpointKept,
    /// What stands is read before the partition is locked.
    VerdictBeforeLock,
    /// What a void touched is folded anew with what lies above the slice.
    RefoldAboveSlice,
    /// The tag of an answer does not depend on the version of the rule.
    TagWithoutRuleVersion,
}

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// It appends.
    Writer,
    /// It sweeps, and deletes.
    Sweeper,
    /// It reads.
    Reader,
}

/// What a checkpoint's statement would move, without moving it: the parameters keep their types.
const CHECKPOINTS_STAY: &str = "SELECT FROM unnest($4::integer[], $5::integer[]) AS u (rule_no, generation) \
     WHERE $1::integer >= 0 AND $2::bigint >= 0 AND $3::bigint >= 0 AND $6::float8 >= 0";
const CHECKPOINTS_DONT_BEGIN: &str = "SELECT FROM unnest($3::integer[], $4::integer[]) AS u (rule_no, generation) \
     WHERE $1::integer >= 0 AND $2::bigint >= 0 AND $5::float8 >= 0";

/// A transaction that remembers what it could see before its lock.
const BEGIN_WITH_SNAPSHOT: &str = "READ COMMITTED; DO $$ BEGIN \
    PERFORM set_config('sim.before', pg_current_snapshot()::text, true); END $$";
const OF_EVENT: &str = "WHERE n.event_id = u.event_id";
const OF_EARLIER_EVENT: &str = "WHERE n.event_id = u.event_id AND pg_visible_in_snapshot(\
    n.xmin::text::xid8, current_setting('sim.before')::pg_snapshot)";
const OF_VOID: &str = "WHERE w.principal_no = e.principal_no";
const OF_EARLIER_VOID: &str = "WHERE w.principal_no = e.principal_no AND pg_visible_in_snapshot(\
    w.xmin::text::xid8, current_setting('sim.before')::pg_snapshot)";
/// Tables that take an identity twice: what is to be seen is the verdict, and not what refuses it later.
const NOTHING_IS_UNIQUE: &str = "
    ALTER TABLE events DROP CONSTRAINT events_identity;
    CREATE INDEX events_identity ON events (event_id, principal_no, partition);
    ALTER TABLE voids DROP CONSTRAINT voids_identity;
    CREATE INDEX voids_identity ON voids (principal_no, target_seq, partition);";

impl Fault {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::SeqBeforeLock,
        Self::CheckpointOutsideTransaction,
        Self::BucketEdgeOffByOne,
        Self::DuplicateById,
        Self::TailAtCheckpoint,
        Self::FloatSums,
        Self::AsOfByTime,
        Self::NumberCachedBeforeCommit,
        Self::SpansShrink,
        Self::CheckpointKept,
        Self::VerdictBeforeLock,
        Self::RefoldAboveSlice,
        Self::TagWithoutRuleVersion,
    ];

    /// What it changes in the database, once.
    pub(crate) fn prepare(self) -> &'static str {
        match self {
            Self::VerdictBeforeLock => NOTHING_IS_UNIQUE,
            _ => "",
        }
    }

    /// Which statements it changes on the line of a program.
    pub fn rewrites(self, program: Program) -> Vec<Rewrite> {
        let rewrite = |statement, from, to| Rewrite {
            statement,
            from,
            to,
        };
        match (self, program) {
            (Self::SeqBeforeLock, Program::Writer) => {
                vec![rewrite("partitions_lock", "FOR UPDATE", "")]
            }
            // The snapshot of what stands is older than the lock; all others are not.
            (Self::VerdictBeforeLock, Program::Writer) => {
                let stands = |statement| rewrite(statement, OF_EVENT, OF_EARLIER_EVENT);
                vec![
                    rewrite("BEGIN", "READ COMMITTED", BEGIN_WITH_SNAPSHOT),
                    stands("events_standing"),
                    stands("events_standing_named"),
                    stands("voids_standing"),
                    rewrite("voids_standing", OF_VOID, OF_EARLIER_VOID),
                ]
            }
            (Self::NumberCachedBeforeCommit, Program::Writer) => vec![rewrite(
                "principals_find",
                "JOIN principals q",
                "JOIN (SELECT tenant_id, principal_id, partition, principal_no FROM principals \
                 UNION ALL SELECT tenant_id, principal_id, partition, principal_no FROM sim_cached) q",
            )],
            (Self::CheckpointOutsideTransaction, Program::Sweeper) => vec![
                rewrite("sweep_checkpoints_advance", "", CHECKPOINTS_STAY),
                rewrite("sweep_checkpoints_begin", "", CHECKPOINTS_DONT_BEGIN),
            ],
            (Self::FloatSums, Program::Sweeper) => {
                ["pre_aggregates_merge", "pre_aggregates_merge_more"]
                    .map(|statement| {
                        rewrite(
                            statement,
                            "coalesce(b.value + excluded.value,",
                            "coalesce((b.value::float8 + excluded.value::float8)::numeric,",
                        )
                    })
                    .to_vec()
            }
            (Self::SpansShrink, Program::Sweeper) => vec![rewrite(
                "pre_aggregates_merge_more",
                "last_seq = greatest(b.last_seq, excluded.last_seq)",
                "last_seq = CASE WHEN excluded.last_void_seq IS NULL \
                 THEN greatest(b.last_seq, excluded.last_seq) \
                 ELSE least(b.last_seq, excluded.last_seq) END",
            )],
            (Self::CheckpointKept, Program::Sweeper) => vec![rewrite(
                "discards_licence",
                "DELETE FROM sweep_checkpoints c",
                "SELECT FROM sweep_checkpoints c",
            )],
            (Self::RefoldAboveSlice, Program::Sweeper) => vec![
                rewrite("sweep_refold", "least(s.last_seq, $2)", "s.last_seq"),
                rewrite("sweep_refold", ") > $2, true)", ") < $2 - $2, true)"),
            ],
            (Self::BucketEdgeOffByOne, Program::Reader) => vec![rewrite(
                "state_buckets",
                "n.window_start < u.window_to",
                "n.window_start <= u.window_to",
            )],
            (Self::TailAtCheckpoint, Program::Reader) => vec![
                rewrite(
                    "state_rules",
                    "r.definition, c.seq",
                    "r.definition, c.seq - 1",
                ),
                rewrite("state_raw", "coalesce(c.seq, 0)", "coalesce(c.seq - 1, 0)"),
            ],
            (Self::AsOfByTime, Program::Reader) => vec![rewrite(
                "state_position",
                "coalesce($2,",
                "coalesce((SELECT max(t.seq) FROM events t WHERE t.partition = $1 AND t.ingested_at \
                 <= (SELECT s.ingested_at FROM events s WHERE s.partition = $1 AND s.seq = $2)), $2,",
            )],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_a_fault_changes_stands_in_its_statement() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../aevon-schema/src/sql");
        let programs = [Program::Writer, Program::Sweeper, Program::Reader];
        for fault in Fault::ALL {
            for rewrite in programs.iter().flat_map(|program| fault.rewrites(*program)) {
                let Rewrite { statement, .. } = rewrite;
                if statement.chars().all(char::is_uppercase) {
                    continue;
                }
                let text = std::fs::read_to_string(folder.join(format!("{statement}.sql")));
                let text = text.unwrap_or_else(|error| panic!("{statement}: {error}"));
                assert!(rewrite.apply(&text).is_some(), "{fault:?}: {statement}");
            }
        }
    }
}
