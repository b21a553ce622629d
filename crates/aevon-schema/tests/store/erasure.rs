//! Legal erasure: who is erased leaves no trace, and answers stay what they were; where that can't be,
//! they are what the oracle says of what is left.

use crate::dice::{Dice, judge_of, rules};
use crate::support::{BUDGET, World, at, event, events_of, open, void};
use aevon_core::append::Verdict;
use aevon_core::erasure::{Choice, Extent, Extents, Version as RuleVersion, plan};
use aevon_core::event::NewEvent;
use aevon_core::filter::Subject;
use aevon_core::fold::Fact;
use aevon_core::position::{Position, Version};
use aevon_core::reading::Reading;
use aevon_core::rule::Rule;
use aevon_core::time::DAY_US;
use aevon_schema::erasure::{Erased, Erasure, ErasureError, erase};
use aevon_schema::migrate::{self, MigrateOptions};
use aevon_schema::rejected_events::{self, Rejected};
use aevon_schema::state::{AsOf, At, RuleState, Selection, StateQuery, TenantQuery, read, total};
use aevon_schema::sweep::{Turn, backlogs, sweep_once};
use aevon_schema::verify::{self, Versions};
use aevon_testkit::TestDatabase;
use aevon_testkit::oracle::{OracleEvent, fold, shown, standing};
use std::collections::BTreeSet;

const ANN: &str = "ann@example.org";
const WHO: [&str; 3] = [ANN, "bob@example.org", "cid@example.org"];
/// Where the rules of the dice read more than numbers.
const READ: [&str; 4] = ["data.g", "data.deep.h", "data.kind", "data.n"];

/// A world of two partitions, so that principals share one, and what its log holds.
struct History {
    world: World,
    dice: Dice,
    log: Vec<(String, Position, OracleEvent)>,
    days: i64,
}

/// Everything in two partitions.
async fn world() -> World {
    let db = TestDatabase::empty().await;
    let options = MigrateOptions {
        partitions: Some(2),
        ..MigrateOptions::default()
    };
    Box::pin(migrate::run(db.url(), &options, drop))
        .await
        .unwrap();
    World {
        database: open(db.url()),
        partitions: 2,
        db,
    }
}

impl History {
    async fn begin(seed: u64) -> Self {
        Self {
            world: world().await,
            dice: Dice::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            log: Vec::new(),
            days: 0,
        }
    }

    /// Events of several principals in one group, of ANN more than of others, and voids.
    async fn store(&mut self) {
        let mut group = Vec::new();
        for n in 0..=self.dice.roll(14) {
            let id = format!("{n} of {}", self.log.len());
            let principal = WHO[[0, 0, 1, 2][self.dice.roll(4) as usize]];
            let its: Vec<&str> = self
                .log
                .iter()
                .filter(|(of, ..)| of == principal)
                .map(|(.., event)| event.id.as_str())
                .collect();
            group.push(match self.dice.roll(5) {
                0 if !its.is_empty() => void(principal, &id, self.dice.pick(&its)),
                _ => self.event(principal, &id),
            });
        }
        self.days += self.dice.roll(2) as i64;
        let now = at("2026-01-02T12:00:00Z").plus_micros(self.days * DAY_US / 2);
        let mut writer = self.world.writer().with_clock(now);
        let group: Vec<&NewEvent> = group.iter().collect();
        let verdicts = writer.append(&group).await.unwrap();
        for (event, verdict) in group.into_iter().zip(verdicts) {
            if let Verdict::Accepted { position, .. } = verdict {
                let [mut stored] =
                    <[_; 1]>::try_from(events_of(std::slice::from_ref(event), &event.principal_id))
                        .unwrap();
                stored.seq = position.seq;
                self.log
                    .push((event.principal_id.clone(), position, stored));
            }
        }
    }

