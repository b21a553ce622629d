//! Fixed seeds, and every list that once failed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aevon_sim::regressions;
use aevon_sim::run::{Failure, run, run_seed, shrink};
use aevon_sim::shrink::code;
use aevon_sim::world::World;
use std::time::Instant;

/// Seeds of every run of the tests; `make sim` takes others.
const SEEDS: u64 = 200;

async fn assert_seeds(seeds: std::ops::Range<u64>) {
    let begun = Instant::now();
    let mut world = World::open(None).await.unwrap();
    for seed in seeds.clone() {
        if let Some(failure) = run_seed(&mut world, seed).await.unwrap() {
            let Failure {
                violation,
                operations,
            } = shrink(&mut world, failure).await.unwrap();
            let code = code(&format!("seed_{seed}"), &operations);
            panic!("seed {seed}: {}\n{code}", violation.0);
        }
    }
    let (counted, took) = (world.counted, begun.elapsed().as_secs_f64());
    eprintln!("seeds {seeds:?}, {counted}, 0 violations, {took:.1} s");
}

// Two halves, so that they take both processors.
#[tokio::test]
async fn no_seed_of_the_first_half_shows_a_violation() {
    assert_seeds(0..SEEDS / 2).await;
}

#[tokio::test]
async fn no_seed_of_the_second_half_shows_a_violation() {
    assert_seeds(SEEDS / 2..SEEDS).await;
}

#[tokio::test]
async fn what_failed_once_fails_no_more() {
    let mut world = World::open(None).await.unwrap();
    for (what, operations) in regressions::all() {
        let violation = run(&mut world, &operations).await.unwrap();
        assert_eq!(violation, None, "{what}");
    }
}
