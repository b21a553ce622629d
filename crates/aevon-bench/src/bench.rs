//! What all sections share: the rig, how long and on how much to measure, the filled log.

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::log::fill;
use crate::rig::Rig;
use crate::tally::Span;
use crate::workload::{FIRST_NEW, HOUR_US, Ids, Numbers, PRINCIPALS, Shape, now_us};

/// The log that writes and reads begin with; its database is only ever copied.
const BASE: &str = "bench_base";
/// A year, and room for ranges of a year that end a little earlier.
pub(crate) const SPAN_US: i64 = 366 * 24 * HOUR_US;

/// See the module.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) rig: Rig,
    /// Of each measurement.
    pub(crate) span: Span,
    /// Events in the log before.
    pub(crate) preload: u64,
    started_us: i64,
    base: OnceCell<()>,
}

impl Bench {
    pub(crate) fn new(rig: Rig, span: Span, preload: u64) -> Self {
        Self {
            rig,
            span,
            preload,
            started_us: now_us(),
            base: OnceCell::new(),
        }
    }

    /// What [`Bench::base`] holds: a year that ended an hour before the start.
    pub(crate) fn base_shape(&self) -> Shape {
        Shape {
            first: 0,
            events: self.preload,
            principals: PRINCIPALS,
            end_us: self.started_us - HOUR_US,
            span_us: SPAN_US,
            hourly: true,
            ids: Ids::OfTime,
        }
    }

    /// The last hour before the start, behind what [`Bench::base`] holds.
    pub(crate) fn last_hour(&self, events: u64, principals: u32) -> Shape {
        Shape {
            first: FIRST_NEW,
            events,
            principals,
            end_us: self.started_us,
            span_us: HOUR_US,
            hourly: false,
            ids: Ids::OfTime,
        }
    }

    /// A copy of the database with a filled log; nothing is swept there.
    pub(crate) async fn filled(&self, name: &str) -> Result<String> {
        let make = || async {
            eprintln!("filling a log with {} events", self.preload);
            let url = self.rig.empty_database(BASE).await?;
            fill(&url, self.base_shape()).await.map(|_| ())
        };
        self.base.get_or_try_init(make).await?;
        self.rig.copy_database(BASE, name).await
    }

    /// Numbers of new events, each once in a database that began as a copy.
    pub(crate) fn numbers(&self) -> Numbers {
        Numbers::from(FIRST_NEW, Ids::OfTime)
    }
}
