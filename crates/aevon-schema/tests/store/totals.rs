//! What a tenant adds up to, held to the oracle over all of its principals, at every version.

use crate::dice::{Dice, judge_of, rules};
use crate::support::{BUDGET, World, at, event, void};
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_core::position::{Position, Version};
use aevon_core::time::{DAY_US, Timestamp};
use aevon_schema::state::{AsOf, Selection, StateError, TenantQuery, TenantState, total};
use aevon_schema::sweep::{Whose, backlogs, sweep_once};
use aevon_schema::verify::{self, Versions};
use aevon_testkit::oracle::{OracleEvent, fold, shown, standing};

/// An event as it was stored.
#[derive(Clone)]
struct Stored {
    tenant_id: String,
    principal_id: String,
    position: Position,
    ingested_at: Timestamp,
    event: OracleEvent,
}

/// A world of two tenants, and what its log holds.
struct History {
    world: World,
    dice: Dice,
    log: Vec<Stored>,
    /// What the clock of the log says.
    now: Timestamp,
    /// What was asked as of a version, and answered.
    answered: Vec<(TenantQuery, String)>,
    next_id: u64,
}

impl History {
    async fn begin(seed: u64) -> Self {
        Self {
            world: World::new().await,
            dice: Dice::new(seed),
            log: Vec::new(),
            now: at("2026-01-02T12:00:00Z"),
            answered: Vec::new(),
            next_id: 0,
        }
    }

    /// Events of several principals in one group, and voids of what stands or is in the group.
    async fn store(&mut self) {
        let mut group: Vec<NewEvent> = Vec::new();
        for _ in 0..=self.dice.roll(15) {
            self.next_id += 1;
            let id = format!("e{}", self.next_id);
            let stored = self
                .log
                .iter()
                .map(|s| (&s.tenant_id, &s.principal_id, &s.event.id));
            let known: Vec<(String, String, String)> = stored
                .chain(
                    group
                        .iter()
                        .map(|e| (&e.tenant_id, &e.principal_id, &e.event_id)),
                )
                .map(|(t, p, id)| (t.clone(), p.clone(), id.clone()))
                .collect();
            let is_void = self.dice.roll(4) == 0 && !known.is_empty();
            group.push(match is_void {
                true => {
                    let target = &known[self.dice.roll(known.len() as u64) as usize];
                    let mut void = void(&target.1, &id, &target.2);
                    void.tenant_id.clone_from(&target.0);
                    void
                }
                false => {
                    let mut event = self.dice.event(&id);
                    event.principal_id = format!("p{}", self.dice.roll(5));
                    event.tenant_id = self.dice.pick(&["acme", "acme", "other"]).to_owned();
                    event
                }
            });
        }
        let later = [1, 1_000_000, DAY_US / 3][self.dice.roll(3) as usize];
        self.now = self.now.plus_micros(later);
        let mut appender = self.world.appender().with_clock(self.now);
        let group: Vec<&NewEvent> = group.iter().collect();
        let verdicts = appender.append(&group).await.unwrap();
        for (event, verdict) in group.into_iter().zip(verdicts) {
            let Verdict::Accepted {
                position,
                ingested_at,
            } = verdict
            else {
                continue;
            };
            self.log.push(Stored {
                tenant_id: event.tenant_id.clone(),
                principal_id: event.principal_id.clone(),
                position,
                ingested_at,
                event: OracleEvent {
                    seq: position.seq,
                    id: event.event_id.clone(),
                    occurred_at: event.occurred_at,
                    event_type: event.event_type.clone(),
                    data: event.data.clone(),
                },
            });
        }
    }

    async fn sweep(&mut self) {
        let connection = &mut self.world.connection().await;
        for _ in 0..=self.dice.roll(3) {
            for backlog in backlogs(connection).await.unwrap() {
                let whose = [Whose::Front, Whose::Behind][self.dice.roll(2) as usize];
                let slice = 1 + self.dice.roll(12) as i64;
                sweep_once(connection, backlog.partition, slice, whose)
                    .await
                    .unwrap();
            }
        }
    }

