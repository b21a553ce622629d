//! A live workload to look at: three tenants whose principals call models, ask the API and change
//! their seats, at a bounded rate; some events come late, and some are voided.
//!
//! Retry safety: the events of the past have ids and contents that follow from their moment alone, so
//! that a second run on the same data sends duplicates; ids of the present begin with when it began.

use super::sample;
use aevon_client::Client;
use aevon_service::shutdown::Shutdown;
use anyhow::ensure;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// Between two batches.
const PERIOD: Duration = Duration::from_secs(1);
/// Most events of a batch, whatever the dice say.
const MOST_EVENTS: usize = 24;
/// How far back the past goes, and its steps.
const PAST: SignedDuration = SignedDuration::from_hours(36);
const STEP: SignedDuration = SignedDuration::from_mins(10);
/// Events of a request while the past is sent.
const PAST_BATCH: usize = 1_000;
/// Events that may still be voided; older ones are forgotten.
const REMEMBERED: usize = 400;
/// Of so many events one comes late, and one is voided.
const LATE_ONE_IN: u32 = 40;
const VOIDED_ONE_IN: u32 = 120;
/// How late an event may come.
const LATEST: SignedDuration = SignedDuration::from_hours(8);
const SOURCE: &str = "aevon-demo";

/// Tenants, how busy each is, and its principals.
const TENANTS: [(&str, u32, &[&str]); 3] = [
    (
        "acme",
        5,
        &["team-atlas", "team-borealis", "team-corvus", "user_ada"],
    ),
    ("globex", 3, &["search", "support-bot", "translation"]),
    ("initech", 1, &["reports", "tps"]),
];
/// Models, how often each is called (in parts of ten), and the tokens of a usual call.
const MODELS: [(&str, u32, u32); 4] = [
    ("small", 5, 400),
    ("large", 3, 1_800),
    ("reasoning", 1, 6_000),
    ("embedding", 1, 150),
];

