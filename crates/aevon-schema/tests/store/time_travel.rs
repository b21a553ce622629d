//! Every version of the log, held to the oracle, and to what was answered at it before.

use crate::dice::{Dice, judge_of, rules, selection};
use crate::support::{BUDGET, World, at, void};
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_core::state::{Fill, Question};
use aevon_core::time::{DAY_US, Timestamp};
use aevon_schema::state::{At, State, StateQuery, read};
use aevon_schema::sweep::{Whose, backlogs, sweep_once};
use aevon_testkit::oracle::{OracleEvent, fold, shown, standing};

/// A world, and what its log holds of principals p0 and p1.
pub(crate) struct History {
    pub(crate) world: World,
    pub(crate) dice: Dice,
    pub(crate) log: Vec<(String, OracleEvent, Timestamp)>,
    /// What the clock of the log says.
    now: Timestamp,
    /// What was asked as of a version, and answered.
    answered: Vec<(StateQuery, String)>,
    next_id: u64,
    /// Whether every rule was applied.
    is_whole: bool,
}

impl History {
    pub(crate) async fn begin(nth: u64) -> Self {
        let seed = nth.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self {
            world: World::new().await,
            // As many places as there are histories, all of them in the end.
            dice: Dice::of_place(7 * nth as usize, seed),
            log: Vec::new(),
            now: at("2026-01-02T12:00:00Z"),
            answered: Vec::new(),
            next_id: 0,
            is_whole: false,
        }
    }

    pub(crate) fn of(&self, principal: &str) -> Vec<OracleEvent> {
        let ours = self.log.iter().filter(|(of, ..)| of == principal);
        ours.map(|(_, event, _)| event.clone()).collect()
    }

    /// Events in one group, some of them late, and voids of what stands or is in the group.
    pub(crate) async fn store(&mut self) {
        let mut group: Vec<NewEvent> = Vec::new();
        for _ in 0..=self.dice.roll(9) {
            self.next_id += 1;
            let id = format!("e{}", self.next_id);
            let known: Vec<(String, String)> = self
                .log
                .iter()
                .map(|(of, event, _)| (of.clone(), event.id.clone()))
                .chain(
                    group
                        .iter()
                        .map(|e| (e.principal_id.clone(), e.event_id.clone())),
                )
                .collect();
            let is_void = self.dice.roll(4) == 0 && !known.is_empty();
            group.push(match is_void {
                true => {
                    let (of, target) = &known[self.dice.roll(known.len() as u64) as usize];
                    void(of, &id, target)
                }
                false => self.dice.event(&id),
            });
        }
        // A new day of ingestion, now and then.
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
            let entry = OracleEvent {
                seq: position.seq,
                id: event.event_id.clone(),
                occurred_at: event.occurred_at,
                event_type: event.event_type.clone(),
                data: event.data.clone(),
            };
            self.log
                .push((event.principal_id.clone(), entry, ingested_at));
        }
    }

    /// A few slices of some partitions.
    pub(crate) async fn sweep(&mut self) {
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

    /// Asks as of some version of a principal's partition, or of the newest.
    async fn ask(&mut self, moment: &str) {
        let principal = format!("p{}", self.dice.roll(2));
        let log = self.of(&principal);
        let head = log.last().map_or(0, |event| event.seq);
        let seq = self.dice.roll(head as u64 + 1) as i64;
        let mut question = self.dice.question();
        if question.fill == Fill::Previous && !self.is_whole {
            question.fill = Fill::Zero;
        }
        let selection = selection(&question);
        let mut query = StateQuery::newest("acme", &principal, selection, question);
        query.at = match self.dice.roll(4) {
            0 => None,
            1 => self.instant_of(&principal, seq).map(At::Instant),
            _ => Some(At::Version(seq)),
        };
        let state = self.read(&query).await;
        let found = state.position.seq;
        match query.at {
            Some(At::Version(seq)) => assert_eq!(found, seq, "{moment}"),
            Some(At::Instant(instant)) => {
                assert!(
                    state.data_through.is_some_and(|stamp| stamp <= instant),
                    "{moment}"
                );
                let ours = self.log.iter().filter(|(of, ..)| *of == principal);
                let known = ours
                    .filter(|(.., stamp)| *stamp <= instant)
                    .map(|(_, e, _)| e.seq);
                assert!(known.max() <= Some(found), "{moment}");
            }
            None => assert!(found >= head, "{moment}"),
        }
        check(&state, &standing(&log, found), &query.question, moment);
        query.at = Some(At::Version(found));
        let pinned = state
            .states
            .iter()
            .map(|s| (s.rule.name.clone(), s.rule_version));
        query.selection.names.clear();
        query.selection.pinned = pinned.collect();
        self.answered.push((query, text(&state)));
    }

    /// The stamp of the newest event of a principal at or below a place.
    fn instant_of(&self, principal: &str, seq: i64) -> Option<Timestamp> {
        let ours = self
            .log
            .iter()
            .filter(|(of, e, _)| of == principal && e.seq <= seq);
        ours.map(|(.., stamp)| *stamp).max()
    }

    pub(crate) async fn read(&self, query: &StateQuery) -> State {
        let world = &self.world;
        read(&world.database, world.partitions, query, BUDGET)
            .await
            .unwrap()
    }

    /// What was answered once is answered again, whatever has happened since.
    async fn ask_again(&self, moment: &str) {
        for (query, answered) in &self.answered {
            assert_eq!(
                text(&self.read(query).await),
                *answered,
                "{moment}: {query:?}"
            );
        }
    }
}

