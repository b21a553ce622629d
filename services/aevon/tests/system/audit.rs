//! What has to be so when the load is over: a log without gaps, and every answer over HTTP the fold of
//! what callers know to be stored.

use crate::fleet::{Fleet, RULES};
use crate::support::{command, finish, text};
use aevon_core::json::Path;
use aevon_core::rule::Rule;
use aevon_core::state::{Granularity, Question};
use aevon_testkit::oracle::{OracleEvent, OracleValue, everything, fold, standing};
use aevon_testkit::template::connect;
use serde_json::Value;
use std::collections::BTreeMap;

/// Principals and what stands of each.
pub(crate) type Lists = [(String, Vec<OracleEvent>)];

/// Places of the log where its order is broken: seq is 1, 2, 3 … in each partition, and stamps don't
/// go back.
const BROKEN: &str = "
    SELECT count(*) FROM (
        SELECT seq, ingested_at, lag(seq, 1, 0::bigint) OVER log AS before,
               lag(ingested_at) OVER log AS earlier
        FROM events WINDOW log AS (PARTITION BY partition ORDER BY seq)) e
    WHERE seq <> before + 1 OR ingested_at < earlier";

/// How many places of the log are out of order.
pub(crate) async fn broken_places(url: &str) -> i64 {
    let client = connect(url).await.unwrap();
    client.query_one(BROKEN, &[]).await.unwrap().get(0)
}

/// Where the order of the log is broken, and where answers are not the fold of these lists.
pub(crate) async fn violations(fleet: &Fleet, url: &str, lists: &Lists) -> Vec<String> {
    let mut wrong = Vec::new();
    match broken_places(url).await {
        0 => {}
        places => wrong.push(format!("the log is broken in {places} places")),
    }
    for (name, log) in lists {
        let log = standing(log, i64::MAX);
        for asked in [
            "",
            "granularity=1m",
            "granularity=1d",
            "rule=total&rule=peak&group_by=model",
        ] {
            wrong.extend(of_answer(fleet, name, &log, asked).await);
        }
    }
    wrong
}

/// What is wrong with an answer of each process.
async fn of_answer(fleet: &Fleet, name: &str, log: &[OracleEvent], asked: &str) -> Option<String> {
    let path = format!("/v1/state/acme/{name}?{asked}");
    for pod in fleet.all("projection-svc") {
        let answer = pod.target().get(&path).await;
        if answer.status != 200 {
            return Some(format!("{path}: {answer:?}"));
        }
        let states = answer.body["states"].as_array().unwrap();
        let given: BTreeMap<&str, Vec<OracleValue>> = (states.iter())
            .map(|state| (state["rule"].as_str().unwrap(), shown(&state["values"])))
            .collect();
        let right = right(log, asked);
        for (rule, right) in &right {
            let given = given.get(rule.as_str()).map_or(&[][..], Vec::as_slice);
            let differs = |at: &usize| given.get(*at) != right.get(*at);
            if let Some(at) = (0..given.len().max(right.len())).find(differs) {
                let (given, right) = (given.get(at), right.get(at));
                let what = format!("{rule} has {given:?}, and not {right:?}, at place {at}");
                return Some(format!("{path}: {what}"));
            }
        }
        if given.len() != right.len() {
            return Some(format!("{path}: {} rules answered", given.len()));
        }
    }
    None
}

/// The right answers.
fn right(log: &[OracleEvent], asked: &str) -> BTreeMap<String, Vec<OracleValue>> {
    let mut question = Question::default();
    for (name, granularity) in Granularity::NAMES {
        if asked.contains(&format!("granularity={name}")) {
            question.granularity = granularity;
        }
    }
    if asked.contains("group_by") {
        question.grouping.by = vec![Path::parse("model").unwrap()];
    }
    let rules = RULES.map(|(_, text)| Rule::from_yaml(text).unwrap());
    let is_asked =
        |rule: &&Rule| !asked.contains("rule=") || asked.contains(&format!("rule={}", rule.name));
    let answer = |rule: &Rule| (rule.name.clone(), fold(rule, everything, log, &question));
    rules.iter().filter(is_asked).map(answer).collect()
}

/// What an answer shows.
fn shown(values: &Value) -> Vec<OracleValue> {
    let instant = |value: &Value| {
        let text = value.as_str()?;
        Some(aevon_core::time::Timestamp::parse(text).unwrap())
    };
    let label = |label: &Value| label.as_str().map(str::to_owned);
    let value = |value: &Value| OracleValue {
        window_start: instant(&value["window_start"]),
        window_end: instant(&value["window_end"]),
        group: (value["group"].as_object())
            .map(|group| group.values().map(label).collect())
            .unwrap_or_default(),
        value: value["value"].as_str().map(str::to_owned),
        event_count: value["event_count"].as_i64().unwrap(),
        skipped_count: value["skipped_count"].as_i64().unwrap(),
    };
    values.as_array().unwrap().iter().map(value).collect()
}

/// The buckets against the log, as an operator would ask.
pub(crate) fn verify(url: &str) -> Option<String> {
    let verified = finish(command("aevon", url).arg("verify"));
    (!verified.status.success()).then(|| text(&verified.stdout) + &text(&verified.stderr))
}
