//! What is told of a value, held to the oracle: the events behind it, what changed it, where it came
//! from; and buckets that are wrong, seen by comparing.

use crate::dice::{judge_of, rules};
use crate::support::{BUDGET, SUM, World, at, event, void};
use crate::time_travel::{History, seeds};
use aevon_core::operator::Operator;
use aevon_core::rule::Rule;
use aevon_core::state::{Fill, Granularity, Question, Range};
use aevon_core::time::{DAY_US, HOUR_US, MINUTE_US, Timestamp};
use aevon_schema::state::compare::{Compared, compare};
use aevon_schema::state::explain::{Effect, ExplainQuery, Explained, Item, explain};
use aevon_schema::state::{At, Selection, StateError, StateQuery};
use aevon_testkit::oracle::{OracleEvent, OracleValue, fold, standing};
use bigdecimal::BigDecimal;
use std::collections::{BTreeMap, BTreeSet};

/// What is explained: a total by one rule.
struct Asked {
    rule: Rule,
    principal: String,
    question: Question,
}

impl Asked {
    /// The oracle's total of some events.
    fn total(&self, events: &[OracleEvent]) -> OracleValue {
        let values = fold(&self.rule, judge_of(&self.rule), events, &self.question);
        values.into_iter().next().unwrap()
    }

    /// Those of some events that take part.
    fn parts(&self, events: &[OracleEvent]) -> BTreeSet<i64> {
        let takes_part = |event: &&OracleEvent| {
            let alone = self.total(std::slice::from_ref(event));
            alone.event_count + alone.skipped_count == 1
        };
        events.iter().filter(takes_part).map(|e| e.seq).collect()
    }

    fn query(&self, at: Option<At>, from: Option<i64>, limit: usize) -> ExplainQuery {
        let selection = Selection {
            names: vec![self.rule.name.clone()],
            pinned: Vec::new(),
        };
        let mut state =
            StateQuery::newest("acme", &self.principal, selection, self.question.clone());
        state.at = at;
        ExplainQuery {
            state,
            from,
            after: 0,
            limit,
        }
    }
}

/// Some of the events, by their places.
fn among(log: &[OracleEvent], seqs: &BTreeSet<i64>) -> Vec<OracleEvent> {
    let ours = log.iter().filter(|event| seqs.contains(&event.seq));
    ours.cloned().collect()
}

fn added(items: &[Item]) -> BigDecimal {
    let adds = |item: &Item| item.adds.as_deref().unwrap().parse::<BigDecimal>().unwrap();
    items.iter().map(adds).sum()
}

fn number(value: Option<&str>) -> BigDecimal {
    value.unwrap().parse().unwrap()
}

impl History {
    async fn explain(&self, query: &ExplainQuery) -> Explained {
        let world = &self.world;
        explain(&world.database, world.partitions, query, BUDGET)
            .await
            .unwrap()
    }

    /// Every page, with more coming in between; the first one, and all items.
    async fn pages(&mut self, mut query: ExplainQuery) -> (Explained, Vec<Item>) {
        let first = self.explain(&query).await;
        let seq = first.state.position.seq;
        query.state.at = Some(At::Version(seq));
        let (mut items, mut next) = (first.items.clone(), first.next);
        while let Some(after) = next {
            if self.dice.roll(4) == 0 {
                self.store().await;
            }
            if self.dice.roll(6) == 0 {
                self.sweep().await;
            }
            query.after = after;
            let page = self.explain(&query).await;
            assert!(page.items.len() <= query.limit);
            let shown = |e: &Explained| {
                let value = &e.state.states[0].values[0];
                let since = e.from.as_ref().map(|from| from.states[0].values.clone());
                format!("{value:?} {since:?} {} {}", e.voids, e.sources.late_events)
            };
            assert_eq!(shown(&page), shown(&first));
            items.extend(page.items);
            next = page.next;
        }
        assert!(items.iter().map(Item::place).is_sorted_by(|a, b| a < b));
        (first, items)
    }