/// Sends the past, then a batch every second until the shutdown. A batch that is not taken is lost,
/// which is said once: a demonstration is no reason to stop the system.
pub(crate) async fn stream(base: &str, shutdown: &Shutdown) -> anyhow::Result<()> {
    let client = Client::builder(base).build()?;
    let now = Timestamp::now();
    for batch in past(now)?.chunks(PAST_BATCH) {
        sample::send(&client, batch).await?;
    }
    let mut live = Live::new(now.as_millisecond(), Rng::new());
    let mut is_told = false;
    loop {
        tokio::select! {
            () = shutdown.triggered() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
        let batch = live.batch(Timestamp::now())?;
        let sent = sample::send(&client, &batch).await;
        if let Err(error) = &sent
            && !is_told
        {
            eprintln!("events of the demonstration were not taken: {error:#}");
        }
        is_told = sent.is_err();
    }
}

/// What happened up to `now`, the oldest first.
fn past(now: Timestamp) -> anyhow::Result<Vec<Value>> {
    let step = STEP.as_secs();
    let first = now.checked_sub(PAST)?.as_second() / step;
    let last = now.as_second() / step;
    let mut events = Vec::new();
    for slot in first..last {
        // The dice of a moment are its own.
        let mut rng = Rng::with_seed(slot.unsigned_abs());
        for (tenant, weight, principals) in TENANTS {
            for principal in principals {
                for number in 0..calls(&mut rng, weight, slot * step) {
                    let at = Timestamp::from_second(slot * step + rng.i64(0..step))?;
                    let (event_type, data) = happening(&mut rng);
                    let id = format!("demo-{slot}-{number}");
                    events.push(event(tenant, principal, &id, at, event_type, data));
                }
            }
        }
    }
    Ok(events)
}

/// How much happens in a step: more at noon (UTC) than at midnight.
fn calls(rng: &mut Rng, weight: u32, second: i64) -> u32 {
    let hour = second.rem_euclid(86_400) / 3_600;
    let busy = 12 - (hour - 12).unsigned_abs();
    let most = weight * u32::try_from(busy).unwrap_or_default() / 12;
    rng.u32(0..=most)
}

/// What is happening now.
struct Live {
    rng: Rng,
    /// Tells the ids of this run from those of others.
    run: i64,
    sent: u64,
    /// Tenant, principal and id of what may still be voided.
    remembered: VecDeque<(&'static str, &'static str, String)>,
}

impl Live {
    fn new(run: i64, rng: Rng) -> Self {
        Self {
            rng,
            run,
            sent: 0,
            remembered: VecDeque::new(),
        }
    }

    /// What happens in a period.
    fn batch(&mut self, now: Timestamp) -> anyhow::Result<Vec<Value>> {
        let mut events = Vec::new();
        for (tenant, weight, principals) in TENANTS {
            for _ in 0..self.rng.u32(0..=weight) {
                let principal = principals[self.rng.usize(0..principals.len())];
                events.push(self.one(tenant, principal, now)?);
            }
        }
        if self.rng.u32(0..VOIDED_ONE_IN) < u32::try_from(events.len())? {
            events.extend(self.void(now));
        }
        ensure!(events.len() <= MOST_EVENTS, "too much happens at once");
        Ok(events)
    }

    fn one(
        &mut self,
        tenant: &'static str,
        principal: &'static str,
        now: Timestamp,
    ) -> anyhow::Result<Value> {
        let is_late = self.rng.u32(0..LATE_ONE_IN) == 0;
        let delay = match is_late {
            true => self.rng.i64(3_600..=LATEST.as_secs()),
            false => 0,
        };
        let at = now.checked_sub(SignedDuration::from_secs(delay))?;
        let (event_type, data) = happening(&mut self.rng);
        let id = self.next_id();
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((tenant, principal, id.clone()));
        Ok(event(tenant, principal, &id, at, event_type, data))
    }

    /// Takes back something that was sent in an earlier batch or this one, once.
    fn void(&mut self, now: Timestamp) -> Option<Value> {
        let at = self.rng.usize(0..self.remembered.len().max(1));
        let (tenant, principal, target) = self.remembered.remove(at)?;
        let data =
            json!({"event_id": target, "source": SOURCE, "reason": "the gateway counted twice"});
        let id = self.next_id();
        Some(event(tenant, principal, &id, now, "aevon.void", data))
    }

    fn next_id(&mut self) -> String {
        self.sent += 1;
        format!("live-{}-{}", self.run, self.sent)
    }
}

/// A type and its data: mostly calls of models, the requests around them, now and then seats.
fn happening(rng: &mut Rng) -> (&'static str, Value) {
    match rng.u32(0..100) {
        0..2 => (
            "seats.changed",
            json!({"change": if rng.u32(0..3) > 0 { 1 } else { -1 }}),
        ),
        2..40 => (
            "api.request",
            json!({"path": "/v1/chat", "ms": rng.u32(12..240)}),
        ),
        _ => {
            let (model, tokens) = model(rng.u32(0..10));
            let tokens = rng.u32(tokens / 4..=tokens * 2);
            ("model.call", json!({"tokens": tokens, "model": model}))
        }
    }
}

fn model(dice: u32) -> (&'static str, u32) {
    let mut up_to = 0;
    let found = MODELS.into_iter().find(|(_, share, _)| {
        up_to += share;
        dice < up_to
    });
    let (name, _, tokens) = found.unwrap_or(MODELS[0]);
    (name, tokens)
}

fn event(
    tenant: &str,
    principal: &str,
    id: &str,
    at: Timestamp,
    event_type: &str,
    data: Value,
) -> Value {
    json!({
        "tenant_id": tenant,
        "principal_id": principal,
        "id": id,
        "source": SOURCE,
        "type": event_type,
        "occurred_at": at.to_string(),
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    type Identity = (String, String, String);

    fn identity(event: &Value, id: &Value) -> Identity {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&event["tenant_id"]),
            text(&event["principal_id"]),
            text(id),
        )
    }

    #[test]
    fn a_second_run_sends_the_same_past_and_adds_what_came_later() {
        let at = |text: &str| past(text.parse().unwrap()).unwrap();
        let (noon, later) = (at("2026-02-11T12:00:00Z"), at("2026-02-11T14:00:00Z"));
        let by_id = |events: &[Value]| -> HashMap<Identity, Value> {
            let keyed = |event: &Value| (identity(event, &event["id"]), event.clone());
            events.iter().map(keyed).collect()
        };
        let (known, fresh) = (by_id(&noon), by_id(&later));
        assert_eq!(known.len(), noon.len(), "an id comes twice");
        let common = known.iter().filter(|(id, _)| fresh.contains_key(*id));
        let mut common = common.peekable();
        assert!(common.peek().is_some());
        assert!(common.all(|(id, event)| fresh[id] == *event));
        assert!(fresh.keys().any(|id| !known.contains_key(id)));
    }

    #[test]
    fn what_happens_is_bounded_new_partly_late_and_voids_name_what_was_sent_and_stands() {
        let now: Timestamp = "2026-02-11T12:00:00Z".parse().unwrap();
        let mut live = Live::new(7, Rng::with_seed(3));
        let (mut standing, mut ids) = (HashSet::new(), HashSet::new());
        let (mut late, mut voids) = (0, 0);
        for _ in 0..3_000 {
            for event in live.batch(now).unwrap() {
                assert!(ids.insert(identity(&event, &event["id"])), "{event}");
                if event["type"] == "aevon.void" {
                    let target = identity(&event, &event["data"]["event_id"]);
                    assert!(standing.remove(&target), "{event}");
                    voids += 1;
                } else {
                    standing.insert(identity(&event, &event["id"]));
                }
                late += usize::from(event["occurred_at"] != now.to_string());
            }
            assert!(live.remembered.len() <= REMEMBERED);
        }
        assert!(late > 100 && voids > 30, "{late} late, {voids} voids");
        assert!(ids.len() > 10 * late, "{} events, {late} late", ids.len());
    }
}
