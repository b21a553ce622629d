//! Legal erasure: who is erased leaves no trace, and answers stay what they were; where that can't be,
//! they are what the oracle says of what is left.

use crate::dice::{Dice, judge_of, rules};
use crate::support::{BUDGET, World, at, events_of, open, void};
use aevon_core::append::Verdict;
use aevon_core::erasure::Choice;
use aevon_core::event::NewEvent;
use aevon_core::position::{Position, Version};
use aevon_core::time::DAY_US;
use aevon_schema::erasure::{Erased, Erasure, ErasureError, Found, Refusal, erase};
use aevon_schema::migrate::{self, MigrateOptions};
use aevon_schema::state::{AsOf, At, RuleState, Selection, StateQuery, TenantQuery, read, total};
use aevon_schema::sweep::{Whose, backlogs, sweep_once};
use aevon_schema::verify::{self, Versions};
use aevon_testkit::TestDatabase;
use aevon_testkit::oracle::{OracleEvent, fold, shown, standing};
use std::collections::BTreeSet;

pub(crate) const ANN: &str = "ann@example.org";
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
pub(crate) async fn world() -> World {
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
        let mut appender = self.world.appender().with_clock(now);
        let group: Vec<&NewEvent> = group.iter().collect();
        let verdicts = appender.append(&group).await.unwrap();
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
            let whose = [Whose::Front, Whose::Behind][self.dice.roll(2) as usize];
            let slice = 1 + self.dice.roll(25) as i64;
            let swept = sweep_once(connection, backlog.partition, slice, whose);
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

    async fn verify(&self, moment: &str) {
        verify_of(&self.world, moment).await;
    }
}

/// Every row of buckets, of principals and of totals, is what the log says.
pub(crate) async fn verify_of(world: &World, moment: &str) {
    let connection = &mut world.connection().await;
    let all = Versions::default();
    let mut buckets = 0;
    for partition in 0..world.partitions {
        let page = verify::principals(connection, partition, ("", ""), 100);
        let page = page.await.unwrap();
        if !page.is_empty() {
            let checked = verify::check(connection, partition, &page, &all).await;
            let checked = checked.unwrap();
            assert_eq!((checked.differences, checked.first), (0, None), "{moment}");
            buckets += checked.buckets;
        }
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
    let stands = world.count("pre_aggregates").await as u64;
    assert_eq!(buckets, stands, "{moment}: no other bucket is left");
}

pub(crate) async fn erase_of(
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

/// What there was of the principal, and why nothing was done.
pub(crate) fn refusal_of(error: ErasureError) -> (Found, Refusal) {
    match error {
        ErasureError::Refused { found, why } => (found, why),
        other => panic!("refused, not {other}"),
    }
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
pub(crate) async fn traces(world: &World, of: &str) -> Vec<String> {
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
        let (_, why) = refusal_of(refused);
        assert!(matches!(why, Refusal::InTheWay(_)), "{why}");
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