    fn asked(&mut self, rules: &[Rule]) -> Asked {
        let rule = rules[self.dice.roll(rules.len() as u64) as usize].clone();
        let mut question = self.dice.question();
        question.fill = Fill::None;
        question.granularity = Granularity::Total;
        question.grouping.by.clear();
        Asked {
            rule,
            principal: format!("p{}", self.dice.roll(2)),
            question,
        }
    }

    /// When the events of the log were stored.
    fn stamps(&self, principal: &str) -> BTreeMap<i64, Timestamp> {
        let ours = self.log.iter().filter(|(of, ..)| of == principal);
        ours.map(|(_, event, stamp)| (event.seq, *stamp)).collect()
    }

    async fn check(&mut self, rules: &[Rule], moment: &str) {
        let asked = self.asked(rules);
        let head = self
            .of(&asked.principal)
            .last()
            .map_or(0, |event| event.seq);
        let at = match self.dice.roll(3) {
            0 => None,
            _ => Some(At::Version(self.dice.roll(head as u64 + 1) as i64)),
        };
        let limit = [1, 3, 1000][self.dice.roll(3) as usize];
        let (told, items) = self.pages(asked.query(at, None, limit)).await;
        let seq = told.state.position.seq;
        let (log, stamps) = (self.of(&asked.principal), self.stamps(&asked.principal));
        let moment = format!(
            "{moment}: {} at {seq}, {:?}",
            asked.rule.name, asked.question
        );
        let events = standing(&log, seq);
        check_value(&asked, &told, &events, &moment);
        check_items(&asked, &told, &items, &events, &moment);
        let parts = asked.parts(&events);
        let late = |seq: &&i64| {
            let occurred = events.iter().find(|e| e.seq == **seq).unwrap().occurred_at;
            stamps[*seq].utc_day() > occurred.utc_day()
        };
        let late: Vec<i64> = parts.iter().filter(late).copied().collect();
        let shown = items.iter().filter(|item| item.is_late);
        let shown: Vec<i64> = shown.map(|item| item.position.seq).collect();
        assert_eq!(shown, late, "{moment}");
        assert_eq!(told.sources.late_events, late.len() as u64, "{moment}");
        let known: Vec<OracleEvent> = log.iter().filter(|e| e.seq <= seq).cloned().collect();
        let voided = asked.parts(&known).len() - parts.len();
        assert_eq!(told.voids, voided as u64, "{moment}");
        self.check_change(&asked, seq, &parts, &moment).await;
    }

    /// What has changed since an earlier version is the difference of both, and adds up.
    async fn check_change(&mut self, asked: &Asked, seq: i64, parts: &BTreeSet<i64>, moment: &str) {
        let from = self.dice.roll(seq as u64 + 1) as i64;
        let limit = [1, 4, 1000][self.dice.roll(3) as usize];
        let query = asked.query(Some(At::Version(seq)), Some(from), limit);
        let (told, items) = self.pages(query).await;
        let moment = format!("{moment}, since {from}");
        let before = standing(&self.of(&asked.principal), from);
        let parts_before = asked.parts(&before);
        let of = |effect: fn(&Effect) -> bool| -> BTreeSet<i64> {
            let ours = items.iter().filter(|item| effect(&item.effect));
            ours.map(|item| item.position.seq).collect()
        };
        let came = of(|effect| matches!(effect, Effect::Added));
        let went = of(|effect| matches!(effect, Effect::Removed { .. }));
        assert_eq!(came, parts - &parts_before, "{moment}");
        assert_eq!(went, &parts_before - parts, "{moment}");
        assert!(items.iter().all(|item| item.place() > from), "{moment}");
        let (from, value) = (told.from.as_ref().unwrap(), &told.state.states[0].values[0]);
        let operator = asked.rule.operator;
        let was = from.states[0].values[0].shown(operator).value;
        assert_eq!(was, asked.total(&before).value, "{moment}");
        let is = value.shown(operator).value;
        let change = aevon_core::explain::change(was.as_deref(), is.as_deref());
        if let Some(change) = &change {
            let exact = number(is.as_deref()) - number(was.as_deref());
            assert_eq!(number(Some(change)), exact, "{moment}");
        }
        if is_additive(operator) && is.is_some() {
            assert_eq!(added(&items), number(change.as_deref()), "{moment}");
        }
        // What was taken out decided what was shown.
        let decided = items.iter().filter(|i| i.decides == Some(true));
        for item in decided.filter(|i| matches!(i.effect, Effect::Removed { .. })) {
            let alone = among(&before, &BTreeSet::from([item.position.seq]));
            assert_eq!(asked.total(&alone).value, was, "{moment}");
        }
    }
}

