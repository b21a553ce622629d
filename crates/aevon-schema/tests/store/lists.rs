//! Lists of principals: by identifier and by value, every page of one version, held to the oracle.

use crate::dice::{Dice, judge_of, rules};
use crate::support::{BUDGET, World, at, event, events_of, void};
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_core::position::{Position, Version};
use aevon_core::rule::Rule;
use aevon_core::state::{Fill, Granularity, Question, Rank};
use aevon_core::time::{DAY_US, Grain};
use aevon_schema::state::{AsOf, PageEnd, Selection, StateList, TenantQuery, Which, list};
use aevon_schema::sweep::{Whose, backlogs, sweep_once};
use aevon_testkit::oracle::{OracleEvent, OracleValue, fold, shown, standing};
use std::collections::BTreeMap;

/// Principals of the tenant that is asked.
const PRINCIPALS: u64 = 9;

/// A world, and what its log holds: by tenant and principal.
struct History {
    world: World,
    dice: Dice,
    log: BTreeMap<(String, String), Vec<(Position, OracleEvent)>>,
    now: aevon_core::time::Timestamp,
    next_id: u64,
}

impl History {
    async fn store(&mut self) {
        let mut group: Vec<NewEvent> = Vec::new();
        for _ in 0..=self.dice.roll(15) {
            self.next_id += 1;
            let id = format!("e{}", self.next_id);
            let known: Vec<(String, String, String)> = self
                .log
                .iter()
                .flat_map(|((tenant, principal), events)| {
                    let named = |(_, event): &(Position, OracleEvent)| {
                        (tenant.clone(), principal.clone(), event.id.clone())
                    };
                    events.iter().map(named)
                })
                .collect();
            let is_void = self.dice.roll(5) == 0 && !known.is_empty();
            group.push(match is_void {
                true => {
                    let target = &known[self.dice.roll(known.len() as u64) as usize];
                    let mut void = void(&target.1, &id, &target.2);
                    void.tenant_id.clone_from(&target.0);
                    void
                }
                false => {
                    let mut event = self.dice.event(&id);
                    event.principal_id = format!("p{}", self.dice.roll(PRINCIPALS));
                    event.tenant_id = self.dice.pick(&["acme", "acme", "other"]).to_owned();
                    event
                }
            });
        }
        self.now = self
            .now
            .plus_micros([1, 1_000_000, DAY_US / 3][self.dice.roll(3) as usize]);
        let mut appender = self.world.appender().with_clock(self.now);
        let group: Vec<&NewEvent> = group.iter().collect();
        let verdicts = appender.append(&group).await.unwrap();
        for (event, verdict) in group.into_iter().zip(verdicts) {
            if let Verdict::Accepted { position, .. } = verdict {
                let whose = (event.tenant_id.clone(), event.principal_id.clone());
                let stored = OracleEvent {
                    seq: position.seq,
                    id: event.event_id.clone(),
                    occurred_at: event.occurred_at,
                    event_type: event.event_type.clone(),
                    data: event.data.clone(),
                };
                self.log.entry(whose).or_default().push((position, stored));
            }
        }
    }

    /// Says whether there was anything to sweep.
    async fn sweep(&mut self) -> bool {
        let connection = &mut self.world.connection().await;
        let found = backlogs(connection).await.unwrap();
        let is_behind = !found.is_empty();
        for backlog in found {
            let whose = [Whose::Front, Whose::Behind][self.dice.roll(2) as usize];
            let slice = 1 + self.dice.roll(12) as i64;
            sweep_once(connection, backlog.partition, slice, whose)
                .await
                .unwrap();
        }
        is_behind
    }

    /// Asks for all pages of a list by value, by one of the rules, as of a version or now; says which
    /// version that was.
    async fn check_some_by_value(
        &mut self,
        texts: &[&str],
        version: Option<Version>,
        moment: &str,
    ) -> Version {
        let mut question = self.dice.question_of_any();
        question.fill = Fill::None;
        question.granularity = Granularity::Total;
        question.grouping.by.clear();
        if self.dice.roll(2) == 0 {
            let of_any = self.dice.event("any").occurred_at;
            let start = Grain::Day.floor(of_any);
            question.range.start = Some(start);
            question.range.end = Some(start.plus_micros(DAY_US));
        }
        let rule = texts[self.dice.roll(texts.len() as u64) as usize];
        let rule = Rule::from_yaml(rule).unwrap();
        let selection = Selection {
            names: vec![rule.name.clone()],
            pinned: Vec::new(),
        };
        let mut query = TenantQuery::newest("acme", selection, question.clone());
        query.as_of = version.map(AsOf::Version);
        let (version, items) = self.pages(query, true).await;
        let moment = format!("{moment} at {version}");
        check_by_value(&self.standing(&version), &rule, &question, items, &moment);
        version
    }