    /// Some generations are as if they had been begun before there were totals.
    async fn forget_totals(&mut self) {
        let which = self.dice.roll(4);
        let client = self.world.db.client().await;
        let forget =
            format!("UPDATE sweep_checkpoints SET totals_seq = NULL WHERE rule_no % 4 = {which}");
        client.batch_execute(&forget).await.unwrap();
    }

    /// What of a tenant stands at a version, in one order.
    fn standing(&self, tenant_id: &str, version: &Version) -> Vec<OracleEvent> {
        let mut events = Vec::new();
        for n in 0..5 {
            let principal = format!("p{n}");
            let is_its = |s: &&Stored| s.tenant_id == tenant_id && s.principal_id == principal;
            let its: Vec<&Stored> = self.log.iter().filter(is_its).collect();
            let Some(partition) = its.first().map(|s| s.position.partition) else {
                continue;
            };
            let its: Vec<OracleEvent> = its.iter().map(|s| s.event.clone()).collect();
            let standing = standing(&its, version.of(partition).unwrap());
            // Ties go by place, then by partition.
            let placed = standing.into_iter().map(|event| OracleEvent {
                seq: event.seq * 1_000 + i64::from(partition),
                ..event
            });
            events.extend(placed);
        }
        events
    }

    /// A place of each partition, between nothing and its head.
    fn any_version(&mut self) -> Version {
        let mut version = Version::default();
        for partition in 0..self.world.partitions {
            let its = self
                .log
                .iter()
                .filter(|s| s.position.partition == partition);
            let head = its.map(|s| s.position.seq).max().unwrap_or(0);
            let seq = match self.dice.roll(3) {
                0 => head,
                _ => self.dice.roll(head as u64 + 1) as i64,
            };
            version.raise(Position { partition, seq });
        }
        version
    }

    async fn ask(&mut self, moment: &str) {
        let tenant_id = self.dice.pick(&["acme", "other", "nobody"]);
        let mut query =
            TenantQuery::newest(tenant_id, Selection::default(), self.dice.question_of_any());
        query.as_of = match self.dice.roll(4) {
            0 => None,
            1 if !self.log.is_empty() => {
                let at = self.dice.roll(self.log.len() as u64) as usize;
                Some(AsOf::Instant(self.log[at].ingested_at))
            }
            _ => Some(AsOf::Version(self.any_version())),
        };
        let state = self.read(&query).await;
        match &query.as_of {
            Some(AsOf::Version(version)) => assert_eq!(state.version, *version, "{moment}"),
            Some(AsOf::Instant(instant)) => {
                for stored in &self.log {
                    let seq = state.version.of(stored.position.partition).unwrap();
                    let is_known = stored.position.seq <= seq;
                    assert_eq!(is_known, stored.ingested_at <= *instant, "{moment}");
                }
            }
            None => {
                for stored in &self.log {
                    let seq = state.version.of(stored.position.partition).unwrap();
                    assert!(stored.position.seq <= seq, "{moment}");
                }
            }
        }
        let events = self.standing(tenant_id, &state.version);
        for answered in &state.states {
            let rule = &answered.rule;
            let expected = fold(rule, judge_of(rule), &events, &query.question);
            let found = shown(rule, &answered.values);
            let (version, question) = (&state.version, &query.question);
            assert_eq!(
                found, expected,
                "{moment}: {} of {tenant_id} at {version}, {question:?}",
                rule.name
            );
        }
        query.as_of = Some(AsOf::Version(state.version.clone()));
        let pinned = state.states.iter();
        let pinned = pinned.map(|s| (s.rule.name.clone(), s.rule_version));
        query.selection.pinned = pinned.collect();
        self.answered.push((query, text(&state)));
    }

    async fn read(&self, query: &TenantQuery) -> TenantState {
        let world = &self.world;
        total(&world.database, world.partitions, query, BUDGET)
            .await
            .unwrap()
    }

