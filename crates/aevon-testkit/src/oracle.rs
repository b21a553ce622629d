//! The dumbest correct fold: keeps a list, filters it, and computes each value from the events
//! themselves. Knows nothing of partial results, buckets, plans or sketches, and has a calendar of its
//! own.

mod calendar;

use aevon_core::event::VOID_TYPE;
use aevon_core::identity::UNIT_SEPARATOR;
use aevon_core::json::Path;
use aevon_core::operator::Operator;
use aevon_core::rule::Rule;
use aevon_core::state::{Answer, Fill, Granularity, MAX_VALUES, Question, Range};
use aevon_core::time::Timestamp;
use bigdecimal::{BigDecimal, RoundingMode, Zero};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

/// An event of one principal.
#[derive(Clone, Debug)]
pub struct OracleEvent {
    /// Its place in the order of the log.
    pub seq: i64,
    /// Its stored identity.
    pub id: String,
    /// Valid time.
    pub occurred_at: Timestamp,
    /// What happened.
    pub event_type: String,
    /// A JSON object.
    pub data: String,
}

/// What stands at a version: what lies above it is not known, and neither are its voids.
pub fn standing(log: &[OracleEvent], version: i64) -> Vec<OracleEvent> {
    let known: Vec<&OracleEvent> = log.iter().filter(|event| event.seq <= version).collect();
    let voids = known.iter().filter(|event| event.event_type == VOID_TYPE);
    let target = |void: &&OracleEvent| {
        let data: Json = serde_json::from_str(&void.data).expect("data is JSON");
        let id = data["event_id"].as_str().expect("a void names an event");
        match data["source"].as_str() {
            Some(source) => format!("{source}{UNIT_SEPARATOR}{id}"),
            None => id.to_owned(),
        }
    };
    let voided: BTreeSet<String> = voids.map(target).collect();
    let stands = known
        .into_iter()
        .filter(|event| !voided.contains(&event.id));
    stands.cloned().collect()
}

/// One value of an answer, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct OracleValue {
    /// First instant of the window, cut by the range.
    pub window_start: Option<Timestamp>,
    /// First instant behind it.
    pub window_end: Option<Timestamp>,
    /// The labels of its group.
    pub group: Vec<Option<String>>,
    /// The value.
    pub value: Option<String>,
    /// Events that entered it.
    pub event_count: i64,
    /// Events that did not.
    pub skipped_count: i64,
}

/// What a filter says of an event's data; none where it fails.
pub type Judge = fn(&Json) -> Option<bool>;

/// The filter that takes everything.
pub fn everything(_: &Json) -> Option<bool> {
    Some(true)
}

/// The answer that a rule owes, from the list of a principal's events.
pub fn fold(
    rule: &Rule,
    judge: Judge,
    log: &[OracleEvent],
    question: &Question,
) -> Vec<OracleValue> {
    let mut groups: BTreeMap<Vec<Option<String>>, Vec<Seen>> = BTreeMap::new();
    if question.grouping.by.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    for event in log {
        let data: Json = serde_json::from_str(&event.data).expect("data is JSON");
        if event.event_type != rule.source_event || judge(&data) == Some(false) {
            continue;
        }
        let label = |path: &Path| label(data.pointer(&path.canonical()));
        let is_kept = rule.group_by.iter().all(|path| {
            let keep = question.grouping.keep.get(path);
            keep.is_none_or(|keep| keep.contains(&label(path)))
        });
        if !is_kept {
            continue;
        }
        let is_asked = |path: &&Path| question.grouping.by.contains(path);
        let group = rule.group_by.iter().filter(is_asked).map(label).collect();
        let field = rule
            .field
            .as_ref()
            .and_then(|path| data.pointer(&path.canonical()));
        let seen = Seen {
            at: event.occurred_at,
            seq: event.seq,
            field: judge(&data).and(Some(field.cloned().unwrap_or(Json::Null))),
        };
        groups.entry(group).or_default().push(seen);
    }
    let mut values = Vec::new();
    for (group, seen) in groups {
        for window in windows(rule.operator, question, &seen) {
            let value = one(rule.operator, question, window, &seen, &group);
            // A total that is not divided into groups is given over nothing, too.
            let is_total = question.granularity == Granularity::Total && group.is_empty();
            let is_filled = question.fill != Fill::None;
            if value.event_count + value.skipped_count > 0 || is_total || is_filled {
                values.push(value);
            }
        }
    }
    values.sort_by_key(|value| (value.window_start, value.group.clone()));
    assert!(
        values.len() <= MAX_VALUES,
        "the oracle is asked for too much"
    );
    values
}

