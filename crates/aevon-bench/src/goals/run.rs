//! `goals`: every row that a quarter of an hour can measure, in rounds, each beside its limit.

use anyhow::Result;
use serde_json::json;

use super::card::Card;
use super::course::{Course, Size};
use super::{machine, open, read, recovery, sweep, write};
use crate::bench::Bench;
use crate::findings::{Findings, Part};
use crate::outputs::Outputs;
use crate::report::{Section, list, thousands};
use crate::rig::Rig;
use crate::workload::Requests;

/// What is gathered on the way.
pub(crate) struct Sitting {
    pub(crate) card: Card,
    pub(crate) section: Section,
    pub(crate) open: Section,
    pub(crate) course: Course,
}

/// Measures, and tells; whether everything was measured and each check held.
pub(crate) async fn measure(rig: Rig, size: Size, outputs: &Outputs) -> Result<bool> {
    outputs.check(&["goals", "open-loop"])?;
    let conditions = rig.conditions().await?;
    let mut bench = Bench::new(rig, size.writes(), size.preload());
    let mut sitting = Sitting {
        card: Card::default(),
        section: Section::new("Checks", &[]),
        open: Section::new("Open loop", &open::COLUMNS),
        course: Course::begin(size),
    };
    let failures = parts(&mut bench, &mut sitting).await;
    let about = about(&bench, &sitting.course);
    let Sitting {
        card,
        section,
        open,
        course,
    } = sitting;
    let findings = Findings {
        conditions,
        card,
        checks: section,
        failures,
    };
    let goals = Part {
        title: "Goals",
        marker: "goals",
        text: findings.told(about),
    };
    let open_loop = Part {
        title: "Open loop",
        marker: "open-loop",
        text: format!("{}\n{}", open.markdown(), list(open.notes())),
    };
    let more = json!({
        "seconds": course.took().as_secs_f64(),
        "events_before": bench.preload,
        "open_loop": open.json(),
    });
    findings.leave(outputs, &[goals, open_loop], more)
}

/// All parts; why some were not measured. One does not take the others with it.
async fn parts(bench: &mut Bench, sitting: &mut Sitting) -> Vec<String> {
    let mut failures = Vec::new();
    let writes = bench.span;
    let mut note = |what: &str, done: Result<()>| {
        if let Err(error) = done {
            let told = format!("{what} were not measured: {error:#}");
            eprintln!("{told}");
            failures.push(told);
        }
    };
    note("writes", write::measure(bench, sitting).await);
    note("sweeps", sweep::measure(bench, sitting).await);
    note("reads", read::measure(bench, sitting).await);
    note("reads of the past", read::past(bench, sitting).await);
    bench.span = writes;
    note("processes", machine::measure(bench, sitting).await);
    note("recoveries", recovery::measure(bench, sitting).await);
    note(
        "latencies of an open loop",
        open::measure(bench, sitting).await,
    );
    failures
}

fn about(bench: &Bench, course: &Course) -> Vec<String> {
    let bytes = Requests::new(1000, 0, &bench.numbers()).bytes_per_event();
    let (size, took) = (course.size, course.took().as_secs());
    let mut rounds = format!("{} of ours and its limit in turn", size.rounds());
    if course.left_out > 0 {
        rounds += &format!(
            " ({} rounds were left out for want of time)",
            course.left_out
        );
    }
    vec![
        format!(
            "rounds: {rounds}; figures are their medians, ratios are taken within a round; writes are \
             measured for {}, reads for {}, after a warm-up of {} s",
            size.writes(),
            size.reads(),
            size.writes().warm_up.as_secs_f64()
        ),
        format!(
            "events of {bytes} bytes of JSON; {} events in the log before; processor time is per event",
            thousands(bench.preload as f64)
        ),
        format!("it took {} min {} s", took / 60, took % 60),
    ]
}