    fn event(&mut self, principal: &str, id: &str) -> NewEvent {
        let mut event = self.dice.event(id);
        event.principal_id = principal.to_owned();
        let about =
            format!(", \"mail\": [\"{principal}\"], \"x\": {{\"y\": \"of {principal}\"}}}}");
        event.data = event.data.trim_end_matches('}').to_owned();
        // What was trimmed of a nested object.
        if event.data.matches('{').count() > event.data.matches('}').count() + 1 {
            event.data.push('}');
        }
        event.data.push_str(&about);
        event.metadata = format!("{{\"ip\": \"of {principal}\", \"aevon.mark\": 1}}");
        event
    }

    async fn sweep(&mut self) {
        let connection = &mut self.world.connection().await;
        for backlog in backlogs(connection).await.unwrap() {
            let turn = [Turn::Front, Turn::Behind][self.dice.roll(2) as usize];
            let slice = 1 + self.dice.roll(25) as i64;
            let swept = sweep_once(connection, backlog.partition, slice, turn);
            swept.await.unwrap();
        }
    }

    /// Twenty steps of whatever, with rules that are changed and retired on the way.
    async fn play(&mut self, set: &[&str]) {
        self.world.apply(&set[..8]).await;
        for step in 0..20 {
            match self.dice.roll(5) {
                0..3 => self.store().await,
                _ => self.sweep().await,
            }
            if step == 12 {
                self.world.sweep(50).await;
                self.world.apply(&set[3..]).await;
            }
        }
        self.sweep().await;
    }

    fn head(&self, partition: i32) -> i64 {
        let its = self
            .log
            .iter()
            .filter(|(_, at, _)| at.partition == partition);
        its.map(|(_, at, _)| at.seq).max().unwrap_or(0)
    }

    /// Questions about a principal at any version, of every rule version there is.
    fn questions(&mut self, principal: &str, pinned: &[(String, i32)]) -> Vec<StateQuery> {
        let its = self.log.iter().find(|(of, ..)| of == principal);
        let head = self.head(its.map_or(0, |(_, at, _)| at.partition));
        let question = |_| {
            let question = self.dice.question_of_any();
            let selection = Selection {
                names: Vec::new(),
                pinned: pinned.to_vec(),
            };
            let mut query = StateQuery::newest("acme", principal, selection, question);
            query.at = Some(At::Version(self.dice.roll(head as u64 + 1) as i64));
            query
        };
        (0..6).map(question).collect()
    }

    fn totals(&mut self, pinned: &[(String, i32)]) -> Vec<TenantQuery> {
        let heads = [self.head(0), self.head(1)];
        let question = |_| {
            let selection = Selection {
                names: Vec::new(),
                pinned: pinned.to_vec(),
            };
            let mut query = TenantQuery::newest("acme", selection, self.dice.question_of_any());
            let mut version = Version::default();
            for (partition, head) in (0..).zip(heads) {
                let seq = self.dice.roll(head as u64 + 1) as i64;
                version.raise(Position { partition, seq });
            }
            query.as_of = Some(AsOf::Version(version));
            query
        };
        (0..4).map(question).collect()
    }

    async fn ask(&self, query: &StateQuery) -> Vec<RuleState> {
        let world = &self.world;
        let state = read(&world.database, world.partitions, query, BUDGET);
        state.await.unwrap().states
    }

    async fn ask_total(&self, query: &TenantQuery) -> Vec<RuleState> {
        let world = &self.world;
        let state = total(&world.database, world.partitions, query, BUDGET);
        state.await.unwrap().states
    }

