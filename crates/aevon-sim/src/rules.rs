//! The rules of a simulated world: a few names, each with variants that mean something else.

use aevon_core::rule::Rule;
use aevon_testkit::oracle::{Judge, everything};
use serde_json::Value as Json;

/// How many names there are.
pub(crate) const NAMES: u8 = 5;
/// How many variants each has.
pub(crate) const VARIANTS: u8 = 3;

/// Operator and whether it filters, of each name and variant.
const RULES: [[(&str, bool); VARIANTS as usize]; NAMES as usize] = [
    [("count", false), ("count", true), ("sum", false)],
    [("sum", false), ("sum", true), ("avg", false)],
    [("min", false), ("max", false), ("min", true)],
    [("latest", false), ("latest", true), ("weighted_sum", false)],
    [
        ("unique_count", false),
        ("max", true),
        ("weighted_sum", true),
    ],
];

/// The type of the events that rules count.
pub(crate) const SOURCE_EVENT: &str = "usage";

/// The name of a number.
pub(crate) fn name(nth: u8) -> String {
    format!("rule_{}", nth % NAMES)
}

/// A variant of a name.
pub(crate) fn rule(nth: u8, variant: u8) -> Rule {
    let (operator, is_filtered) = RULES[usize::from(nth % NAMES)][usize::from(variant % VARIANTS)];
    let field = if operator == "count" {
        ""
    } else {
        "field: n\n"
    };
    let filter = match is_filtered {
        true => "filter: data.kind > 0\n",
        false => "",
    };
    // Some are grouped more deeply than others.
    let group_by = if variant % VARIANTS == 1 {
        "[g, deep.h]"
    } else {
        "[g]"
    };
    let text = format!(
        "name: {}\nsource_event: {SOURCE_EVENT}\noperator: {operator}\n{field}{filter}\
         group_by: {group_by}\n",
        name(nth)
    );
    match Rule::from_yaml(&text) {
        Ok(rule) => rule,
        Err(faults) => panic!("{text}: {faults:?}"),
    }
}

/// The filter by hand. Without a kind it fails.
fn judge(data: &Json) -> Option<bool> {
    data.get("kind")
        .map(|kind| kind.as_i64().is_some_and(|kind| kind > 0))
}

/// The same for a rule.
pub(crate) fn judge_of(rule: &Rule) -> Judge {
    match rule.filter.is_some() {
        true => judge,
        false => everything,
    }
}
