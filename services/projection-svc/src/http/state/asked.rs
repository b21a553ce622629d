//! What is asked of which rules: the parameters that every view of state shares.

use crate::http::request::{Parameters, invalid, range};
use aevon_core::calendar::Zone;
use aevon_core::json::Path;
use aevon_core::labels::Grouping;
use aevon_core::state::{Fill, Granularity, Question, Range};
use aevon_schema::state::Selection;
use aevon_service::problem::{Code, Problem};
use std::collections::HashMap;
use utoipa::IntoParams;

/// The parameters, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read")]
pub(crate) struct SelectionParameters {
    /// A rule's name, or `name:version` to pin a version; repeatable. None: every rule that answers.
    #[param(explode, example = json!(["tokens_used"]))]
    rule: Option<Vec<String>>,
}

/// The same where it is one rule that is asked.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read")]
pub(crate) struct OneRuleParameters {
    /// A rule's name, or `name:version` to pin a version.
    #[param(example = "tokens_used")]
    rule: String,
}

/// What is asked of each rule.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read")]
pub(crate) struct QuestionParameters {
    /// Valid time, inclusive, any microsecond. None: unbounded.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-02-11T10:29:30Z")]
    start: Option<String>,
    /// Valid time, exclusive. None: unbounded.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-02-12T00:00:00Z")]
    end: Option<String>,
    /// One value, or windows, cut by the range: minutes, hours, days, ISO weeks, months. None: one
    /// value.
    #[param(pattern = "^(total|1m|1h|1d|1w|1mo)$", example = "1h")]
    granularity: Option<String>,
    /// The IANA name of the zone whose hours, days, weeks and months are meant. None: UTC.
    #[param(example = "Europe/Berlin")]
    timezone: Option<String>,
    /// What stands in windows where nothing happened: such windows are left out (`none`), have the
    /// value over nothing (`zero`), or the value that stood before (`previous`; rules whose operator
    /// is latest). Needs windows, `start` and `end`. None: `none`.
    #[param(pattern = "^(none|zero|previous)$", example = "none")]
    fill: Option<String>,
    /// Whether a window's value is that of everything from `start` to its end. None: `false`.
    #[param(example = true)]
    cumulative: Option<bool>,
    /// Dimensions of the rules asked for; repeatable, or separated by commas.
    #[param(explode, example = json!(["model"]))]
    group_by: Option<Vec<String>>,
    /// `filter[dim]=label` keeps the groups with this label; repeatable. `filter[dim]` without `=` is
    /// the group without a value.
    #[param(style = DeepObject, explode, example = json!({"model": "m1"}))]
    filter: Option<HashMap<String, String>>,
}

/// Takes what is asked of each rule.
///
/// # Errors
/// 400.
pub(crate) fn question(parameters: &mut Parameters) -> Result<Question, Problem> {
    let range = range(parameters, ["start", "end"])?;
    let granularity = named(parameters, "granularity", &Granularity::NAMES)?;
    Ok(Question {
        range,
        granularity,
        grouping: grouping(parameters)?,
        zone: zone(parameters, "timezone")?,
        fill: fill(parameters, granularity, range)?,
        is_cumulative: named(
            parameters,
            "cumulative",
            &[("false", false), ("true", true)],
        )?,
    })
}

/// Takes a parameter that names a zone; none is UTC.
///
/// # Errors
/// 400.
pub(crate) fn zone(parameters: &mut Parameters, parameter: &str) -> Result<Zone, Problem> {
    let Some(name) = parameters.one(parameter)? else {
        return Ok(Zone::default());
    };
    let unknown = || format!("{name:?} is no zone of the tz database, such as Europe/Berlin");
    Zone::named(&name).ok_or_else(|| invalid(parameter, unknown()))
}

fn fill(
    parameters: &mut Parameters,
    granularity: Granularity,
    range: Range,
) -> Result<Fill, Problem> {
    let fill = named(parameters, "fill", &Fill::NAMES)?;
    if fill == Fill::None {
        return Ok(fill);
    }
    if granularity == Granularity::Total {
        let reason = "granularity=total has no windows to fill; ask for 1m, 1h, 1d, 1w or 1mo";
        return Err(invalid("fill", reason));
    }
    match (range.start, range.end) {
        (Some(_), Some(_)) => Ok(fill),
        _ => Err(Problem::new(
            Code::RangeRequired,
            "fill gives every window of the range: it needs start and end",
        )),
    }
}