fn is_additive(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Count | Operator::Sum | Operator::WeightedSum
    )
}

fn check_value(asked: &Asked, told: &Explained, events: &[OracleEvent], moment: &str) {
    let expected = asked.total(events);
    let value = &told.state.states[0].values[0];
    let (counted, skipped) = (value.partial.event_count, value.partial.skipped_count);
    assert_eq!(
        value.shown(asked.rule.operator).value,
        expected.value,
        "{moment}"
    );
    assert_eq!(
        (counted, skipped),
        (expected.event_count, expected.skipped_count),
        "{moment}"
    );
    // Each event came from one place.
    let sources = &told.sources;
    let in_buckets: i64 = sources.buckets.iter().map(|used| used.events).sum();
    let of_ranges: u64 = sources.ranges.iter().map(|range| range.events).sum();
    assert_eq!(
        in_buckets + sources.raw_events as i64,
        counted + skipped,
        "{moment}"
    );
    assert_eq!(sources.ranges.len(), sources.range_count, "{moment}");
    assert_eq!(of_ranges, sources.raw_events, "{moment}");
    assert!(
        sources.ranges.iter().all(|range| !range.reasons.is_empty()),
        "{moment}"
    );
    let rows: u64 = sources.buckets.iter().map(|used| used.rows).sum();
    assert_eq!(rows, told.state.buckets, "{moment}");
    assert!(rows == 0 || sources.checkpoint.is_some(), "{moment}");
}

