//! Fixed seeds, and every list that once failed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aevon_sim::regressions;
use aevon_sim::run::{Failure, run, run_seed, shrink};
use aevon_sim::shrink::code;
use aevon_sim::world::World;
use std::ops::Range;
use std::thread;
use std::time::Instant;
use tokio::runtime;

/// Seeds of every run of the tests; `make sim` takes others.
const SEEDS: u64 = 200;

/// Plays seeds; the points of crashes at which nothing happened in any of them.
async fn assert_seeds(seeds: Range<u64>) -> Vec<String> {
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
    world.unreached()
}

/// A thread that plays seeds in a world of its own.
fn play(seeds: Range<u64>) -> thread::JoinHandle<Vec<String>> {
    thread::spawn(|| {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(assert_seeds(seeds))
    })
}

#[test]
fn no_seed_shows_a_violation_and_every_point_of_a_crash_is_reached() {
    // Two halves, so that they take both processors.
    let halves = [play(0..SEEDS / 2), play(SEEDS / 2..SEEDS)];
    let [first, second] = halves.map(|half| half.join().unwrap());
    let unreached: Vec<&String> = first.iter().filter(|at| second.contains(at)).collect();
    assert!(
        unreached.is_empty(),
        "nothing happened at {unreached:?}, which the lists of dice.rs name"
    );
}

#[tokio::test]
async fn what_failed_once_fails_no_more() {
    let mut world = World::open(None).await.unwrap();
    for (what, operations) in regressions::all() {
        let violation = run(&mut world, &operations).await.unwrap();
        assert_eq!(violation, None, "{what}");
    }
}
