//! Reads: of principals, of tenants, of lists; each held to the oracle.

use std::fmt::Write as _;

use aevon_core::position::{Position, Version};
use aevon_core::state::{Fill, Question};
use aevon_schema::state::{
    AsOf, At as ReadAt, PageEnd, RuleState, Selection, State, StateError, StateQuery, TenantQuery,
    Which, compare, list, read, total,
};
use aevon_testkit::oracle::{OracleEvent, shown};

use super::{BUDGET, Remembered, World};
use crate::asking::{check, is_refusal, question, selection};
use crate::model::{PARTITIONS, TENANTS, partition};
use crate::operation::{Ask, At, By};
use crate::run::Violation;

/// Answers that are asked for again at the end.
const MOST_REMEMBERED: usize = 6;

impl World {
    pub(super) async fn read(
        &mut self,
        nth: u8,
        at: At,
        by: By,
        ask: &Ask,
    ) -> Result<(), Violation> {
        let Some((selection, expected)) = selection(&self.model, by) else {
            return Ok(());
        };
        let of = self.model.principal(nth);
        let partition = partition(of);
        let question = question(ask);
        let seq = self.model.seq_at(partition, at);
        let events = self.model.standing(of, seq);
        let about = format!("{} of {} at {seq}", of.1, of.0);
        let mut query = StateQuery::newest(of.0, of.1, selection, question);
        query.at = match at {
            At::Newest => None,
            At::Back(_) => Some(ReadAt::Version(seq)),
            At::Ago(micros) => Some(ReadAt::Instant(self.model.now.plus_micros(-micros))),
        };
        let Some(state) = self.answer(&query).await? else {
            return Ok(());
        };
        let head = self.model.head(partition);
        if (state.position.partition, state.position.seq, state.head) != (partition, seq, head) {
            return Violation::of(format!(
                "an answer stands at {} of {}, and not at {seq} of {head}",
                state.position, state.head
            ));
        }
        let checked = check(
            &self.model,
            &state.states,
            &expected,
            &events,
            &query.question,
        );
        checked.map_err(|wrong| wrong.about(about))?;
        query.at = Some(ReadAt::Version(seq));
        query.selection = pinned(&state.states);
        if self.remembered.len() < MOST_REMEMBERED && !query.selection.pinned.is_empty() {
            let text = text(&state.states);
            self.remembered.push(Remembered { query, text });
        }
        Ok(())
    }

    /// An answer; none where the question was refused, as it may be.
    async fn answer(&mut self, query: &StateQuery) -> Result<Option<State>, Violation> {
        self.counted.reads += 1;
        match read(&self.reader.database, PARTITIONS, query, BUDGET).await {
            Ok(state) => Ok(Some(state)),
            Err(error) => self.refused(&error, &query.question).map(|()| None),
        }
    }

    fn refused(&mut self, error: &StateError, asked: &Question) -> Result<(), Violation> {
        self.counted.refused += 1;
        match is_refusal(error, asked) {
            true => Ok(()),
            false => Violation::of(format!(
                "a read failed: {}",
                aevon_schema::with_causes(error)
            )),
        }
    }

    pub(super) async fn compare(
        &mut self,
        name: u8,
        nth: u8,
        at: At,
        ask: &Ask,
    ) -> Result<(), Violation> {
        let Some((selection, expected)) = selection(&self.model, By::Name(name)) else {
            return Ok(());
        };
        let of = self.model.principal(nth);
        let seq = self.model.seq_at(partition(of), at);
        let mut query = StateQuery::newest(of.0, of.1, selection, question(ask));
        query.at = match at {
            At::Newest => None,
            _ => Some(ReadAt::Version(seq)),
        };
        self.counted.reads += 1;
        let compared = compare::compare(&self.reader.database, PARTITIONS, &query, BUDGET).await;
        let compared = match compared {
            Ok(compared) => compared,
            Err(error) => return self.refused(&error, &query.question),
        };
        if !compared.agrees() {
            let differences = compared.differences;
            return Violation::of(format!("buckets differ from the log: {differences:?}"));
        }
        let events = self.model.standing(of, seq);
        let from_log = &compared.from_log.states;
        let checked = check(&self.model, from_log, &expected, &events, &query.question);
        checked.map_err(|wrong| wrong.about(format!("{} of {} by the log alone", of.1, of.0)))
    }

    /// Where every partition stands then.
    fn version(&self, at: At) -> Version {
        let mut version = Version::default();
        for partition in 0..PARTITIONS {
            let seq = self.model.seq_at(partition, at);
            version.raise(Position { partition, seq });
        }
        version
    }

