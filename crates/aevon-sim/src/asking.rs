//! Questions, and what the right answers to them are.

use aevon_core::calendar::Zone;
use aevon_core::json::Path;
use aevon_core::labels::Grouping;
use aevon_core::operator::Operator;
use aevon_core::state::{Fill, Granularity, Question, Range};
use aevon_schema::state::{RuleState, Selection, StateError};
use aevon_testkit::oracle::{OracleEvent, fold, shown};
use serde_json::{Value as Json, json};

use crate::model::{BEGINNING, Model, ZONES};
use crate::operation::{Ask, By};
use crate::rules::{judge_of, name};
use crate::run::Violation;

/// What a principal adds up to, as it is asked without any parameter.
pub(crate) const EVERYTHING: Ask = Ask {
    start: None,
    end: None,
    granularity: 0,
    groups: 0,
    is_narrowed: false,
    zone: 0,
    fill: 0,
    is_cumulative: false,
};

/// The question that is meant.
pub(crate) fn question(ask: &Ask) -> Question {
    let instant = |micros: Option<i64>| micros.map(|micros| BEGINNING.plus_micros(micros));
    let range = Range {
        start: instant(ask.start),
        end: instant(ask.end),
    };
    let named = &Granularity::NAMES;
    let granularity = named[usize::from(ask.granularity) % named.len()].1;
    let path = |text| Path::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    let mut grouping = Grouping::default();
    match ask.groups % 3 {
        1 => grouping.by = vec![path("g")],
        2 => grouping.by = vec![path("deep.h"), path("g")],
        _ => {}
    }
    if ask.is_narrowed {
        grouping.keep(&path("g"), Some("a".to_owned()));
        grouping.keep(&path("g"), None);
    }
    let is_bounded = range.start.is_some() && range.end.is_some();
    let can_be_filled = granularity != Granularity::Total && is_bounded;
    let zone = ZONES[usize::from(ask.zone) % ZONES.len()];
    Question {
        range,
        granularity,
        grouping,
        zone: Zone::named(zone).unwrap_or_else(|| panic!("no zone {zone}")),
        fill: match can_be_filled {
            true => Fill::NAMES[usize::from(ask.fill) % Fill::NAMES.len()].1,
            false => Fill::None,
        },
        is_cumulative: ask.is_cumulative,
    }
}

/// A version of a rule.
pub(crate) type Named = (String, i32);

/// Which rules are asked, and which versions ought to answer.
pub(crate) fn selection(model: &Model, by: By) -> Option<(Selection, Vec<Named>)> {
    let answering = |name: &String| Some((name.clone(), model.answering(name)?.number));
    match by {
        By::Every => Some((
            Selection::default(),
            model.rules.keys().filter_map(answering).collect(),
        )),
        By::Name(nth) => {
            let name = name(nth);
            let expected = answering(&name)?;
            let selection = Selection {
                names: vec![name],
                pinned: Vec::new(),
            };
            Some((selection, vec![expected]))
        }
        By::Version(nth) => {
            let versions = model.rules.iter();
            let all: Vec<Named> = versions
                .flat_map(|(name, versions)| versions.iter().map(|v| (name.clone(), v.number)))
                .collect();
            let one = all.get(usize::from(nth) % all.len().max(1))?.clone();
            let selection = Selection {
                names: Vec::new(),
                pinned: vec![one.clone()],
            };
            Some((selection, vec![one]))
        }
    }
}

/// That the answers are those of these versions, and each the fold of these events.
pub(crate) fn check(
    model: &Model,
    states: &[RuleState],
    expected: &[Named],
    events: &[OracleEvent],
    question: &Question,
) -> Result<(), Violation> {
    let answered = states.iter().map(|s| (s.rule.name.clone(), s.rule_version));
    let answered: Vec<Named> = answered.collect();
    if answered != expected {
        return Err(Violation(format!(
            "{answered:?} answered, and not {expected:?}"
        )));
    }
    for state in states {
        let (rule, version) = (&state.rule, state.rule_version);
        let known = model.rules.get(&rule.name).into_iter().flatten();
        let known = known.into_iter().find(|known| known.number == version);
        if known.is_none_or(|known| known.rule.fingerprint() != rule.fingerprint()) {
            let what = format!("{}:{version} is another rule", rule.name);
            return Err(Violation(what));
        }
        let right = fold(rule, judge_of(rule), events, question);
        let given = shown(rule, &state.values);
        if given != right {
            let (place, of) = (0..)
                .zip(0..given.len().max(right.len()))
                .map(|(at, _): (usize, usize)| (at, (given.get(at), right.get(at))))
                .find(|(_, (given, right))| given != right)
                .unwrap_or_default();
            return Err(Violation(format!(
                "{}:{version} ({}) is wrong at value {place}: {:?}, and the log says {:?}; asked {question:?}",
                rule.name,
                rule.operator.as_str(),
                of.0,
                of.1
            )));
        }
    }
    Ok(())
}

/// The same of an answer as it is sent, to the question without parameters.
pub(crate) fn check_sent(
    model: &Model,
    body: &Json,
    expected: &[Named],
    events: &[OracleEvent],
) -> Result<(), Violation> {
    let value = |value: &Json| {
        json!([
            value["window_start"],
            value["window_end"],
            value["value"],
            value["event_count"],
            value["skipped_count"]
        ])
    };
    let sent = |state: &Json| {
        let values = state["values"].as_array().into_iter().flatten();
        let values: Vec<Json> = values.map(value).collect();
        json!([state["rule"], state["rule_version"], values])
    };
    let owed = |(name, version): &Named| {
        let versions = model.rules.get(name).into_iter().flatten();
        let rule = versions.into_iter().find(|known| known.number == *version);
        let values = rule.map(|known| {
            let rule = &known.rule;
            let values = fold(rule, judge_of(rule), events, &question(&EVERYTHING)).into_iter();
            let values =
                values.map(|v| json!([null, null, v.value, v.event_count, v.skipped_count]));
            values.collect::<Vec<_>>()
        });
        json!([name, version, values])
    };
    let sent: Json = body["states"]
        .as_array()
        .into_iter()
        .flatten()
        .map(sent)
        .collect();
    let owed: Json = expected.iter().map(owed).collect();
    match sent == owed {
        true => Ok(()),
        false => Err(Violation(format!(
            "{sent} was sent, and the log says {owed}"
        ))),
    }
}

/// Whether a question may be refused so: for a bound, for a dimension that was asked for and that the rule has not,
/// or as only what is latest can be carried on.
pub(crate) fn is_refusal(error: &StateError, asked: &Question) -> bool {
    match error {
        StateError::TooLarge(_) => true,
        StateError::UnknownDimension { rule, dimension } => {
            let mut of_question = asked.grouping.by.iter().chain(asked.grouping.keep.keys());
            let named = of_question.find(|path| path.short() == *dimension);
            named.is_some_and(|path| !rule.group_by.contains(path))
        }
        StateError::NotLatest(rule) => {
            asked.fill == Fill::Previous && rule.operator != Operator::Latest
        }
        _ => false,
    }
}
