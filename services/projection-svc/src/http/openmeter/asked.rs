//! What is asked of a meter, in the words of OpenMeter.

use crate::http::request::{Parameters, identifier, invalid, range};
use crate::http::state::{MAX_NAMED, dimension, selected, zone};
use aevon_core::calendar::Period;
use aevon_core::labels::Grouping;
use aevon_core::state::{Granularity, Question};
use aevon_schema::state::Selection;
use aevon_service::problem::Problem;
use serde::Deserialize;
use std::collections::HashMap;
use utoipa::IntoParams;

/// What groups by principals, among names of dimensions.
const SUBJECT: &str = "subject";
/// The windows that there are, by name.
const WINDOWS: [(&str, Period); 4] = [
    ("MINUTE", Period::Minute),
    ("HOUR", Period::Hour),
    ("DAY", Period::Day),
    ("MONTH", Period::Month),
];

/// The parameters, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read")]
pub(crate) struct MeterParameters {
    /// With a key of the platform: whose usage. With another the key's tenant, if anything.
    #[param(max_length = 512, example = "acme")]
    tenant_id: Option<String>,
    /// Inclusive. None: unbounded.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-02-11T00:00:00Z")]
    from: Option<String>,
    /// Exclusive. None: unbounded.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-02-12T00:00:00Z")]
    to: Option<String>,
    /// A row a window, cut by the range. None: a row over the range.
    #[param(
        rename = "windowSize",
        pattern = "^(MINUTE|HOUR|DAY|MONTH)$",
        example = "HOUR"
    )]
    window_size: Option<String>,
    /// The IANA name of the zone whose hours, days and months are meant. None: UTC.
    #[param(rename = "windowTimeZone", example = "Europe/Berlin")]
    window_time_zone: Option<String>,
    /// Principals; repeatable, up to 100 times. The answer is grouped by them.
    #[param(explode, example = json!(["user_123"]))]
    subject: Option<Vec<String>>,
    /// Dimensions of the rule, or `subject`; repeatable.
    #[param(rename = "groupBy", explode, example = json!(["model"]))]
    group_by: Option<Vec<String>>,
    /// `filterGroupBy[dim]=label` keeps the groups with this label; repeatable.
    #[param(rename = "filterGroupBy", style = DeepObject, explode, example = json!({"model": "m1"}))]
    filter_group_by: Option<HashMap<String, String>>,
    /// A JSON object: for each dimension `{"$eq":"label"}` or `{"$in":["label"]}`.
    #[param(rename = "advancedMeterGroupByFilters")]
    advanced_meter_group_by_filters: Option<String>,
    /// Taken, and without an effect.
    #[param(rename = "clientId", example = "dashboard")]
    client_id: Option<String>,
}

/// What is asked.
pub(super) struct Asked {
    pub(super) selection: Selection,
    pub(super) question: Question,
    /// The name of the windows, as it was asked.
    pub(super) window_size: Option<&'static str>,
    /// Each once; none is all.
    pub(super) subjects: Vec<String>,
    /// Whether each subject has rows of its own.
    pub(super) by_subject: bool,
}

/// What keeps groups by their label.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with $eq or $in")]
struct Filter {
    #[serde(rename = "$eq")]
    eq: Option<String>,
    #[serde(rename = "$in")]
    within: Option<Vec<String>>,
}

impl Asked {
    /// Takes all that is asked of a meter.
    ///
    /// # Errors
    /// 400.
    pub(super) fn take(parameters: &mut Parameters, meter: &str) -> Result<Self, Problem> {
        parameters.one("clientId")?;
        let window = parameters.one("windowSize")?.map(|name| {
            let found = WINDOWS.into_iter().find(|(known, _)| *known == name);
            let unknown = || format!("{name:?} is not one of MINUTE, HOUR, DAY, MONTH");
            found.ok_or_else(|| invalid("windowSize", unknown()))
        });
        let window = window.transpose()?;
        let subjects = subjects(parameters.all(SUBJECT))?;
        let mut names = parameters.all("groupBy");
        let is_grouped = names.iter().any(|name| name == SUBJECT);
        names.retain(|name| name != SUBJECT);
        let question = Question {
            range: range(parameters, ["from", "to"])?,
            granularity: window.map_or(Granularity::Total, |(_, p)| Granularity::Windows(p)),
            grouping: grouping(parameters, &names)?,
            zone: zone(parameters, "windowTimeZone")?,
            ..Question::default()
        };
        Ok(Self {
            selection: selected("meter", &[meter.to_owned()])?,
            question,
            window_size: window.map(|(name, _)| name),
            by_subject: is_grouped || !subjects.is_empty(),
            subjects,
        })
    }
}