    pub(super) async fn total(&mut self, nth: u8, at: At, ask: &Ask) -> Result<(), Violation> {
        let tenant = &*self.model.tenants[usize::from(nth) % TENANTS.len()].to_owned();
        let question = of_any(question(ask));
        let Some((selection, expected)) = selection(&self.model, By::Every) else {
            return Ok(());
        };
        let mut query = TenantQuery::newest(tenant, selection, question.clone());
        let version = self.version(at);
        query.as_of = match at {
            At::Newest => None,
            At::Back(_) => Some(AsOf::Version(version.clone())),
            At::Ago(micros) => Some(AsOf::Instant(self.model.now.plus_micros(-micros))),
        };
        self.counted.reads += 1;
        let state = match total(&self.reader.database, PARTITIONS, &query, BUDGET).await {
            Ok(state) => state,
            Err(error) => return self.refused(&error, &query.question),
        };
        if state.version != version {
            let given = &state.version;
            return Violation::of(format!("a total stands at {given}, and not at {version}"));
        }
        let events = self.standing_of_tenant(tenant, &version);
        let checked = check(&self.model, &state.states, &expected, &events, &question);
        checked.map_err(|wrong| wrong.about(format!("the total of {tenant} at {version}")))
    }

    /// What stands of all principals, in one order: ties go by place, then by partition.
    fn standing_of_tenant(&self, tenant: &str, version: &Version) -> Vec<OracleEvent> {
        let mut events = Vec::new();
        for of in self.model.principals(tenant) {
            let partition = partition(of);
            let standing = self.model.standing(of, version.of(partition).unwrap_or(0));
            events.extend(standing.into_iter().map(|event| OracleEvent {
                seq: event.seq * 1_000 + i64::from(partition),
                ..event
            }));
        }
        events
    }

    pub(super) async fn list(&mut self, nth: u8, limit: u8, ask: &Ask) -> Result<(), Violation> {
        let tenant = &*self.model.tenants[usize::from(nth) % TENANTS.len()].to_owned();
        let question = of_any(question(ask));
        let Some((selection, expected)) = selection(&self.model, By::Every) else {
            return Ok(());
        };
        let version = self.version(At::Newest);
        let mut query = TenantQuery::newest(tenant, selection, question.clone());
        let (mut after, mut listed) = (String::new(), Vec::new());
        loop {
            let limit = usize::from(limit).max(1);
            let which = Which::ById { after, limit };
            self.counted.reads += 1;
            let page = list(&self.reader.database, PARTITIONS, &query, &which, BUDGET).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => return self.refused(&error, &query.question),
            };
            if page.version != version || page.items.len() > limit {
                return Violation::of(format!("a page of {} is not of {version}", page.version));
            }
            query.as_of = Some(AsOf::Version(version.clone()));
            for item in page.items {
                let of = (tenant, item.principal_id.as_str());
                let seq = version.of(partition(of)).unwrap_or(0);
                let events = self.model.standing(of, seq);
                check(&self.model, &item.states, &expected, &events, &question)
                    .map_err(|wrong| wrong.about(format!("{} in a list of {tenant}", of.1)))?;
                listed.push(item.principal_id);
            }
            match page.next {
                Some(PageEnd::Id(last)) => after = last,
                _ => break,
            }
        }
        let of_tenant = self.model.principals(tenant);
        let known = of_tenant.filter(|of| self.model.is_known(*of, i64::MAX));
        let mut known: Vec<&str> = known.map(|of| of.1).collect();
        known.sort_unstable();
        match listed == known {
            true => Ok(()),
            false => Violation::of(format!(
                "{listed:?} are listed of {tenant}, and not {known:?}"
            )),
        }
    }

    /// What was answered once is answered again.
    pub(super) async fn ask_again(&mut self) -> Result<(), Violation> {
        for Remembered {
            query,
            text: before,
        } in std::mem::take(&mut self.remembered)
        {
            let Some(state) = self.answer(&query).await? else {
                return Violation::of(format!("what was answered is refused: {query:?}"));
            };
            let now = text(&state.states);
            if now != before {
                return Violation::of(format!(
                    "an answer became another one: {before} was {now} later; asked {query:?}"
                ));
            }
        }
        Ok(())
    }
}

/// The same question where any rule can answer it.
fn of_any(mut question: Question) -> Question {
    if question.fill == Fill::Previous {
        question.fill = Fill::Zero;
    }
    question
}

/// The versions that answered.
fn pinned(states: &[RuleState]) -> Selection {
    let pinned = states.iter();
    let pinned = pinned.map(|state| (state.rule.name.clone(), state.rule_version));
    Selection {
        names: Vec::new(),
        pinned: pinned.collect(),
    }
}

/// All of an answer that a version determines.
fn text(states: &[RuleState]) -> String {
    let mut text = String::new();
    for state in states {
        let (rule, version) = (&state.rule, state.rule_version);
        let values = shown(rule, &state.values);
        let _ = write!(text, "{}:{version} {values:?} ", rule.name);
    }
    text
}