    async fn versions(&self) -> Vec<(String, i32)> {
        let client = self.world.db.client().await;
        let query = "SELECT name, version FROM rules WHERE name <> 'who' ORDER BY 1, 2";
        let rows = client.query(query, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn erase(&self, keep: &[&str], is_forced: bool) -> Result<Erased, ErasureError> {
        erase_of(&self.world, keep, is_forced, false).await
    }

    /// The log as it stands, instead of what was sent.
    async fn reload(&mut self) {
        let client = self.world.db.client().await;
        let query = "SELECT p.principal_id, e.partition, e.seq, e.event_id, e.type, e.data::text
                     FROM events e JOIN principals p USING (principal_no, partition)";
        for row in client.query(query, &[]).await.unwrap() {
            let position = Position {
                partition: row.get(1),
                seq: row.get(2),
            };
            let known = self.log.iter_mut().find(|(_, at, _)| *at == position);
            let (of, _, event) = known.unwrap();
            *of = row.get(0);
            event.id = row.get(3);
            event.event_type = row.get(4);
            event.data = row.get(5);
        }
    }

    /// Every row of buckets, of principals and of totals, is what the log says.
    async fn verify(&self, moment: &str) {
        let connection = &mut self.world.connection().await;
        let all = Versions::default();
        let mut buckets = 0;
        for partition in 0..2 {
            let page = verify::principals(connection, partition, ("", ""), 100);
            let page = page.await.unwrap();
            let checked = verify::check(connection, partition, &page, &all).await;
            let checked = checked.unwrap();
            assert_eq!((checked.differences, checked.first), (0, None), "{moment}");
            buckets += checked.buckets;
            for tenant in verify::tenants(connection, partition, "", 10)
                .await
                .unwrap()
            {
                let checked = verify::check_totals(connection, partition, &tenant, &all);
                let checked = checked.await.unwrap();
                assert_eq!((checked.differences, checked.first), (0, None), "{moment}");
                buckets += checked.buckets;
            }
        }
        let stands = self.world.count("pre_aggregates").await as u64;
        assert_eq!(buckets, stands, "{moment}: no other bucket is left");
    }
}

async fn erase_of(
    world: &World,
    keep: &[&str],
    is_forced: bool,
    is_rehearsal: bool,
) -> Result<Erased, ErasureError> {
    let erasure = Erasure {
        tenant_id: "acme".to_owned(),
        principal_id: ANN.to_owned(),
        choice: Choice {
            keep: keep.iter().map(|place| (*place).to_owned()).collect(),
            blank: BTreeSet::new(),
        },
        is_forced,
        is_rehearsal,
    };
    let mut next = 7_u128;
    let random = || {
        next = next.wrapping_mul(0x1234_5678_9ABC_DEF1_0FED_CBA9_8765_4321) + 1;
        Ok(next)
    };
    let mut connection = world.connection().await;
    erase(&mut connection, world.partitions, &erasure, random).await
}

/// All that an answer says.
fn text(states: &[RuleState]) -> String {
    let one = |state: &RuleState| {
        let values = shown(&state.rule, &state.values);
        format!("{} {} {values:?}", state.rule.name, state.rule_version)
    };
    states.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// The rows of every table that hold a text.
async fn traces(world: &World, of: &str) -> Vec<String> {
    let client = world.db.client().await;
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace \
                  AND relkind IN ('r', 'p') AND NOT relispartition";
    let mut found = Vec::new();
    for table in client.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let query = format!("SELECT t::text FROM {table} t WHERE position($1 IN t::text) > 0");
        let rows = client.query(&query, &[&of]).await.unwrap();
        let rows = rows.iter().map(|row| row.get::<_, String>(0));
        found.extend(rows.map(|row| format!("{table}: {row}")));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_at_any_version_changes_and_no_trace_is_left() {
    let rules = rules();
    let set: Vec<&str> = rules.iter().map(String::as_str).collect();
    for seed in 1..=3 {
        let mut history = History::begin(seed).await;
        history.play(&set).await;
        let versions = history.versions().await;
        let mut questions = Vec::new();
        for who in WHO {
            questions.extend(history.questions(who, &versions));
        }
        let totals = history.totals(&versions);
        let (mut before, mut before_totals) = (Vec::new(), Vec::new());
        for query in &questions {
            before.push(text(&history.ask(query).await));
        }
        for query in &totals {
            before_totals.push(text(&history.ask_total(query).await));
        }
        let buckets = history.world.count("pre_aggregates").await;

        let erased = history.erase(&READ, false).await.unwrap();
        let pseudonym = erased.pseudonym.unwrap();
        let its = history.log.iter().filter(|(of, ..)| of == ANN).count();
        assert_eq!(erased.events, its as i64);
        assert_eq!(traces(&history.world, ANN).await, [""; 0]);
        assert_eq!(
            traces(&history.world, "mail").await.len(),
            history
                .log
                .iter()
                .filter(|(of, _, event)| of != ANN && event.data.contains("mail"))
                .count()
        );
        for (query, before) in questions.iter_mut().zip(&before) {
            if query.principal_id == ANN {
                query.principal_id.clone_from(&pseudonym);
            }
            assert_eq!(
                text(&history.ask(query).await),
                *before,
                "seed {seed}: {query:?}"
            );
        }
        for (query, before) in totals.iter().zip(&before_totals) {
            assert_eq!(
                text(&history.ask_total(query).await),
                *before,
                "seed {seed}"
            );
        }
        assert_eq!(history.world.count("pre_aggregates").await, buckets);
        history.reload().await;
        assert!(history.log.iter().any(|(of, ..)| *of == pseudonym));
        // It goes on, under the old name with somebody new.
        history.store().await;
        history.world.sweep(9).await;
        history.verify(&format!("seed {seed}")).await;
        for (query, before) in questions.iter().zip(&before) {
            assert_eq!(
                text(&history.ask(query).await),
                *before,
                "seed {seed}, swept"
            );
        }
    }
}

/// A rule that reads everything that can be in the way.
const WHOEVER: &str = "name: who\nsource_event: t\noperator: max\nfield: n\n\
                       filter: principal_id != 'bob@example.org' && metadata.ip != ''\n\
                       group_by: [mail, x.y]";

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_read_is_blanked_by_force_and_answers_are_those_of_what_is_left() {
    let rules = rules();
    let mut set: Vec<&str> = rules.iter().map(String::as_str).collect();
    set.insert(4, WHOEVER);
    for seed in 1..=4 {
        let mut history = History::begin(seed).await;
        history.play(&set).await;
        history.verify(&format!("seed {seed}, before")).await;
        let keep: &[&str] = [&[][..], &["data.kind"], &["data.n", "data.g"]][seed as usize % 3];
        let refused = history.erase(keep, false).await.unwrap_err();
        assert!(matches!(refused, ErasureError::InTheWay(_)), "{refused}");
        let erased = history.erase(keep, true).await.unwrap();
        let pseudonym = erased.pseudonym.unwrap();
        // Also in labels of totals that nobody else has a part in.
        assert_eq!(traces(&history.world, ANN).await, [""; 0], "seed {seed}");
        history.verify(&format!("seed {seed}, erased")).await;
        history.reload().await;
        let versions = history.versions().await;
        for step in 0..3 {
            for who in [&pseudonym, WHO[1], WHO[2]] {
                let its = history.log.iter().filter(|(of, ..)| of == who);
                let its: Vec<OracleEvent> = its.map(|(.., event)| event.clone()).collect();
                for query in history.questions(who, &versions) {
                    let Some(At::Version(seq)) = query.at else {
                        unreachable!("they have versions")
                    };
                    for state in history.ask(&query).await {
                        let rule = &state.rule;
                        let standing = standing(&its, seq);
                        let expected = fold(rule, judge_of(rule), &standing, &query.question);
                        let found = shown(rule, &state.values);
                        assert_eq!(found, expected, "seed {seed}, step {step}: {query:?}");
                    }
                }
            }
            history.store().await;
            history.world.sweep(11).await;
            history.verify(&format!("seed {seed}, step {step}")).await;
        }
    }
}

/// A document of whatever shape, and one of few keys, so that paths meet it.
fn document(dice: &mut Dice, depth: u64) -> String {
    match dice.roll(if depth == 0 { 5 } else { 9 }) {
        0 => dice.pick(&["1", "-2.50", "0", "12e3"]).to_owned(),
        1 => dice
            .pick(&["\"x\"", "\"\"", "\"7\"", "\"1e2\"", "\"ann\"", "\"E.\""])
            .to_owned(),
        2 => dice.pick(&["true", "false"]).to_owned(),
        3 => "null".to_owned(),
        4 => dice.pick(&["[]", "{}"]).to_owned(),
        5 | 6 => {
            let items = (0..=dice.roll(3)).map(|_| document(dice, depth - 1));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        _ => object(dice, depth - 1),
    }
}

fn object(dice: &mut Dice, depth: u64) -> String {
    let mut members = Vec::new();
    for key in ["a", "b", "0", "c.d", "l"] {
        if dice.roll(3) > 0 {
            members.push(format!("\"{key}\":{}", document(dice, depth)));
        }
    }
    format!("{{{}}}", members.join(","))
}

const PATHS: [&str; 8] = ["a", "b", "a.b", "l.0", "l.1.a", "/c.d", "a.0.b", "l.01"];
const FILTERS: [&str; 12] = [
    "data.a.b == 1",
    "has(data.a.b)",
    "data.l[0] == data.b",
    "data[\"c.d\"] != ''",
    "size(data.a) > 1",
    "size(data.l) == 2 || 'b' in data.a",
    "data.l.exists(x, x == data.b)",
    "data.l.all(x, has(x.a) && x.a.b > 0)",
    "data[data.b].a == 1",
    "type(data.a) == string || data.b.a == 'x'",
    "metadata.a == data.a.b",
    "size(metadata) > 2 && string(data.b) != '0'",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_reads_of_what_is_left_what_it_read_before() {
    let world = World::new().await;
    let client = world.db.client().await;
    let mut dice = Dice::new(0x5DEE_CE66_D123_4567);
    let mut changed = 0;
    for round in 0..150 {
        let mut versions = Vec::new();
        for rule_no in 0..=dice.roll(2) as i32 {
            let operator = dice.pick(&["count", "sum", "latest", "unique_count", "weighted_sum"]);
            let mut text = format!("name: r{rule_no}\nsource_event: t\noperator: {operator}\n");
            if operator != "count" {
                text += &format!("field: {}\n", dice.pick(&PATHS));
            }
            if dice.roll(2) == 0 {
                text += &format!("filter: {}\n", serde_json::json!(dice.pick(&FILTERS)));
            }
            if dice.roll(2) == 0 {
                text += &format!("group_by: [{}]\n", dice.pick(&PATHS));
            }
            versions.push(RuleVersion {
                rule_no,
                version: 1,
                rule: Rule::from_yaml(&text).unwrap(),
            });
        }
        let extents = Extents::from([(
            "t".to_owned(),
            Extent {
                data: 2_000,
                metadata: 2_000,
            },
        )]);
        // All that is in the way is to stay.
        let all = plan(&versions, &extents, &Choice::default()).obstacles;
        let choice = Choice {
            keep: all.into_iter().map(|obstacle| obstacle.place).collect(),
            blank: BTreeSet::new(),
        };
        let plan = plan(&versions, &extents, &choice);
        assert_eq!((plan.obstacles, plan.unread), (vec![], vec![]));
        let documents: Vec<String> = (0..40).map(|_| object(&mut dice, 4)).collect();
        let query =
            "SELECT d::jsonb::text, blanked(d::jsonb, $2::text::jsonb -> 't' -> 'data')::text,
                            blanked(d::jsonb, $2::text::jsonb -> 't' -> 'metadata')::text
                     FROM unnest($1::text[]) AS d";
        let rows = client
            .query(query, &[&documents, &plan.kept])
            .await
            .unwrap();
        for rows in rows.windows(2) {
            let (data, left): (String, String) = (rows[0].get(0), rows[0].get(1));
            let (metadata, left_metadata): (String, String) = (rows[1].get(0), rows[1].get(2));
            changed += usize::from(left != data);
            assert!(
                left.len() <= data.len(),
                "round {round}: {data} became {left}"
            );
            for version in &versions {
                let reading = |data: &str, metadata: &str| {
                    let fact = Fact {
                        position: Position {
                            partition: 0,
                            seq: 1,
                        },
                        occurred_at: at("2026-01-01T00:00:00Z"),
                        event_type: "t",
                        schema_version: 0,
                        principal_id: "p",
                        data,
                        metadata,
                    };
                    Reading::of(&version.rule, &Subject::new(fact))
                };
                assert_eq!(
                    reading(&left, &left_metadata),
                    reading(&data, &metadata),
                    "round {round}: {} of {data}, of which {left} is left",
                    version.rule.definition()
                );
            }
        }
    }
    assert!(changed > 3_000, "{changed} documents lost something");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_knew_the_old_name_sees_that_it_is_somebody_new() {
    let world = World::new().await;
    let mut writer = world.writer();
    let first = event(ANN, "e1", at("2026-01-01T00:00:00Z"), "1");
    let twin = event("bob@example.org", "e1", at("2026-01-01T00:00:00Z"), "1");
    writer.append(&[&first, &twin]).await.unwrap();
    let stored = writer.append(&[&first, &twin]).await.unwrap();
    assert!(
        stored
            .iter()
            .all(|verdict| matches!(verdict, Verdict::Duplicate { .. }))
    );
    let rehearsed = erase_of(&world, &[], false, true).await.unwrap();
    assert_eq!((rehearsed.events, world.count("erasures").await), (1, 0));
    let again = writer.append(&[&first]).await.unwrap();
    assert!(matches!(again[0], Verdict::Duplicate { .. }), "{again:?}");

    let erased = erase_of(&world, &[], false, false).await.unwrap();
    // What was stored is nobody's any more, so that the same event is a new one, of somebody new.
    let again = writer.append(&[&first, &twin]).await.unwrap();
    assert!(matches!(again[0], Verdict::Accepted { .. }), "{again:?}");
    assert!(matches!(again[1], Verdict::Duplicate { .. }), "{again:?}");
    assert_eq!(world.count("principals").await, 3);
    let client = world.db.client().await;
    let row = client.query_one(
        "SELECT pseudonym, erased_by, events, is_forced FROM erasures",
        &[],
    );
    let row = row.await.unwrap();
    assert_eq!(row.get::<_, Option<String>>(0), erased.pseudonym);
    assert_eq!((row.get::<_, i64>(2), row.get::<_, bool>(3)), (1, false));
    assert!(!row.get::<_, String>(1).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rejected_of_the_principal_goes_and_of_others_stays() {
    let world = World::new().await;
    let rejected = |body: &str, faults: &str| Rejected {
        received_at: at("2026-01-01T00:00:00Z"),
        tenant_id: "acme".to_owned(),
        codes: vec!["malformed-body"],
        request_id: "r".to_owned(),
        item_index: None,
        event_id: None,
        content_type: None,
        faults: faults.to_owned(),
        body: body.as_bytes().to_vec(),
        body_bytes: None,
    };
    let mut others = rejected(&format!("{{\"principal_id\":\"{ANN}\"}}"), "[]");
    others.tenant_id = "other".to_owned();
    let list = [
        rejected(&format!("[{{\"principal_id\":\"{ANN}\"}}]"), "[]"),
        rejected("{\"principal_id\":\"ann\\u0040example.org\"", "[]"),
        rejected("{\"principal_id\":\"ann@exam", "[]"),
        rejected("", &format!("[{{\"detail\":\"{ANN} is none\"}}]")),
        rejected("{\"principal_id\":\"joann@example.org\"}", "[]"),
        others,
    ];
    let mut connection = world.connection().await;
    rejected_events::insert(&mut connection, &list)
        .await
        .unwrap();
    let erased = erase_of(&world, &[], false, false).await.unwrap();
    assert_eq!((erased.rejected, erased.pseudonym), (4, None));
    assert_eq!(world.count("rejected_events").await, 2);
    let again = erase_of(&world, &[], false, false).await.unwrap_err();
    assert!(matches!(again, ErasureError::Nobody), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_changes_the_log_nor_may_anybody_else_ask_for_it() {
    let world = World::new().await;
    world
        .apply(&["name: r\nsource_event: t\noperator: count\ngroup_by: [n]"])
        .await;
    world
        .store(&[event(ANN, "e1", at("2026-01-01T00:00:00Z"), "1")])
        .await;
    let unread = erase_of(&world, &["data.m"], true, false)
        .await
        .unwrap_err();
    assert!(matches!(unread, ErasureError::Unread(_)), "{unread}");
    let refused = erase_of(&world, &[], false, false).await.unwrap_err();
    let ErasureError::InTheWay(obstacles) = refused else {
        panic!("{refused}")
    };
    assert_eq!(
        (obstacles[0].place.as_str(), obstacles[0].rule.as_str()),
        ("data.n", "r:1")
    );
    assert_eq!(world.count("erasures").await, 0);
    assert_eq!(traces(&world, ANN).await.len(), 1);

    let client = world.db.client().await;
    let ask = "SELECT erase_principal('acme', 'bob', 0, 'x', '{}', '{}', false, NULL)";
    for change in ["DELETE FROM events", "TRUNCATE events", "DELETE FROM voids"] {
        let refused = client.batch_execute(&format!("{ask}; {change}")).await;
        let refused = refused.unwrap_err();
        let says = refused
            .as_db_error()
            .map(|error| error.message().to_owned());
        assert!(says.unwrap().contains("append-only"), "{change}");
    }
    client.batch_execute(ask).await.unwrap();
    let later = client.batch_execute("UPDATE events SET data = '{}'").await;
    assert!(later.is_err(), "an erasure that is over opens nothing");
    let asked = format!("SET ROLE aevon_aggregator; {ask}");
    let refused = client.batch_execute(&asked).await.unwrap_err();
    let says = refused
        .as_db_error()
        .map(|error| error.message().to_owned());
    assert!(says.unwrap().contains("permission denied for function"));
    // As a dump leaves it that is put back where the roles are missing.
    let granted = format!(
        "GRANT EXECUTE ON FUNCTION erase_principal TO PUBLIC; SET SESSION AUTHORIZATION aevon_aggregator; {ask}"
    );
    let refused = client.batch_execute(&granted).await.unwrap_err();
    let says = refused
        .as_db_error()
        .map(|error| error.message().to_owned());
    assert!(says.unwrap().contains("only the owner"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_behind_the_look_is_looked_at_before_it_is_blanked() {
    let labels = "name: who\nsource_event: u\noperator: count\ngroup_by: [mail]";
    let dear = "name: dear\nsource_event: t\noperator: count\n\
                filter: data.l.exists(x, data.l.exists(y, x == y))";
    let pad = format!(r#"{{"l":[1],"pad":"{}"}}"#, "x".repeat(200_000));
    for (rule, keep, event_type, data) in [
        (labels, &[][..], "u", r#"{"mail":"ann@example.org"}"#),
        (dear, &["data.l"][..], "t", &pad),
    ] {
        let world = World::new().await;
        world.apply(&[rule]).await;
        let mut first = event(ANN, "e1", at("2026-01-01T00:00:00Z"), "1");
        first.event_type = "t".to_owned();
        first.data = r#"{"l":[1]}"#.to_owned();
        world.store(&[first.clone()]).await;
        // Holds an erasure up between its look and its first step.
        let mut holder = world.db.client().await;
        let held = holder.transaction().await.unwrap();
        held.batch_execute("LOCK TABLE erasures IN SHARE MODE")
            .await
            .unwrap();
        let erasing = erase_of(&world, keep, false, false);
        let meanwhile = async {
            let watcher = world.db.client().await;
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted
                         AND relation = 'erasures'::regclass";
            while watcher
                .query_one(waits, &[])
                .await
                .unwrap()
                .get::<_, i64>(0)
                == 0
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let late = NewEvent {
                event_id: "e2".to_owned(),
                event_type: event_type.to_owned(),
                data: data.to_owned(),
                ..first
            };
            world.store(&[late]).await;
            held.commit().await.unwrap();
        };
        let (erased, ()) = tokio::join!(erasing, meanwhile);
        let refused = erased.unwrap_err();
        assert!(matches!(refused, ErasureError::Moved), "{rule}: {refused}");
        assert_eq!(world.count("erasures").await, 0);
    }
}