/// What an answer shows, to be compared.
pub fn shown(rule: &Rule, values: &[aevon_core::state::Value]) -> Vec<OracleValue> {
    let value = |value: &aevon_core::state::Value| OracleValue {
        window_start: value.window_start,
        window_end: value.window_end,
        group: value.group.0.clone(),
        value: value.shown(rule.operator).value,
        event_count: value.partial.event_count,
        skipped_count: value.partial.skipped_count,
    };
    values.iter().map(value).collect()
}

/// The same for an answer in the making.
pub fn finished(rule: &Rule, answer: Answer<'_>) -> Vec<OracleValue> {
    shown(rule, &answer.finish().expect("the answer is not too large"))
}

struct Seen {
    at: Timestamp,
    seq: i64,
    /// None where the filter failed.
    field: Option<Json>,
}

fn windows(operator: Operator, question: &Question, seen: &[Seen]) -> Vec<Range> {
    let range = question.range;
    let Granularity::Windows(period) = question.granularity else {
        return vec![range];
    };
    if matches!((range.start, range.end), (Some(start), Some(end)) if start >= end) {
        return Vec::new();
    }
    let times = || seen.iter().map(|one| one.at);
    let inside: Vec<Timestamp> = times().filter(|at| range.contains(*at)).collect();
    let is_before = |one: &&Seen| range.start.is_some_and(|start| one.at < start);
    let mut before = seen.iter().filter(is_before);
    let stood = match operator {
        Operator::WeightedSum => before.next().is_some(),
        Operator::Latest if question.fill == Fill::Previous => before.any(|one| {
            let field = one.field.as_ref();
            field.and_then(number).is_some()
        }),
        _ => false,
    };
    // Windows in which nothing happened are given between these.
    let (first, last) = match question.fill {
        Fill::None if operator != Operator::WeightedSum => (None, None),
        Fill::None => (
            range
                .start
                .filter(|_| stood)
                .or(inside.iter().min().copied()),
            range
                .end
                .map(|end| end.plus_micros(-1))
                .or(inside.iter().max().copied()),
        ),
        _ => {
            let is_given = question.grouping.by.is_empty() || stood || !inside.is_empty();
            (
                range.start.filter(|_| is_given),
                range.end.map(|end| end.plus_micros(-1)),
            )
        }
    };
    let between = first.zip(last);
    let wanted = || inside.iter().copied().chain(first).chain(last);
    let (Some(earliest), Some(latest)) = (wanted().min(), wanted().max()) else {
        return Vec::new();
    };
    let mut windows = calendar::windows(&question.zone, period, earliest, latest);
    windows.retain(|window| {
        let is_between =
            between.is_some_and(|(first, last)| first < window.end && window.start <= last);
        is_between || inside.iter().any(|at| window.contains(*at))
    });
    let cut = |window: &aevon_core::calendar::Window| Range {
        start: Some(range.start.map_or(window.start, |s| s.max(window.start))),
        end: Some(range.end.map_or(window.end, |e| e.min(window.end))),
    };
    windows.iter().map(cut).collect()
}