    /// What stands of each principal of the tenant that is there at a version.
    fn standing(&self, version: &Version) -> Vec<(String, Vec<OracleEvent>)> {
        let ours = self.log.iter().filter(|((tenant, _), _)| tenant == "acme");
        let of = |((_, principal), events): (&(String, String), &Vec<(Position, OracleEvent)>)| {
            let partition = events.first()?.0.partition;
            let seq = version.of(partition)?;
            let events: Vec<OracleEvent> = events.iter().map(|(_, e)| e.clone()).collect();
            let is_there = events.iter().any(|event| event.seq <= seq);
            is_there.then(|| (principal.clone(), standing(&events, seq)))
        };
        ours.filter_map(of).collect()
    }

    async fn page(&self, query: &TenantQuery, which: &Which) -> StateList {
        let world = &self.world;
        list(&world.database, world.partitions, query, which, BUDGET)
            .await
            .unwrap()
    }

    /// All pages of a list, between which things happen.
    async fn pages(&mut self, mut query: TenantQuery, by_value: bool) -> (Version, Vec<Item>) {
        let limit = 1 + self.dice.roll(4) as usize;
        let (mut end, mut items, mut first): (Option<PageEnd>, _, Option<Version>) =
            (None, Vec::new(), None);
        loop {
            let which = match (&end, by_value) {
                (Some(PageEnd::Rank(rank)), _) => Which::ByValue {
                    after: Some(rank.clone()),
                    limit,
                },
                (None, true) => Which::ByValue { after: None, limit },
                (Some(PageEnd::Id(after)), _) => Which::ById {
                    after: after.clone(),
                    limit,
                },
                (None, false) => Which::ById {
                    after: String::new(),
                    limit,
                },
            };
            let page = self.page(&query, &which).await;
            assert!(page.items.len() <= limit);
            let version = first.get_or_insert_with(|| page.version.clone());
            assert_eq!(page.version, *version);
            query.as_of = Some(AsOf::Version(page.version.clone()));
            query.selection = Selection {
                names: Vec::new(),
                pinned: page.rules,
            };
            for listed in page.items {
                let states = listed.states.iter();
                let states = states.map(|s| (s.rule.clone(), shown(&s.rule, &s.values)));
                items.push((listed.principal_id, states.collect()));
            }
            end = page.next;
            if end.is_none() {
                return (first.unwrap(), items);
            }
            match self.dice.roll(3) {
                0 => self.store().await,
                1 => {
                    self.sweep().await;
                }
                _ => {}
            }
        }
    }
}

/// So many principals that a list by value reads buckets by time: none of them with any event.
const MANY: &str = "INSERT INTO principals (tenant_id, principal_id, partition)
                    SELECT 'acme', 'silent' || n, 0 FROM generate_series(1, 10001) n";

/// A principal, and what each rule answered.
type Item = (String, Vec<(Rule, Vec<OracleValue>)>);

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_are_one_state_whatever_comes_in_between() {
    let rules = rules();
    let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
    for seed in 1..=4_u64 {
        let mut history = History {
            world: World::new().await,
            dice: Dice::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            log: BTreeMap::new(),
            now: at("2026-01-02T12:00:00Z"),
            next_id: 0,
        };
        history.world.apply(&texts).await;
        if seed % 2 == 0 {
            history
                .world
                .db
                .client()
                .await
                .execute(MANY, &[])
                .await
                .unwrap();
        }
        let mut answered: Vec<Version> = Vec::new();
        for step in 0..30 {
            match history.dice.roll(5) {
                0 | 1 => history.store().await,
                2 => {
                    history.sweep().await;
                }
                3 => {
                    let question = history.dice.question_of_any();
                    let query = TenantQuery::newest("acme", Selection::default(), question);
                    let (version, items) = history.pages(query.clone(), false).await;
                    let moment = format!("seed {seed} step {step} at {version}");
                    check_by_id(&history.standing(&version), &query.question, items, &moment);
                }
                _ => {
                    let nth = history.dice.roll(2 * answered.len() as u64 + 2) as usize;
                    let version = answered.get(nth).cloned();
                    let moment = format!("seed {seed} step {step}");
                    answered.push(history.check_some_by_value(&texts, version, &moment).await);
                }
            }
        }
        // With all swept, most buckets have changed since most versions.
        while history.sweep().await {}
        for turn in 0..16 {
            let version = answered[history.dice.roll(answered.len() as u64) as usize].clone();
            let moment = format!("seed {seed} turn {turn}");
            history
                .check_some_by_value(&texts, Some(version), &moment)
                .await;
        }
    }
}

