//! A small realistic sample: three users of tenant acme calling models since yesterday, on seats
//! that change twice a day.
//!
//! Retry safety: an event's id and content follow from its moment alone, so that a second run on
//! the same data sends duplicates and only adds what has happened since.

use aevon_client::{Client, Event};
use anyhow::{Context, bail};
use jiff::tz::TimeZone;
use jiff::{RoundMode, Span, Timestamp, TimestampRound, Unit};
use serde_json::{Value, json};

/// One event a user this often.
const STEP_MINUTES: i64 = 20;
/// Seats are taken in the morning and given back in the evening, in steps of a day.
const SEATS_TAKEN: i64 = 24;
const SEATS_GIVEN_BACK: i64 = 54;
const STEPS_A_DAY: i64 = 72;
const USERS: [&str; 3] = ["user_ada", "user_ben", "user_cleo"];

/// Sends the sample; says how many events it has.
pub(crate) async fn load(base: &str) -> anyhow::Result<usize> {
    let events = events(Timestamp::now())?;
    let client = Client::builder(base).build()?;
    send(&client, &events).await.context("the sample")?;
    Ok(events.len())
}

/// Sends events.
///
/// # Errors
/// Where not all of them are stored, now or before.
pub(super) async fn send(client: &Client, events: &[Value]) -> anyhow::Result<()> {
    let events = events
        .iter()
        .map(|event| Event::from_json(&event.to_string()));
    let events: Vec<Event> = events.collect::<Result<_, _>>()?;
    let outcomes = client.send_all(events).await;
    match outcomes.iter().find(|outcome| !outcome.is_stored()) {
        Some(unwell) => bail!("an event was not stored: {unwell}"),
        None => Ok(()),
    }
}

/// Everything that has happened from the beginning of yesterday (UTC) to `now`.
fn events(now: Timestamp) -> anyhow::Result<Vec<Value>> {
    let today = now.to_zoned(TimeZone::UTC).start_of_day()?;
    let start = today.checked_sub(Span::new().days(1))?.timestamp();
    let mut events = Vec::new();
    let mut slot = 0_i64;
    loop {
        let at = start.checked_add(Span::new().minutes(slot * STEP_MINUTES))?;
        if at >= now {
            return Ok(events);
        }
        for (number, user) in (0_i64..).zip(USERS) {
            // Spread over the minutes, and different from user to user.
            let seconds = (slot * 37 + number * 211) % (STEP_MINUTES * 60);
            let at = at.checked_add(Span::new().seconds(seconds))?;
            if at < now {
                let mix = (slot * 7 + number * 13) % 11;
                let tokens = 100 + 90 * mix + number;
                let model = if mix % 2 == 0 { "small" } else { "large" };
                events.push(event(
                    user,
                    at,
                    "api.request",
                    json!({"path": "/v1/chat", "ms": 20 + mix}),
                ));
                events.push(event(
                    user,
                    at,
                    "model.call",
                    json!({"tokens": tokens, "model": model}),
                ));
                let change = match slot % STEPS_A_DAY {
                    SEATS_TAKEN => Some(2 + number),
                    SEATS_GIVEN_BACK => Some(-2 - number),
                    _ => None,
                };
                let seats = |change| event(user, at, "seats.changed", json!({"change": change}));
                events.extend(change.map(seats));
            }
        }
        slot += 1;
    }
}

fn event(user: &str, at: Timestamp, event_type: &str, data: Value) -> Value {
    json!({
        "tenant_id": "acme",
        "principal_id": user,
        "id": format!("sample-{event_type}-{at}"),
        "source": "aevon-dev",
        "type": event_type,
        "occurred_at": at.to_string(),
        "data": data,
    })
}

/// What to print once everything is up, about the sample.
pub(crate) fn what_to_try(base: &str) -> String {
    let now = Timestamp::now();
    format!(
        r#"
Three things to try:

  # 1. What does the log add up to for one user, today?
  curl -s '{base}/v1/state/acme/user_ada?start={today}'

  # 2. Send an event, and see it in the next read.
  curl -s '{base}/v1/events' -H 'content-type: application/json' -d '{{"tenant_id":"acme","principal_id":"user_ada","id":"my-first","type":"model.call","occurred_at":"{second}","data":{{"tokens":1234}}}}'

  # 3. Back in time: the same question as it was answered before you sent it.
  curl -s '{base}/v1/state/acme/user_ada?start={today}&as_of={moment}'
"#,
        second = since(now, Unit::Second),
        moment = since(now, Unit::Microsecond),
        today = start_of_today(now),
    )
}

fn start_of_today(now: Timestamp) -> Timestamp {
    now.to_zoned(TimeZone::UTC)
        .start_of_day()
        .map_or(now, |day| day.timestamp())
}

/// The last whole second, or microsecond.
fn since(at: Timestamp, unit: Unit) -> Timestamp {
    let whole = TimestampRound::new().smallest(unit).mode(RoundMode::Trunc);
    at.round(whole).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_sends_the_same_events_and_adds_later_ones() {
        let at = |text: &str| events(text.parse().unwrap()).unwrap();
        let (noon, later) = (at("2026-02-11T12:00:00Z"), at("2026-02-11T13:00:00Z"));
        assert!(noon.len() > 400 && later.len() > noon.len());
        assert!(noon.iter().all(|event| later.contains(event)));
    }
}