fn one(
    operator: Operator,
    question: &Question,
    window: Range,
    seen: &[Seen],
    group: &[Option<String>],
) -> OracleValue {
    // What the value is of: the window, or all of the range up to its end.
    let of = match question.is_cumulative {
        true => Range {
            start: question.range.start,
            ..window
        },
        false => window,
    };
    let known: Vec<&Seen> = seen
        .iter()
        .filter(|one| window.end.is_none_or(|end| one.at < end))
        .collect();
    let counts = |one: &&&Seen| {
        operator == Operator::WeightedSum || of.start.is_none_or(|start| start <= one.at)
    };
    let seen: Vec<&Seen> = known.iter().filter(counts).copied().collect();
    let usable = |one: &&&Seen| match (&one.field, operator) {
        (None, _) => false,
        (Some(_), Operator::Count) => true,
        (Some(field), Operator::UniqueCount) => {
            field.is_string() || field.is_number() || field.is_boolean()
        }
        (Some(field), _) => number(field).is_some(),
    };
    let entered: Vec<&Seen> = seen.iter().filter(usable).copied().collect();
    let stands = match operator == Operator::Latest && question.fill == Fill::Previous {
        true => known.iter().filter(usable).copied().collect(),
        false => entered.clone(),
    };
    OracleValue {
        window_start: window.start,
        window_end: window.end,
        group: group.to_vec(),
        value: value(operator, of, &stands),
        event_count: entered.len() as i64,
        skipped_count: (seen.len() - entered.len()) as i64,
    }
}

fn value(operator: Operator, window: Range, entered: &[&Seen]) -> Option<String> {
    let numbers = || {
        let field = |one: &&Seen| one.field.as_ref().and_then(number);
        entered.iter().filter_map(field)
    };
    let sum = || numbers().fold(BigDecimal::zero(), |sum, number| sum + number);
    match operator {
        Operator::Count => Some(entered.len().to_string()),
        Operator::Sum => Some(plain(&sum())),
        Operator::Min => numbers().min().map(|number| plain(&number)),
        Operator::Max => numbers().max().map(|number| plain(&number)),
        Operator::Avg => {
            let count = entered.len() as u64;
            // Enough digits that rounding twice is rounding once, for the sizes of a test.
            let mean = (count > 0).then(|| sum().with_prec(90) / BigDecimal::from(count))?;
            let digits = NonZeroU64::new(34).expect("34 is not 0");
            Some(plain(
                &mean.with_precision_round(digits, RoundingMode::HalfEven),
            ))
        }
        Operator::Latest => {
            let last = entered.iter().max_by_key(|one| (one.at, one.seq))?;
            last.field
                .as_ref()
                .and_then(number)
                .map(|number| plain(&number))
        }
        Operator::UniqueCount => {
            let kind = |field: &Json| match number(field) {
                Some(number) if field.is_number() => plain(&number),
                _ => field.to_string(),
            };
            let kinds: BTreeSet<String> = entered
                .iter()
                .filter_map(|one| one.field.as_ref().map(kind))
                .collect();
            Some(kinds.len().to_string())
        }
        Operator::WeightedSum => {
            let end = window.end?;
            let stood = |one: &&Seen| {
                let since = window.start.map_or(one.at, |start| start.max(one.at));
                let micros = BigDecimal::from(end.as_micros() - since.as_micros());
                one.field
                    .as_ref()
                    .and_then(number)
                    .map(|change| change * micros)
            };
            let micros: BigDecimal = entered.iter().filter_map(stood).sum();
            Some(plain(&(micros / BigDecimal::from(1_000_000))))
        }
    }
}

fn number(field: &Json) -> Option<BigDecimal> {
    match field {
        Json::Number(number) => number.to_string().parse().ok(),
        Json::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn label(value: Option<&Json>) -> Option<String> {
    match value? {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => number
            .to_string()
            .parse()
            .ok()
            .map(|n: BigDecimal| plain(&n)),
        Json::Array(_) => Some("aevon.array".to_owned()),
        Json::Object(_) => Some("aevon.object".to_owned()),
        other => Some(other.to_string()),
    }
}

fn plain(number: &BigDecimal) -> String {
    match number.is_zero() {
        true => "0".to_owned(),
        false => number.normalized().to_plain_string(),
    }
}