/// `name`, or `name:version`; none is every rule that answers.
///
/// # Errors
/// 400.
pub(crate) fn selection(parameters: &mut Parameters) -> Result<Selection, Problem> {
    selected("rule", &parameters.all("rule"))
}

/// Rules by these values of a parameter.
///
/// # Errors
/// 400.
pub(crate) fn selected(parameter: &str, values: &[String]) -> Result<Selection, Problem> {
    let mut selection = Selection::default();
    for value in values {
        match value.split_once(':') {
            None if value.is_empty() => return Err(invalid(parameter, "must not be empty")),
            None => selection.names.push(value.clone()),
            Some((name, version)) => {
                let version = version.parse::<i32>().ok().filter(|version| *version > 0);
                let reason = || format!("{value:?} is not of the form name or name:version");
                let version = version.ok_or_else(|| invalid(parameter, reason()))?;
                selection.pinned.push((name.to_owned(), version));
            }
        }
    }
    // A name with NUL is no rule's, and Postgres could not even be asked.
    match values.iter().find(|value| value.contains('\0')) {
        None => Ok(selection),
        Some(_) => Err(invalid(parameter, "holds a control character")),
    }
}

/// The one rule that is asked, by the version that answered a page before.
pub(super) fn pin(selection: &mut Selection, version: i32) {
    let pinned = |name| (name, version);
    selection
        .pinned
        .extend(selection.names.drain(..).map(pinned));
}

/// That exactly one rule is asked.
///
/// # Errors
/// 400.
pub(super) fn check_one_rule(selection: &Selection) -> Result<(), Problem> {
    match selection.names.len() + selection.pinned.len() {
        1 => Ok(()),
        _ => Err(invalid(
            "rule",
            "is given exactly once here, as name or name:version",
        )),
    }
}

/// Takes a parameter whose values have names; none is the default.
fn named<T: Copy + Default>(
    parameters: &mut Parameters,
    parameter: &str,
    names: &[(&str, T)],
) -> Result<T, Problem> {
    let Some(value) = parameters.one(parameter)? else {
        return Ok(T::default());
    };
    let found = names.iter().find(|(name, _)| *name == value);
    found.map(|(_, named)| *named).ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let known = known.join(", ");
        invalid(parameter, format!("{value:?} is not one of {known}"))
    })
}

/// `group_by=a&group_by=b`, or `a,b`; `filter[a]=x` keeps a label, `filter[a]` the group that has
/// none.
fn grouping(parameters: &mut Parameters) -> Result<Grouping, Problem> {
    let mut grouping = Grouping::default();
    for name in parameters.all("group_by").iter().flat_map(|v| v.split(',')) {
        let path = dimension("group_by", name)?;
        if !grouping.by.contains(&path) {
            grouping.by.push(path);
        }
    }
    for (name, value) in parameters.keyed("filter") {
        let parameter = format!("filter[{name}]");
        // A label with NUL is no event's, and Postgres could not even be asked.
        if value.as_ref().is_some_and(|value| value.contains('\0')) {
            return Err(invalid(&parameter, "holds a control character"));
        }
        grouping.keep(&dimension(&parameter, &name)?, value);
    }
    Ok(grouping)
}

/// The dimension of a name.
///
/// # Errors
/// 400.
pub(crate) fn dimension(parameter: &str, name: &str) -> Result<Path, Problem> {
    match Path::parse(name) {
        Ok(_) if name.contains('\0') => Err(invalid(parameter, "holds a control character")),
        Ok(path) => Ok(path),
        Err(reason) => Err(invalid(parameter, format!("{name:?} {reason}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use aevon_service::problem::Code;

    fn select(values: &[&str]) -> Result<Selection, Problem> {
        let query: Vec<_> = values.iter().map(|v| format!("rule={v}")).collect();
        let uri = format!("/x?{}", query.join("&"));
        let request = TestRequest::with_uri(&uri).to_http_request();
        selection(&mut Parameters::of(&request)?)
    }

    #[test]
    fn a_rule_is_a_name_or_a_name_with_a_version() {
        let selected = select(&["a", "b:7"]).unwrap();
        assert_eq!(selected.names, ["a"]);
        assert_eq!(selected.pinned, [("b".to_owned(), 7)]);
        assert_eq!(select(&[]).unwrap(), Selection::default());
        for wrong in ["", "b:", "b:0", "b:-1", "b:x", "b:99999999999", "a%00"] {
            assert_eq!(
                select(&[wrong]).unwrap_err().code,
                Code::InvalidParameter,
                "{wrong}"
            );
        }
    }
}