fn check_by_id(
    standing: &[(String, Vec<OracleEvent>)],
    question: &Question,
    items: Vec<Item>,
    moment: &str,
) {
    let names: Vec<&String> = items.iter().map(|(name, _)| name).collect();
    let there: Vec<&String> = standing.iter().map(|(name, _)| name).collect();
    assert_eq!(names, there, "{moment}");
    for ((name, states), (_, events)) in items.iter().zip(standing) {
        for (rule, found) in states {
            let expected = fold(rule, judge_of(rule), events, question);
            assert_eq!(
                *found, expected,
                "{moment}: {} of {name}, {question:?}",
                rule.name
            );
        }
    }
}

fn check_by_value(
    standing: &[(String, Vec<OracleEvent>)],
    rule: &Rule,
    question: &Question,
    items: Vec<Item>,
    moment: &str,
) {
    let mut expected: Vec<(Rank, OracleValue)> = Vec::new();
    for (name, events) in standing {
        let values = fold(rule, judge_of(rule), events, question);
        let [value] = values.as_slice() else {
            panic!("one total, not {values:?}")
        };
        if value.event_count + value.skipped_count > 0 {
            let amount = value.value.as_deref();
            let rank = Rank {
                value: amount.map(|text| aevon_core::amount::Amount::parse(text).unwrap()),
                principal_id: name.clone(),
            };
            expected.push((rank, value.clone()));
        }
    }
    expected.sort_by(|(a, _), (b, _)| a.cmp(b));
    let expected: Vec<(String, OracleValue)> = expected
        .into_iter()
        .map(|(rank, value)| (rank.principal_id, value))
        .collect();
    let found: Vec<(String, OracleValue)> = items
        .into_iter()
        .map(|(name, mut states)| (name, states.remove(0).1.remove(0)))
        .collect();
    assert_eq!(found, expected, "{moment}: {} {question:?}", rule.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn named_principals_are_read_in_one_snapshot_and_name_their_partitions_only() {
    let world = World::new().await;
    world
        .apply(&["name: sum\nsource_event: t\noperator: sum\nfield: n"])
        .await;
    let events: Vec<NewEvent> = (0..6)
        .map(|n| {
            let n_text = (1 << n).to_string();
            event(
                &format!("p{}", n % 3),
                &format!("e{n}"),
                at("2026-01-01T00:00:30Z"),
                &n_text,
            )
        })
        .collect();
    world.store(&events).await;
    let names = ["nobody", "p0", "p2"].map(str::to_owned).to_vec();
    let query = TenantQuery::newest("acme", Selection::default(), Question::default());
    let which = Which::Named(names.clone());
    for _ in 0..2 {
        let page = list(&world.database, world.partitions, &query, &which, BUDGET);
        let page = page.await.unwrap();
        let found = page.items.iter().map(|item| {
            let state = &item.states[0];
            (
                item.principal_id.as_str(),
                shown(&state.rule, &state.values)[0].value.clone(),
            )
        });
        let expected = [("nobody", "0"), ("p0", "9"), ("p2", "36")];
        let expected = expected.map(|(name, value)| (name, Some(value.to_owned())));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        let touched: Vec<i32> = page.version.partitions().collect();
        assert_eq!(touched, which.partitions("acme", world.partitions));
        assert_eq!(events_of(&events, "p0").len(), 2);
        world.sweep(10).await;
    }
}