fn check(state: &State, events: &[OracleEvent], question: &Question, moment: &str) {
    let seq = state.position.seq;
    for answered in &state.states {
        let rule = &answered.rule;
        let expected = fold(rule, judge_of(rule), events, question);
        let found = shown(rule, &answered.values);
        assert_eq!(
            found, expected,
            "{moment}: {} at {seq}, {question:?}",
            rule.name
        );
    }
}

/// All of an answer that a version determines.
fn text(state: &State) -> String {
    let of_rule = |answered: &aevon_schema::state::RuleState| {
        let rule = &answered.rule;
        let values = shown(rule, &answered.values);
        format!("{} {} {values:?}", rule.name, answered.rule_version)
    };
    let rules: Vec<String> = state.states.iter().map(of_rule).collect();
    format!("{} {:?} {rules:?}", state.position, state.data_through)
}

/// How many buckets of a rule differ from those of its copy.
const DIFFERENCES: &str = "
    WITH b AS (
        SELECT regexp_replace(r.name, '^z_', '') AS name, r.name ~ '^z_' AS is_copy,
               s.principal_no, s.labels, b.grain, b.window_start, b.epoch, b.event_count,
               b.skipped_count, b.value, b.latest_at, b.latest_seq, b.moment, b.sketch,
               b.first_seq, b.last_seq, b.last_void_seq
        FROM pre_aggregates b
        JOIN series s USING (series_no, partition)
        JOIN rules r USING (rule_no)
    )
    SELECT count(*) FROM (
        SELECT name, principal_no, labels, grain, window_start, epoch, event_count, skipped_count, value,
               latest_at, latest_seq, moment, sketch, first_seq, last_seq, last_void_seq
        FROM b
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
        HAVING count(*) <> 2
    ) d";

/// How many histories; more where `AEVON_TEST_SEEDS` says so.
const SEEDS: u64 = 8;

pub(crate) fn seeds() -> std::ops::RangeInclusive<u64> {
    let more = std::env::var("AEVON_TEST_SEEDS").ok();
    1..=more.map_or(SEEDS, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_at_any_version_equals_the_oracle_and_stays_for_ever() {
    let rules = rules();
    let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
    let copies: Vec<String> = texts
        .iter()
        .map(|t| t.replacen("name: ", "name: z_", 1))
        .collect();
    let with_copies: Vec<&str> = texts
        .iter()
        .copied()
        .chain(copies.iter().map(|c| &**c))
        .collect();
    for seed in seeds() {
        let mut history = History::begin(seed).await;
        history.world.apply(&texts[..6]).await;
        for step in 0..36 {
            match history.dice.roll(8) {
                0..3 => history.store().await,
                3 if step > 12 => {
                    history.world.apply(&texts).await;
                    history.is_whole = true;
                }
                3 | 4 => history.sweep().await,
                _ => history.ask(&format!("seed {seed} step {step}")).await,
            }
        }
        // The rest of them begin at the first event, and end with the same buckets.
        history.world.apply(&with_copies).await;
        for step in 0..8 {
            history.sweep().await;
            history
                .ask(&format!("seed {seed}, with copies, step {step}"))
                .await;
        }
        history.world.sweep(7).await;
        history.ask_again(&format!("seed {seed}, swept")).await;
        let client = history.world.db.client().await;
        let differing: i64 = client.query_one(DIFFERENCES, &[]).await.unwrap().get(0);
        assert_eq!(
            differing, 0,
            "seed {seed}: buckets of a rule and of its copy"
        );
        for _ in 0..4 {
            history.store().await;
        }
        history
            .ask_again(&format!("seed {seed}, more stored"))
            .await;
        history.world.sweep(5).await;
        history
            .ask_again(&format!("seed {seed}, swept again"))
            .await;
    }
}