fn check_items(
    asked: &Asked,
    told: &Explained,
    items: &[Item],
    events: &[OracleEvent],
    moment: &str,
) {
    let seqs: BTreeSet<i64> = items.iter().map(|item| item.position.seq).collect();
    assert_eq!(seqs, asked.parts(events), "{moment}");
    let expected = asked.total(events);
    assert_eq!(
        asked.total(&among(events, &seqs)).value,
        expected.value,
        "{moment}"
    );
    let operator = asked.rule.operator;
    if is_additive(operator) && expected.value.is_some() {
        assert_eq!(added(items), number(expected.value.as_deref()), "{moment}");
    }
    for item in items {
        let alone = asked.total(&among(events, &BTreeSet::from([item.position.seq])));
        assert_eq!(
            item.share.partial.event_count, alone.event_count,
            "{moment}"
        );
        let event = events.iter().find(|e| e.seq == item.position.seq).unwrap();
        assert_eq!((&item.id, item.occurred_at), (&event.id, event.occurred_at));
        let value = told.state.states[0].values[0].shown(operator).value;
        let is_extreme = alone.value.is_some() && alone.value == value;
        match operator {
            Operator::Min | Operator::Max => assert_eq!(item.decides, Some(is_extreme), "{moment}"),
            Operator::Latest => assert!(item.decides != Some(true) || is_extreme, "{moment}"),
            _ => assert_eq!(item.decides, None, "{moment}"),
        }
    }
    let deciding = items
        .iter()
        .filter(|item| item.decides == Some(true))
        .count();
    let is_decided = matches!(operator, Operator::Min | Operator::Max | Operator::Latest);
    assert_eq!(
        deciding > 0,
        is_decided && expected.value.is_some(),
        "{moment}"
    );
    assert!(operator != Operator::Latest || deciding <= 1, "{moment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_a_value_is_what_the_oracle_folds() {
    let texts = rules();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let rules: Vec<Rule> = texts.iter().map(|t| Rule::from_yaml(t).unwrap()).collect();
    for seed in seeds() {
        let mut history = History::begin(seed).await;
        history.world.apply(&texts).await;
        for step in 0..40 {
            match history.dice.roll(6) {
                0..2 => history.store().await,
                2 => history.sweep().await,
                _ => {
                    history
                        .check(&rules, &format!("seed {seed} step {step}"))
                        .await
                }
            }
        }
        history.world.sweep(9).await;
        for step in 0..10 {
            history
                .check(&rules, &format!("seed {seed}, swept, {step}"))
                .await;
        }
        // Whatever is asked, in windows and groups as well: both ways are one answer.
        for _ in 0..10 {
            let rule = &rules[history.dice.roll(rules.len() as u64) as usize];
            let mut question = history.dice.question();
            if question.fill == Fill::Previous && rule.operator != Operator::Latest {
                question.fill = Fill::Zero;
            }
            let principal = format!("p{}", history.dice.roll(2));
            let compared = compared(&history.world, &rule.name, &principal, question).await;
            assert!(compared.agrees(), "seed {seed}: {compared:?}");
            assert!(compared.from_log.buckets == 0);
        }
    }
}

async fn compared(world: &World, rule: &str, principal: &str, question: Question) -> Compared {
    let selection = Selection {
        names: vec![rule.to_owned()],
        pinned: Vec::new(),
    };
    let query = StateQuery::newest("acme", principal, selection, question);
    compare(&world.database, world.partitions, &query, BUDGET)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_wrong_is_named_and_one_that_cannot_be_read_is_no_failure() {
    let world = World::new().await;
    let unique = "name: users\nsource_event: t\noperator: unique_count\nfield: n\ngroup_by: [n]\n";
    world.apply(&[SUM, unique]).await;
    let begin = at("2026-01-01T00:00:30Z");
    let stored: Vec<_> = (0..10)
        .map(|n| {
            let occurred_at = begin.plus_micros(n * 7 * HOUR_US);
            event("p", &format!("e{n}"), occurred_at, &(1 << n).to_string())
        })
        .collect();
    world.store(&stored).await;
    world.sweep(100).await;
    let client = world.db.client().await;
    let hours = Question {
        granularity: Granularity::Windows(aevon_core::calendar::Period::Hour),
        ..Question::default()
    };
    let ask = async |rule: &str| compared(&world, rule, "p", hours.clone()).await;
    assert!(ask("b_sum").await.agrees() && ask("users").await.agrees());
    let of = |rule: &str| {
        format!(
            "series_no IN (SELECT s.series_no FROM series s JOIN rules r USING (rule_no)
              JOIN principals USING (principal_no) WHERE r.name = '{rule}') AND grain = 60"
        )
    };
    let damage = async |change: &str, rule: &str, where_: &str| {
        let sql = format!(
            "UPDATE pre_aggregates SET {change} WHERE {} {where_}",
            of(rule)
        );
        client.execute(&sql, &[]).await.unwrap()
    };

    let one = "AND window_start = '2026-01-01 07:00:00Z'";
    assert_eq!(damage("value = value + 1", "b_sum", one).await, 1);
    let found = ask("b_sum").await;
    let [difference] = found.differences.as_slice() else {
        panic!("one difference, not {:?}", found.differences)
    };
    let (standing, log) = (
        difference.from_buckets.as_ref().unwrap(),
        difference.from_log.as_ref().unwrap(),
    );
    assert_eq!(log.window_start, Some(at("2026-01-01T07:00:00Z")));
    let shown = |value: &aevon_core::state::Value| value.shown(Operator::Sum).value.unwrap();
    assert_eq!(
        (shown(standing), shown(log)),
        ("3".to_owned(), "2".to_owned())
    );
    assert_eq!(
        (found.from_log.raw_events, found.differences.len()),
        (10, 1)
    );
    // The same window on both sides, and one that only the buckets have.
    damage("value = value - 1", "b_sum", one).await;
    damage("window_start = '2026-02-01'", "b_sum", one).await;
    let found = ask("b_sum").await;
    let sides = found.differences.iter().map(|difference| {
        (
            difference.from_buckets.is_some(),
            difference.from_log.is_some(),
        )
    });
    assert_eq!(sides.collect::<Vec<_>>(), [(false, true), (true, false)]);

    for (rule, change) in [
        ("b_sum", "value = 'NaN'"),
        ("b_sum", "latest_at = now(), latest_seq = 1"),
        ("users", "sketch = '\\x07'"),
    ] {
        damage(change, rule, "").await;
        let found = ask(rule).await;
        assert!(!found.agrees(), "{change}");
        let why = found.from_buckets.as_ref().unwrap_err().to_string();
        assert!(why.contains("a bucket"), "{why}");
        assert_eq!(found.differences.len(), 10, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_bounded_and_an_empty_one_goes_on() {
    let world = World::new().await;
    world
        .apply(&[SUM, "name: rare\nsource_event: rare\noperator: count\n"])
        .await;
    let begin = at("2026-01-01T00:00:00Z");
    let stored: Vec<_> = (0..90_000)
        .map(|n| event("p", &format!("e{n}"), begin.plus_micros(n * MINUTE_US), "1"))
        .collect();
    for part in stored.chunks(10_000) {
        world.store(part).await;
    }
    let mut last = event("p", "last", begin, "1");
    last.event_type = "rare".to_owned();
    world.store(&[last, void("p", "v", "e7")]).await;
    let asked = |rule: &str, range| Asked {
        rule: Rule::from_yaml(&format!("name: {rule}\nsource_event: t\noperator: count")).unwrap(),
        principal: "p".to_owned(),
        question: Question {
            range,
            ..Question::default()
        },
    };
    let told = async |query: &ExplainQuery| {
        explain(&world.database, world.partitions, query, BUDGET)
            .await
            .unwrap()
    };
    // Nothing is swept: the one event of its type lies behind all the others.
    let mut query = asked("rare", Range::default()).query(None, None, 5);
    let (mut pages, mut items) = (0, Vec::new());
    loop {
        let page = told(&query).await;
        assert_eq!(page.state.states[0].values[0].partial.event_count, 1);
        items.extend(page.items);
        pages += 1;
        match page.next {
            Some(after) => query.after = after,
            None => break,
        }
    }
    assert_eq!((pages, items.len(), &*items[0].id), (3, 1, "last"));

    // Once buckets hold them, they say where to look.
    world.sweep(20_000).await;
    query.after = 0;
    let page = told(&query).await;
    assert_eq!((page.items.len(), page.next), (1, None));
    let day = Range {
        start: Some(begin.plus_micros(60 * DAY_US)),
        end: Some(begin.plus_micros(61 * DAY_US)),
    };
    let query = asked("b_sum", day).query(None, None, 1000);
    let page = told(&query).await;
    let [minutes, hours, days] = page.sources.buckets;
    assert_eq!(
        (minutes.rows, hours.rows, days.rows, days.events),
        (0, 0, 1, 1440)
    );
    assert_eq!((page.sources.raw_events, page.items.len()), (0, 1000));
    let all = told(&asked("b_sum", Range::default()).query(None, None, 10)).await;
    assert_eq!((all.voids, all.items.len()), (1, 10));
    assert!(all.items.iter().all(|item| item.id != "e7"));
    // Every event before 2026-01-01 is none; those of the rest were stored the same day or before.
    let missing = asked("b_sum", Range::default()).query(None, Some(1_000_000), 10);
    let refused = explain(&world.database, world.partitions, &missing, BUDGET).await;
    assert!(
        matches!(refused, Err(StateError::FromAbove { .. })),
        "{refused:?}"
    );
}
