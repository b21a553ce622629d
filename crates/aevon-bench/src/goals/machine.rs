//! Row 17: what each service takes.

use anyhow::{Context, Result};

use super::Id;
use super::course::MACHINE;
use super::run::Sitting;
use crate::bench::Bench;
use crate::process::{Process, mib, processes};

type Figure = fn(&Process) -> Option<f64>;
const FIGURES: [(Id, Figure); 4] = [
    (Id::Idle, |process| process.idle.map(mib)),
    (Id::Loaded, |process| process.peak.map(mib)),
    (Id::Start, |process| Some(process.ready_ms / 1000.0)),
    (Id::Program, |process| Some(process.program as f64 / 1e6)),
];

pub(super) async fn measure(bench: &Bench, sitting: &mut Sitting) -> Result<()> {
    sitting.course.part(MACHINE);
    while sitting.course.next_round() {
        let all = processes(bench, &mut sitting.section).await?;
        for (id, figure) in FIGURES {
            let figures: Option<Vec<f64>> = all.iter().map(figure).collect();
            let figures = figures.context("memory is known where there is /proc")?;
            let most = figures.iter().copied().max_by(f64::total_cmp);
            sitting
                .card
                .figure(id, most.context("there are no services")?);
            if sitting.course.is_first_round() {
                let each = all.iter().zip(&figures);
                let each: Vec<String> = each
                    .map(|(process, figure)| format!("{} {figure:.3}", process.name))
                    .collect();
                sitting.card.note(id, each.join(", "));
            }
        }
    }
    Ok(())
}