fn subjects(mut names: Vec<String>) -> Result<Vec<String>, Problem> {
    if names.len() > MAX_NAMED {
        return Err(invalid(SUBJECT, format!("may be given {MAX_NAMED} times")));
    }
    names.sort_unstable();
    names.dedup();
    let names = names.into_iter().map(|name| identifier(SUBJECT, name));
    names.collect()
}

fn grouping(parameters: &mut Parameters, by: &[String]) -> Result<Grouping, Problem> {
    let mut grouping = Grouping::default();
    for name in by {
        let path = dimension("groupBy", name)?;
        if !grouping.by.contains(&path) {
            grouping.by.push(path);
        }
    }
    if !parameters.all("filterGroupBy").is_empty() {
        let reason = "takes a dimension in brackets, such as filterGroupBy[model]=m1";
        return Err(invalid("filterGroupBy", reason));
    }
    for (name, label) in parameters.keyed("filterGroupBy") {
        let parameter = format!("filterGroupBy[{name}]");
        let path = dimension(&parameter, &name)?;
        grouping.keep(
            &path,
            Some(label_of(&parameter, label.unwrap_or_default())?),
        );
    }
    for (name, labels) in advanced(parameters.one("advancedMeterGroupByFilters")?)? {
        let parameter = format!("advancedMeterGroupByFilters, {name}");
        let path = dimension(&parameter, &name)?;
        if grouping.keep.contains_key(&path) {
            return Err(invalid(&parameter, "is filtered by filterGroupBy too"));
        }
        for label in labels {
            grouping.keep(&path, Some(label_of(&parameter, label)?));
        }
    }
    Ok(grouping)
}

/// The labels to keep, by dimension.
fn advanced(json: Option<String>) -> Result<Vec<(String, Vec<String>)>, Problem> {
    let wrong = |reason: String| invalid("advancedMeterGroupByFilters", reason);
    let Some(json) = json else {
        return Ok(Vec::new());
    };
    let filters: HashMap<String, Filter> = serde_json::from_str(&json).map_err(|error| {
        let form = r#"it is an object of {"$eq":"label"} or {"$in":["label"]} by dimension"#;
        wrong(format!("{error}; {form}"))
    })?;
    let labels = |(name, filter): (String, Filter)| match (filter.eq, filter.within) {
        (Some(label), None) => Ok((name, vec![label])),
        (None, Some(labels)) if !labels.is_empty() => Ok((name, labels)),
        _ => Err(wrong(format!(
            "{name} needs either $eq or a $in that is not empty"
        ))),
    };
    filters.into_iter().map(labels).collect()
}

