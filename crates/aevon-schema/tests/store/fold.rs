//! Every operator, filter and grouping, held to the oracle while events arrive and sweeps run.

use crate::dice::{Dice, judge_of, rules, selection};
use crate::support::{BUDGET, World, at, events_of};
use aevon_core::calendar::Period;
use aevon_core::event::NewEvent;
use aevon_core::json::Path;
use aevon_core::labels::Grouping;
use aevon_core::state::{Granularity, Question, Range};
use aevon_schema::state::{StateQuery, read};
use aevon_testkit::oracle::{fold, shown};

async fn check(world: &World, log: &[NewEvent], question: &Question, moment: &str) {
    let query = StateQuery::newest("acme", "p0", selection(question), question.clone());
    let state = read(&world.database, world.partitions, &query, BUDGET);
    let state = state.await.unwrap();
    for answered in &state.states {
        let rule = &answered.rule;
        let expected = fold(rule, judge_of(rule), &events_of(log, "p0"), question);
        let found = shown(rule, &answered.values);
        assert_eq!(found, expected, "{moment}: {} {question:?}", rule.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_equals_the_fold_of_the_log_whatever_happened_in_whatever_order() {
    let rules = rules();
    let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
    // About Berlin's summer time, half an hour of Lord Howe Island, and an offset with seconds.
    for (place, seed) in [
        (2, 0x9E37_79B9_7F4A_7C15),
        (7, 0x1234_5678_9ABC_DEF1),
        (16, 0xDEAD_BEEF_0BAD_CAFE),
    ] {
        let world = World::new().await;
        let (few, many) = texts.split_at(12);
        world.apply(few).await;
        let (mut dice, mut log) = (Dice::of_place(place, seed), Vec::<NewEvent>::new());
        for step in 0..60 {
            match dice.roll(6) {
                0 => world.sweep(1 + dice.roll(20) as i64).await,
                1 if step > 30 => world.apply(&[few, many].concat()).await,
                2 if !log.is_empty() => {
                    let again = log[dice.roll(log.len() as u64) as usize].clone();
                    world.appender().append(&[&again]).await.unwrap();
                }
                _ => {
                    let ids = 0..=dice.roll(12);
                    let events: Vec<NewEvent> =
                        ids.map(|n| dice.event(&format!("e{step}-{n}"))).collect();
                    world.store(&events).await;
                    log.extend(events);
                }
            }
            let moment = format!("seed {seed:x} step {step}");
            check(&world, &log, &dice.question(), &moment).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operator_by_every_granularity_and_grouping_agrees_unswept_half_swept_and_swept() {
    let world = World::new().await;
    let rules = rules();
    world
        .apply(&rules.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let mut dice = Dice::new(0x0DDB_1A5E_5BAD_5EED);
    let log: Vec<NewEvent> = (0..90).map(|n| dice.event(&format!("e{n}"))).collect();
    let path = |text| Path::parse(text).unwrap();
    let mut kept = Grouping::default();
    kept.keep(&path("deep.h"), Some("true".to_owned()));
    let groupings = [
        Grouping::default(),
        Grouping {
            by: vec![path("g")],
            ..Grouping::default()
        },
        Grouping {
            by: vec![path("g"), path("deep.h")],
            ..Grouping::default()
        },
        kept,
    ];
    let ranges = [
        Range::default(),
        Range {
            start: Some(at("2026-01-01T07:30:20.5Z")),
            end: Some(at("2026-01-01T14:10:40.5Z")),
        },
        Range {
            start: None,
            end: Some(at("2026-01-03T00:00:00Z")),
        },
    ];
    for (half, moment) in [
        (&log[..45], "unswept"),
        (&log[45..], "half-swept"),
        (&[], "swept"),
    ] {
        if !half.is_empty() {
            world.store(half).await;
        }
        let stored = if moment == "unswept" {
            &log[..45]
        } else {
            &log[..]
        };
        for (range, granularity) in ranges
            .iter()
            .flat_map(|range| Granularity::NAMES.map(|(_, granularity)| (*range, granularity)))
        {
            let is_short = range.start.is_some();
            if granularity == Granularity::Windows(Period::Minute) && !is_short {
                continue;
            }
            for grouping in &groupings {
                let question = Question {
                    range,
                    granularity,
                    grouping: grouping.clone(),
                    ..Question::default()
                };
                check(&world, stored, &question, moment).await;
            }
        }
        world.sweep(7).await;
    }
}