    /// What was answered once is answered again, whatever has happened since.
    async fn ask_again(&self, moment: &str) {
        for (query, answered) in &self.answered {
            let again = text(&self.read(query).await);
            assert_eq!(again, *answered, "{moment}: {query:?}");
        }
    }

    /// Every row of every total is what the log says.
    async fn verify(&self, moment: &str) {
        let connection = &mut self.world.connection().await;
        for partition in 0..self.world.partitions {
            let tenants = verify::tenants(connection, partition, "", 10)
                .await
                .unwrap();
            for tenant in tenants {
                let all = Versions::default();
                let checked = verify::check_totals(connection, partition, &tenant, &all);
                let checked = checked.await.unwrap();
                assert_eq!((checked.differences, checked.first), (0, None), "{moment}");
            }
        }
    }
}

/// All of an answer that a version determines.
fn text(state: &TenantState) -> String {
    let of_rule = |answered: &aevon_schema::state::RuleState| {
        let rule = &answered.rule;
        let values = shown(rule, &answered.values);
        format!("{} {} {values:?}", rule.name, answered.rule_version)
    };
    let rules: Vec<String> = state.states.iter().map(of_rule).collect();
    format!("{} {:?} {rules:?}", state.version, state.data_through)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_at_any_version_equals_the_oracle_and_stays_for_ever() {
    let rules = rules();
    let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
    for seed in 1..=5_u64 {
        let mut history = History::begin(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)).await;
        history.world.apply(&texts[..6]).await;
        for step in 0..40 {
            match history.dice.roll(8) {
                0..3 => history.store().await,
                3 if step > 12 => history.world.apply(&texts).await,
                3 | 4 => history.sweep().await,
                5 if step > 20 => history.forget_totals().await,
                _ => history.ask(&format!("seed {seed} step {step}")).await,
            }
        }
        history.verify(&format!("seed {seed}")).await;
        history.world.apply(&texts).await;
        history.world.sweep(7).await;
        history.ask_again(&format!("seed {seed}, swept")).await;
        history.verify(&format!("seed {seed}, swept")).await;
        for _ in 0..4 {
            history.store().await;
        }
        history
            .ask_again(&format!("seed {seed}, more stored"))
            .await;
        history.ask(&format!("seed {seed}, at last")).await;
        history.world.sweep(5).await;
        history
            .ask_again(&format!("seed {seed}, swept again"))
            .await;
        history.verify(&format!("seed {seed}, at last")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swept_total_reads_no_event_and_a_row_a_window_however_many_principals_there_are() {
    let world = World::new().await;
    world
        .apply(&["name: sum\nsource_event: t\noperator: sum\nfield: n"])
        .await;
    let events: Vec<NewEvent> = (0..400)
        .map(|n| {
            event(
                &format!("p{n}"),
                &format!("e{n}"),
                at("2026-01-01T00:00:30Z"),
                "1",
            )
        })
        .collect();
    world.store(&events).await;
    world.sweep(1_000).await;
    let query = TenantQuery::newest(
        "acme",
        Selection::default(),
        aevon_core::state::Question::default(),
    );
    let read =
        async |query: &TenantQuery| total(&world.database, world.partitions, query, BUDGET).await;
    let state = read(&query).await.unwrap();
    let value = state.states[0].values[0]
        .shown(state.states[0].rule.operator)
        .value;
    assert_eq!(value.as_deref(), Some("400"));
    assert_eq!(
        (state.buckets, state.raw_events),
        (16, 0),
        "a day's row a partition"
    );
    let mut incomplete = query.clone();
    let mut version = Version::default();
    version.raise(Position {
        partition: 0,
        seq: 1,
    });
    incomplete.as_of = Some(AsOf::Version(version));
    let refused = read(&incomplete).await.unwrap_err();
    assert!(
        matches!(refused, StateError::IncompleteVersion { partition: 1, .. }),
        "{refused}"
    );
}
