//! What the tests of the store share: a world with a database, rules and events.

use aevon_core::append::Verdict;
use aevon_core::event::{NewEvent, VOID_TYPE};
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::state::{Granularity, Question, Range};
use aevon_core::time::Timestamp;
use aevon_schema::append::Appender;
use aevon_schema::state::{Selection, State, StateError, StateQuery};
use aevon_schema::sweep::{self, Whose};
use aevon_schema::{Connection, Database, DatabaseOptions, migrate, rules, state};
use aevon_testkit::TestDatabase;
use aevon_testkit::oracle::OracleEvent;
use std::time::Duration;

pub(crate) const BUDGET: Duration = Duration::from_secs(10);

/// A migrated database of its own, and a way in.
pub(crate) struct World {
    pub(crate) db: TestDatabase,
    pub(crate) database: Database,
    pub(crate) partitions: i32,
}

impl World {
    pub(crate) async fn new() -> Self {
        let db = TestDatabase::create().await;
        let database = open(db.url());
        let partitions = migrate::check(&database).await.unwrap();
        Self {
            db,
            database,
            partitions,
        }
    }

    pub(crate) fn appender(&self) -> Appender {
        Appender::new(self.database.clone(), self.partitions)
    }

    pub(crate) async fn connection(&self) -> Connection {
        self.database.connect().await.unwrap()
    }

    pub(crate) async fn apply(&self, texts: &[&str]) {
        let set: Vec<Rule> = texts
            .iter()
            .map(|text| Rule::from_yaml(text).unwrap())
            .collect();
        rules::apply(&mut self.connection().await, &set)
            .await
            .unwrap();
    }

    /// Stores events in one group; all must be new.
    pub(crate) async fn store(&self, events: &[NewEvent]) -> Vec<Position> {
        let group: Vec<&NewEvent> = events.iter().collect();
        let verdicts = self.appender().append(&group).await.unwrap();
        verdicts.iter().map(position).collect()
    }

    /// Sweeps until nothing is left, in slices of `slice` events.
    pub(crate) async fn sweep(&self, slice: i64) {
        let connection = &mut self.connection().await;
        let mut whose = Whose::Front;
        loop {
            let backlogs = sweep::backlogs(connection).await.unwrap();
            if backlogs.is_empty() {
                break;
            }
            for backlog in backlogs {
                sweep::sweep_once(connection, backlog.partition, slice, whose)
                    .await
                    .unwrap();
            }
            whose = if whose == Whose::Front {
                Whose::Behind
            } else {
                Whose::Front
            };
        }
        rules::activate(connection, slice).await.unwrap();
    }

    pub(crate) async fn state(
        &self,
        principal: &str,
        range: Range,
        granularity: Granularity,
    ) -> State {
        let question = Question {
            range,
            granularity,
            ..Question::default()
        };
        self.ask(principal, question).await.unwrap()
    }

    /// Asks every rule.
    pub(crate) async fn ask(
        &self,
        principal: &str,
        question: Question,
    ) -> Result<State, StateError> {
        let query = StateQuery::newest("acme", principal, Selection::default(), question);
        state::read(&self.database, self.partitions, &query, BUDGET).await
    }

    /// The one value of the one rule, over everything.
    pub(crate) async fn total(&self, principal: &str) -> Option<String> {
        let state = self
            .state(principal, Range::default(), Granularity::Total)
            .await;
        let [only] = state.states.as_slice() else {
            panic!("one rule, not {state:?}")
        };
        only.values[0].shown(only.rule.operator).value
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        let client = self.db.client().await;
        client
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])
            .await
            .unwrap()
            .get(0)
    }
}

pub(crate) fn open(url: &str) -> Database {
    Database::new(DatabaseOptions {
        url: url.to_owned(),
        max_connections: 8,
        application_name: "test",
        statement_timeout: Duration::from_secs(20),
    })
    .unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// An event of tenant acme with `n` in its data.
pub(crate) fn event(principal: &str, id: &str, occurred_at: Timestamp, n: &str) -> NewEvent {
    NewEvent {
        tenant_id: "acme".to_owned(),
        principal_id: principal.to_owned(),
        event_id: id.to_owned(),
        event_type: "t".to_owned(),
        occurred_at,
        is_time_received: false,
        schema_version: 0,
        data: format!("{{\"n\": {n}}}"),
        metadata: "{}".to_owned(),
        refusals: Vec::new(),
    }
}

/// A void of an event, in the same shape.
pub(crate) fn void(principal: &str, id: &str, target: &str) -> NewEvent {
    let mut void = event(principal, id, at("2026-01-01T00:00:00Z"), "0");
    void.event_type = VOID_TYPE.to_owned();
    void.data = serde_json::json!({"event_id": target, "reason": "a test"}).to_string();
    void
}

pub(crate) fn position(verdict: &Verdict) -> Position {
    match verdict {
        Verdict::Accepted { position, .. } => *position,
        other => panic!("accepted, not {other:?}"),
    }
}

pub(crate) const COUNT: &str = "name: a_count\nsource_event: t\noperator: count";
pub(crate) const SUM: &str = "name: b_sum\nsource_event: t\noperator: sum\nfield: n";
pub(crate) const MIN: &str = "name: c_min\nsource_event: t\noperator: min\nfield: n";
pub(crate) const MAX: &str = "name: d_max\nsource_event: t\noperator: max\nfield: n";

/// What the oracle is to know of a principal's events; `log` is in the order of the log.
pub(crate) fn events_of(log: &[NewEvent], principal: &str) -> Vec<OracleEvent> {
    let event = |(seq, event): (i64, &NewEvent)| OracleEvent {
        seq,
        id: event.event_id.clone(),
        occurred_at: event.occurred_at,
        event_type: event.event_type.clone(),
        data: event.data.clone(),
    };
    let ours = (1..)
        .zip(log)
        .filter(|(_, event)| event.principal_id == principal);
    ours.map(event).collect()
}
