//! What is counted of reads: how they ended, and what they cost.

use aevon_schema::state::compare::Compared;
use aevon_schema::state::explain::Explained;
use aevon_schema::state::{State, StateError};
use aevon_service::metrics::{Histogram, IntCounter, IntCounterVec, Metrics};

/// The upper bounds of rules of an answer.
const RULES: &[f64] = &[0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0];
/// The upper bounds of rows that an answer was made of.
const ROWS: &[f64] = &[0.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0, 1_000_000.0];

/// The metrics of the service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ProjectionMetrics {
    reads: Outcomes,
    explanations: Outcomes,
    comparisons: Outcomes,
    differs: IntCounter,
    rules: Histogram,
    buckets: Histogram,
    raw_events: Histogram,
}

/// How one kind of reads ended.
#[derive(Clone, Debug)]
struct Outcomes {
    answered: IntCounter,
    refused: IntCounter,
    budget_exceeded: IntCounter,
    failed: IntCounter,
}

impl Outcomes {
    /// Counters of this family; what is answered goes by a name of its own.
    fn new(family: &IntCounterVec, answered: &str) -> Self {
        let outcome = |name: &str| family.with_label_values(&[name]);
        Self {
            answered: outcome(answered),
            refused: outcome("refused"),
            budget_exceeded: outcome("budget_exceeded"),
            failed: outcome("failed"),
        }
    }

    fn count<T>(&self, read: Result<T, &StateError>) {
        match read {
            Ok(_) => self.answered.inc(),
            Err(StateError::BudgetExceeded(_)) => self.budget_exceeded.inc(),
            Err(StateError::Store(_)) => self.failed.inc(),
            Err(
                StateError::UnknownRule(_)
                | StateError::UnknownDimension { .. }
                | StateError::NotLatest(_)
                | StateError::TooManyUnswept(_)
                | StateError::IncompleteVersion { .. }
                | StateError::TooLarge(_)
                | StateError::UnknownVersion { .. }
                | StateError::FromAbove { .. }
                | StateError::NotVisible { .. },
            ) => self.refused.inc(),
        }
    }
}

impl ProjectionMetrics {
    pub(crate) fn new(metrics: &Metrics) -> anyhow::Result<Self> {
        let reads = metrics.counters(
            "aevon_projection_reads_total",
            "Reads of state, by outcome: answered, refused (what was asked can't be), \
             budget_exceeded, failed (the database).",
            &["outcome"],
        )?;
        let explanations = metrics.counters(
            "aevon_projection_explanations_total",
            "Explanations of a value, by outcome: answered, refused (what was asked can't be), \
             budget_exceeded, failed (the database).",
            &["outcome"],
        )?;
        let comparisons = metrics.counters(
            "aevon_projection_comparisons_total",
            "Answers from buckets that were compared with the log, by outcome: agrees, differs (the \
             buckets are wrong), refused (what was asked can't be), budget_exceeded, failed (the \
             database).",
            &["outcome"],
        )?;
        Ok(Self {
            reads: Outcomes::new(&reads, "answered"),
            explanations: Outcomes::new(&explanations, "answered"),
            comparisons: Outcomes::new(&comparisons, "agrees"),
            differs: comparisons.with_label_values(&["differs"]),
            rules: metrics.histogram(
                "aevon_projection_read_rules",
                "Rules that one read was answered for.",
                RULES,
            )?,
            buckets: metrics.histogram(
                "aevon_projection_read_buckets",
                "Bucket rows that one read was answered from.",
                ROWS,
            )?,
            raw_events: metrics.histogram(
                "aevon_projection_read_raw_events",
                "Events of the log that one read was answered from: edges and tail.",
                ROWS,
            )?,
        })
    }

    /// A read came to its end.
    pub(crate) fn read(&self, read: &Result<State, StateError>) {
        let cost = |state: &State| (state.states.len(), state.buckets, state.raw_events);
        self.read_of_tenant(read.as_ref().map(cost));
    }

    /// The same of several principals: how many rules answered, and from how many buckets and events.
    pub(crate) fn read_of_tenant(&self, read: Result<(usize, u64, u64), &StateError>) {
        self.reads.count(read);
        if let Ok((rules, buckets, raw_events)) = read {
            self.rules.observe(rules as f64);
            self.buckets.observe(buckets as f64);
            self.raw_events.observe(raw_events as f64);
        }
    }

    /// An explanation came to its end.
    pub(crate) fn explained(&self, explained: &Result<Explained, StateError>) {
        self.explanations.count(explained.as_ref());
    }

    /// A comparison came to its end.
    pub(crate) fn compared(&self, compared: &Result<Compared, StateError>) {
        match compared {
            Ok(compared) if !compared.agrees() => self.differs.inc(),
            _ => self.comparisons.count(compared.as_ref()),
        }
    }
}
