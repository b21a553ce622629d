//! The checks can fail: each deliberate fault shows in one of a few seeds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aevon_sim::fault::Fault;
use aevon_sim::run::{run, run_seed, shrink};
use aevon_sim::world::World;
use std::time::Instant;

/// In how many seeds, from 0 on, each fault shows at the latest.
const WITHIN: u64 = 200;

async fn assert_found(fault: Fault) {
    let begun = Instant::now();
    let mut world = World::open(Some(fault)).await.unwrap();
    for seed in 0..WITHIN {
        if let Some(failure) = run_seed(&mut world, seed).await.unwrap() {
            assert_eq!(world.rotten(), [""; 0], "{fault:?} changes nothing");
            let (counted, took) = (world.counted, begun.elapsed().as_secs_f64());
            let shown = failure.violation.0;
            eprintln!("{fault:?}: found in seed {seed}, {counted}, {took:.1} s: {shown:.200}");
            return;
        }
    }
    panic!("{fault:?} shows in none of {WITHIN} seeds");
}

macro_rules! is_found {
    ($($test:ident: $fault:ident)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                assert_found(Fault::$fault).await;
            }
        )*

        #[test]
        fn every_fault_has_its_test() {
            assert_eq!(Fault::ALL, [$(Fault::$fault),*]);
        }
    };
}

is_found! {
    a_seq_before_the_lock_is_found: SeqBeforeLock
    a_checkpoint_outside_the_transaction_is_found: CheckpointOutsideTransaction
    a_bucket_too_many_is_found: BucketEdgeOffByOne
    a_duplicate_by_its_id_alone_is_found: DuplicateById
    a_tail_that_begins_at_the_checkpoint_is_found: TailAtCheckpoint
    a_sum_of_floats_is_found: FloatSums
    a_version_told_by_time_is_found: AsOfByTime
    a_number_cached_before_its_commit_is_found: NumberCachedBeforeCommit
    a_span_that_shrinks_is_found: SpansShrink
    a_checkpoint_without_its_buckets_is_found: CheckpointKept
    a_verdict_before_the_lock_is_found: VerdictBeforeLock
    a_refold_above_its_slice_is_found: RefoldAboveSlice
    a_tag_without_the_rule_version_is_found: TagWithoutRuleVersion
}

/// Operations that show a conflict told as a duplicate: two appends, or one; and a margin.
const FEW: usize = 4;

#[tokio::test]
async fn a_list_that_fails_is_made_short_and_still_fails() {
    let mut world = World::open(Some(Fault::DuplicateById)).await.unwrap();
    let mut seeds = 0..WITHIN;
    let failure = loop {
        let seed = seeds.next().expect("a seed in which it shows");
        if let Some(failure) = run_seed(&mut world, seed).await.unwrap() {
            break failure;
        }
    };
    let shortest = shrink(&mut world, failure).await.unwrap();
    assert!(
        shortest.operations.len() <= FEW,
        "{:?}",
        shortest.operations
    );
    let again = run(&mut world, &shortest.operations).await.unwrap();
    assert!(again.is_some_and(|violation| violation.0.contains("duplicate")));
    // Without the fault, the same list is what the product does right.
    let mut right = World::open(None).await.unwrap();
    assert_eq!(run(&mut right, &shortest.operations).await.unwrap(), None);
}
