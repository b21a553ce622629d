//! The time that the workloads take here, by criterion. Nothing is held to it: that is what
//! instructions are counted for.

use aevon_hot::workload::ALL;
use criterion::{Criterion, criterion_group, criterion_main};

fn hot(criterion: &mut Criterion) {
    for workload in ALL {
        let prepared = workload.prepare();
        if let Err(wrong) = prepared.turns(1) {
            panic!("{}: {wrong}", workload.name);
        }
        criterion.bench_function(workload.name, |bencher| bencher.iter(|| prepared.turn()));
    }
}

criterion_group!(benches, hot);
criterion_main!(benches);
