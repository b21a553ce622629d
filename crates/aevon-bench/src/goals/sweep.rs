//! Rows 9 and 10: the fold.

use anyhow::Result;

use super::Id;
use super::course::SWEEPS;
use super::run::Sitting;
use crate::bench::Bench;
use crate::sweep::{DENSE_PRINCIPALS, Log, by_service, by_sql, check_digest, check_folds};
use crate::workload::PRINCIPALS;

const NAME: &str = "goals_sweep_ours";

pub(super) async fn measure(bench: &Bench, sitting: &mut Sitting) -> Result<()> {
    sitting.course.part(SWEEPS);
    let logs = [
        (
            Id::Sparse,
            Log::fill(bench, "goals_sparse", PRINCIPALS).await?,
        ),
        (
            Id::Dense,
            Log::fill(bench, "goals_dense", DENSE_PRINCIPALS).await?,
        ),
    ];
    while sitting.course.next_round() {
        for (id, log) in &logs {
            let limit = by_sql(bench, log).await?;
            let ours = by_service(bench, log, NAME, 1).await?;
            check_digest(&log.what, &ours, &limit, &mut sitting.section);
            if sitting.course.is_first_round() {
                check_folds(&log.what, &ours, &mut sitting.section).await?;
            }
            bench.rig.drop_database(NAME).await?;
            sitting.card.beside(*id, ours.rate, limit.rate);
        }
    }
    for (_, log) in logs {
        log.drop(bench).await?;
    }
    Ok(())
}