/// A label with NUL is no event's, and Postgres could not even be asked.
fn label_of(parameter: &str, label: String) -> Result<String, Problem> {
    match label.contains('\0') {
        true => Err(invalid(parameter, "holds a control character")),
        false => Ok(label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    fn take(query: &str) -> Result<Asked, Problem> {
        let query = query
            .replace('{', "%7B")
            .replace('}', "%7D")
            .replace('"', "%22");
        let request = TestRequest::with_uri(&format!("/x?{query}")).to_http_request();
        let mut parameters = Parameters::of(&request)?;
        let asked = Asked::take(&mut parameters, "tokens:2")?;
        parameters.finish().map(|()| asked)
    }

    #[test]
    fn what_the_sdks_send_is_understood() {
        let all = take(
            "clientId=x&from=2026-01-01T00:00:00.000Z&to=2026-02-01T00:00:00.000Z&windowSize=DAY\
             &windowTimeZone=Europe%2FBerlin&subject=b&subject=a&subject=b&groupBy=subject\
             &groupBy=model&filterGroupBy%5Bmodel%5D=m1\
             &advancedMeterGroupByFilters=%7B%22kind%22:%7B%22$in%22:[%22x%22,%22y%22]%7D%7D",
        );
        let all = all.unwrap();
        assert_eq!(all.selection.pinned, [("tokens".to_owned(), 2)]);
        assert_eq!(
            (all.subjects, all.by_subject),
            (vec!["a".into(), "b".into()], true)
        );
        assert_eq!(all.window_size, Some("DAY"));
        let Question { grouping, zone, .. } = all.question;
        assert_eq!(zone.name(), "Europe/Berlin");
        assert_eq!((grouping.by.len(), grouping.keep.len()), (1, 2));
        let none = take("").unwrap();
        assert!(!none.by_subject && none.question == Question::default());
        assert!(take("groupBy=subject").unwrap().by_subject);
    }

    #[test]
    fn what_cannot_be_asked_is_named() {
        for (query, says) in [
            ("windowSize=WEEK", "windowSize"),
            ("from=2026", "from"),
            ("filterGroupBy={'a':'b'}", "brackets"),
            ("advancedMeterGroupByFilters=x", "$in"),
            (
                "advancedMeterGroupByFilters={\"a\":{\"$like\":\"x\"}}",
                "$like",
            ),
            ("advancedMeterGroupByFilters={\"a\":{}}", "$eq"),
            (
                "filterGroupBy[a]=1&advancedMeterGroupByFilters={\"a\":{\"$eq\":\"x\"}}",
                "too",
            ),
            ("subject=%00", "subject"),
            ("filterCustomerId=x", "filterCustomerId"),
            ("from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ] {
            let refused = take(query).err().expect(query);
            assert!(refused.detail.contains(says), "{query}: {}", refused.detail);
        }
    }

    /// What an answer depends on.
    fn meant(asked: Result<Asked, Problem>) -> Result<(Question, Vec<String>, bool), String> {
        let meant = asked.map(|one| (one.question, one.subjects, one.by_subject));
        meant.map_err(|refused| refused.detail)
    }

    /// A parameter with a value, most of them such as it takes.
    fn pair() -> impl Strategy<Value = (&'static str, String)> {
        let known = select(vec![
            ("from", "2026-01-01T00:00:00Z"),
            ("to", "2026-02-01T00:00:00.5Z"),
            ("windowSize", "HOUR"),
            ("windowTimeZone", "Europe%2FBerlin"),
            ("subject", "a"),
            ("subject", "b%20c"),
            ("groupBy", "model"),
            ("groupBy", "subject"),
            ("groupBy", "%2Fa~1b"),
            ("filterGroupBy%5Bmodel%5D", "m1"),
            ("filterGroupBy%5Ba.b%5D", ""),
            (
                "advancedMeterGroupByFilters",
                "%7B%22kind%22:%7B%22$in%22:[%22x%22]%7D%7D",
            ),
            (
                "advancedMeterGroupByFilters",
                "%7B%22model%22:%7B%22$eq%22:%22x%22%7D%7D",
            ),
            ("clientId", "c"),
        ]);
        let rubbish = prop_oneof![
            "[a-zA-Z0-9:.%-]{0,12}",
            "(%[0-9A-F]{2}){0,6}",
            "[0-9]{4}-[0-9]{2}"
        ];
        (known, rubbish, 0..4_u8).prop_map(|((name, value), rubbish, dice)| match dice {
            0 => (name, rubbish),
            _ => (name, value.to_owned()),
        })
    }

    fn query(pairs: &[(&str, String)]) -> String {
        let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("&")
    }

    proptest! {
        #[test]
        fn a_meter_is_asked_the_same_in_any_order_of_its_parameters(
            pairs in prop::collection::vec(pair(), 0..8),
            at in any::<Index>(),
        ) {
            let asked = meant(take(&query(&pairs)));
            if let Err(detail) = &asked {
                // Refused by the name of what is wrong.
                let names = |(name, _): &(&str, String)| {
                    let base = name.split('%').next().unwrap_or(name);
                    detail.contains(base)
                };
                prop_assert!(pairs.iter().any(names), "{detail}");
                return Ok(());
            }
            let (question, subjects, _) = asked.clone().unwrap();
            let range = question.range;
            prop_assert!(range.start.zip(range.end).is_none_or(|(start, end)| start <= end));
            prop_assert!(subjects.windows(2).all(|pair| pair[0] < pair[1]));
            // Labels of a dimension are given in an order; those of different names in any.
            let mut moved = pairs.clone();
            moved.rotate_left(at.index(pairs.len() + 1));
            moved.sort_by_key(|(name, _)| std::cmp::Reverse(*name));
            let mut sorted = pairs;
            sorted.sort_by_key(|(name, _)| *name);
            let set = |asked: Result<(Question, Vec<String>, bool), String>| {
                let (mut question, subjects, by_subject) = asked.unwrap();
                question.grouping.by.sort();
                question.grouping.keep.values_mut().for_each(|labels| labels.sort());
                (question, subjects, by_subject)
            };
            prop_assert_eq!(set(meant(take(&query(&moved)))), set(meant(take(&query(&sorted)))));
        }
    }
}
