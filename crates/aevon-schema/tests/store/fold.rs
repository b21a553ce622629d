//! Every operator, filter and grouping, held to the oracle while events arrive and sweeps run.

use crate::support::{World, at, event, events_of};
use aevon_core::event::NewEvent;
use aevon_core::json::Path;
use aevon_core::labels::Grouping;
use aevon_core::operator::Operator;
use aevon_core::state::{Granularity, Question, Range};
use aevon_core::time::{Grain, HOUR_US, MINUTE_US, Timestamp};
use aevon_testkit::oracle::{everything, fold, shown};

/// A sequence that is the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len() as u64) as usize]
    }

    /// Within three days, on the edges of windows more often than not.
    fn instant(&mut self) -> Timestamp {
        let minute = self.roll(3 * 1440) as i64 * MINUTE_US;
        let hour = minute / HOUR_US * HOUR_US;
        let offset = match self.roll(5) {
            0 => hour,
            1 => minute,
            2 => minute + 1,
            3 => minute + MINUTE_US - 1,
            _ => minute + self.roll(60_000_000) as i64,
        };
        at("2026-01-01T00:00:00Z").plus_micros(offset)
    }

    fn event(&mut self, id: &str) -> NewEvent {
        let number = 1_u64 << self.roll(40);
        let value = match self.roll(10) {
            0 => "\"none\"".to_owned(),
            1 => "null".to_owned(),
            2 | 3 => format!("-{number}.25"),
            4 => format!("\"{number}\""),
            _ => number.to_string(),
        };
        let group = self.pick(&["\"a\"", "\"b\"", "1", "1.0", "null", "[]"]);
        let deep = self.pick(&[
            "",
            ", \"deep\": {\"h\": true}",
            ", \"deep\": {\"h\": \"x\"}",
        ]);
        let kind = self.pick(&["", ", \"kind\": 0", ", \"kind\": 1", ", \"kind\": 2"]);
        let principal = format!("p{}", self.roll(2));
        let mut event = event(&principal, id, self.instant(), &value);
        event.data = format!("{{\"n\": {value}, \"g\": {group}{deep}{kind}}}");
        event
    }

    fn question(&mut self) -> Question {
        let (a, b) = (self.instant(), self.instant());
        let mut range = match self.roll(4) {
            0 => Range::default(),
            1 => Range {
                start: Some(a),
                end: None,
            },
            _ => Range {
                start: Some(a.min(b)),
                end: Some(a.max(b)),
            },
        };
        let granularity = Granularity::NAMES[self.roll(4) as usize].1;
        if granularity == Granularity::Windows(Grain::Minute) {
            // A level stands in every minute, for sixteen rules.
            let from = range.start.unwrap_or(a);
            range = Range {
                start: Some(from),
                end: Some(from.plus_micros(40 * MINUTE_US)),
            };
        }
        let path = |text| Path::parse(text).unwrap();
        let mut grouping = Grouping::default();
        match self.roll(4) {
            0 => grouping.by = vec![path("g")],
            1 => grouping.by = vec![path("deep.h"), path("g")],
            _ => {}
        }
        if self.roll(3) == 0 {
            grouping.keep(&path("g"), Some("a".to_owned()));
            grouping.keep(
                &path("g"),
                [None, Some("1".to_owned())][self.roll(2) as usize].clone(),
            );
        }
        Question {
            range,
            granularity,
            grouping,
        }
    }
}

/// Every operator, with a filter and without.
fn rules() -> Vec<String> {
    let text = |operator: Operator, filter: &str| {
        let name = operator.as_str();
        let field = if operator.takes_field() {
            "field: n\n"
        } else {
            ""
        };
        let suffix = if filter.is_empty() { "" } else { "_filtered" };
        format!(
            "name: {name}{suffix}\nsource_event: t\noperator: {name}\n{field}{filter}\
             group_by: [g, deep.h]\n"
        )
    };
    let both = |operator| {
        [
            text(operator, ""),
            text(operator, "filter: data.kind > 0\n"),
        ]
    };
    Operator::ALL.into_iter().flat_map(both).collect()
}

/// The filter by hand. Without a kind it fails.
fn judge(data: &serde_json::Value) -> Option<bool> {
    data.get("kind").map(|kind| kind.as_i64().unwrap() > 0)
}

async fn check(world: &World, log: &[NewEvent], question: &Question, moment: &str) {
    let state = world.ask("p0", question.clone()).await.unwrap();
    for answered in &state.states {
        let rule = &answered.rule;
        let judge = if rule.filter.is_some() {
            judge
        } else {
            everything
        };
        let expected = fold(rule, judge, &events_of(log, "p0"), question);
        let found = shown(rule, &answered.values);
        assert_eq!(found, expected, "{moment}: {} {question:?}", rule.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_equals_the_fold_of_the_log_whatever_happened_in_whatever_order() {
    let rules = rules();
    let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
    for seed in [
        0x9E37_79B9_7F4A_7C15,
        0x1234_5678_9ABC_DEF1,
        0xDEAD_BEEF_0BAD_CAFE,
    ] {
        let world = World::new().await;
        let (few, many) = texts.split_at(10);
        world.apply(few).await;
        let (mut dice, mut log) = (Dice(seed), Vec::<NewEvent>::new());
        for step in 0..60 {
            match dice.roll(6) {
                0 => world.sweep(1 + dice.roll(20) as i64).await,
                1 if step > 30 => world.apply(&[few, many].concat()).await,
                2 if !log.is_empty() => {
                    let again = log[dice.roll(log.len() as u64) as usize].clone();
                    world.writer().append(&[&again]).await.unwrap();
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
    let mut dice = Dice(0x0DDB_1A5E_5BAD_5EED);
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
            if granularity == Granularity::Windows(Grain::Minute) && !is_short {
                continue;
            }
            for grouping in &groupings {
                let question = Question {
                    range,
                    granularity,
                    grouping: grouping.clone(),
                };
                check(&world, stored, &question, moment).await;
            }
        }
        world.sweep(7).await;
    }
}
