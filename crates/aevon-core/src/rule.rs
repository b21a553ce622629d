//! Rules: what to compute. Read from YAML, kept as JSON, compared by fingerprint.

use crate::event::RESERVED_PREFIX;
use crate::filter::{Filter, Reads};
use crate::identity;
use crate::json::Path;
use crate::operator::Operator;
use serde_json::json;
use serde_yaml_ng::Value;
use sha2::{Digest, Sha256};

/// One rule, without its version: that is given by the `rules` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique; `[a-z][a-z0-9_-]{0,127}`.
    pub name: String,
    /// For people; not part of the meaning.
    pub description: Option<String>,
    /// The event type that it folds.
    pub source_event: String,
    /// What it computes.
    pub operator: Operator,
    /// The field of `data` that the operator reads; none for count.
    pub field: Option<Path>,
    /// Which events of that type it folds; all, without one.
    pub filter: Option<Filter>,
    /// The places in `data` by which it tells groups apart, in the order of their names.
    pub group_by: Vec<Path>,
    /// What the value counts; shown in answers.
    pub unit: Option<String>,
}

/// One thing that is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct RuleFault {
    /// The field; `-` for the file as a whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl RuleFault {
    /// A fault of a field.
    pub fn new(field: &str, reason: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Where a rule is read from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    File,
    Table,
}

/// Longest text of a rule.
const MAX_TEXT_BYTES: usize = 4096;

/// Most dimensions of a rule.
pub const MAX_DIMENSIONS: usize = 8;

const FIELDS: [&str; 8] = [
    "name",
    "description",
    "source_event",
    "operator",
    "field",
    "filter",
    "group_by",
    "unit",
];

impl Rule {
    /// Reads a rule from YAML text.
    ///
    /// # Errors
    /// Every fault, not just the first.
    pub fn from_yaml(text: &str) -> Result<Self, Vec<RuleFault>> {
        let document = serde_yaml_ng::from_str(text);
        let document = document.map_err(|error| vec![RuleFault::new("-", error.to_string())])?;
        Self::read(document, Origin::File)
    }

    /// Reads a rule back from its [`Rule::definition`].
    ///
    /// # Errors
    /// Every fault, not just the first.
    pub fn from_definition(json: &str) -> Result<Self, Vec<RuleFault>> {
        let document = serde_json::from_str(json);
        let document = document.map_err(|error| vec![RuleFault::new("-", error.to_string())])?;
        Self::read(document, Origin::Table)
    }

    fn read(document: Value, origin: Origin) -> Result<Self, Vec<RuleFault>> {
        let Some(mapping) = document.as_mapping() else {
            let reason = "a rule is a mapping of fields to values";
            return Err(vec![RuleFault::new("-", reason)]);
        };
        let mut faults = Vec::new();
        for key in mapping.keys() {
            let name = key
                .as_str()
                .map_or_else(|| format!("{key:?}"), str::to_owned);
            if !FIELDS.contains(&name.as_str()) {
                let reason = format!("is no field of a rule ({})", FIELDS.join(", "));
                faults.push(RuleFault::new(&name, reason));
            }
        }
        let mut text = |field: &str, required: bool| match mapping.get(field) {
            Some(value) => match check_text(value) {
                Ok(text) => Some(text.to_owned()),
                Err(reason) => {
                    faults.push(RuleFault::new(field, reason));
                    None
                }
            },
            None if required => {
                faults.push(RuleFault::new(field, "is required"));
                None
            }
            None => None,
        };
        let (name, description) = (text("name", true), text("description", false));
        let (source_event, operator) = (text("source_event", true), text("operator", true));
        let (field, unit) = (text("field", false), text("unit", false));
        let filter = text("filter", false);
        check_name(name.as_deref(), &mut faults);
        check_source_event(source_event.as_deref(), &mut faults);
        let operator = operator.and_then(|text| parse_operator(&text, &mut faults));
        let field = check_field(
            operator,
            field.as_deref(),
            mapping.contains_key("field"),
            &mut faults,
        );
        let filter = check_filter(filter.as_deref(), origin, &mut faults);
        let group_by = check_group_by(mapping.get("group_by"), &mut faults);
        match (name, source_event, operator) {
            (Some(name), Some(source_event), Some(operator)) if faults.is_empty() => Ok(Self {
                name,
                description,
                source_event,
                operator,
                field,
                filter,
                group_by,
                unit,
            }),
            _ => Err(faults),
        }
    }

    /// What its filter reads of an event.
    pub fn reads(&self) -> Reads {
        self.filter.as_ref().map(Filter::reads).unwrap_or_default()
    }

    /// The rule as it is kept in the `rules` table. [`Rule::from_definition`] reads it back.
    pub fn definition(&self) -> String {
        let mut definition = json!({
            "name": self.name,
            "source_event": self.source_event,
            "operator": self.operator.as_str(),
        });
        let optional = [
            ("description", self.description.clone()),
            ("field", self.field.as_ref().map(Path::canonical)),
            ("filter", self.filter.as_ref().map(|f| f.text().to_owned())),
            ("unit", self.unit.clone()),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                definition[key] = value.into();
            }
        }
        if !self.group_by.is_empty() {
            definition["group_by"] = self.dimensions().into();
        }
        definition.to_string()
    }

    fn dimensions(&self) -> Vec<String> {
        self.group_by.iter().map(Path::canonical).collect()
    }

    /// SHA-256, in hex, of all that an answer shows or depends on. The description is not in it.
    pub fn fingerprint(&self) -> String {
        let field = self.field.as_ref().map(Path::canonical);
        let meaning = json!([
            1,
            self.name,
            self.source_event,
            self.operator.as_str(),
            field,
            self.unit,
            self.filter.as_ref().map(Filter::text),
            self.dimensions(),
        ]);
        let digest = Sha256::digest(meaning.to_string().as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A text that the `rules` table can hold and people can read.
fn check_text(value: &Value) -> Result<&str, String> {
    let text = value.as_str().unwrap_or_default();
    if text.trim().is_empty() {
        return Err("must be a text that is not empty".to_owned());
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!(
            "has {} bytes; {MAX_TEXT_BYTES} at most",
            text.len()
        ));
    }
    match text
        .chars()
        .find(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    {
        Some(control) => Err(format!(
            "holds the control character U+{:04X}",
            u32::from(control)
        )),
        None => Ok(text),
    }
}

/// A type that no event can have would make a rule that never counts.
fn check_source_event(source_event: Option<&str>, faults: &mut Vec<RuleFault>) {
    let Some(source_event) = source_event else {
        return;
    };
    if let Err(fault) = identity::check(source_event) {
        faults.push(RuleFault::new("source_event", fault.to_string()));
    } else if source_event.starts_with(RESERVED_PREFIX) {
        let reason = format!("types beginning with {RESERVED_PREFIX} are reserved");
        faults.push(RuleFault::new("source_event", reason));
    }
}

fn check_name(name: Option<&str>, faults: &mut Vec<RuleFault>) {
    let Some(name) = name else { return };
    let good = name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if !good {
        let reason = format!("{name:?} is not of the form [a-z][a-z0-9_-]*, 128 at most");
        faults.push(RuleFault::new("name", reason));
    }
}

fn parse_operator(text: &str, faults: &mut Vec<RuleFault>) -> Option<Operator> {
    let found = Operator::ALL
        .into_iter()
        .find(|operator| operator.as_str() == text);
    if found.is_none() {
        let known = Operator::ALL.map(Operator::as_str).join(", ");
        let reason = format!("{text:?} is not one of {known}");
        faults.push(RuleFault::new("operator", reason));
    }
    found
}

fn check_field(
    operator: Option<Operator>,
    field: Option<&str>,
    given: bool,
    faults: &mut Vec<RuleFault>,
) -> Option<Path> {
    let mut fault = |reason: String| faults.push(RuleFault::new("field", reason));
    let takes_field = operator.is_some_and(Operator::takes_field);
    if let Some(operator) = operator {
        match (takes_field, given) {
            (true, false) => fault(format!("is required by {}", operator.as_str())),
            (false, true) => fault(format!("{} takes no field", operator.as_str())),
            _ => {}
        }
    }
    let path = Path::parse(field?);
    path.map_err(&mut fault).ok()
}

fn check_filter(
    filter: Option<&str>,
    origin: Origin,
    faults: &mut Vec<RuleFault>,
) -> Option<Filter> {
    let compiled = Filter::compile(filter?).and_then(|filter| match filter.never_boolean() {
        // What was taken once stays readable: such a filter skips every event, and says so.
        Some(what) if origin == Origin::File => {
            Err(format!("must be true or false, and gives {what}"))
        }
        _ => Ok(filter),
    });
    match compiled {
        Ok(filter) => Some(filter),
        Err(reason) => {
            faults.push(RuleFault::new("filter", reason));
            None
        }
    }
}

fn check_group_by(value: Option<&Value>, faults: &mut Vec<RuleFault>) -> Vec<Path> {
    let mut fault = |reason: String| faults.push(RuleFault::new("group_by", reason));
    let Some(value) = value else {
        return Vec::new();
    };
    let items = value.as_sequence().map_or(&[][..], Vec::as_slice);
    if items.is_empty() || items.len() > MAX_DIMENSIONS {
        fault(format!("must be a list of 1 to {MAX_DIMENSIONS} paths"));
        return Vec::new();
    }
    let mut paths = Vec::new();
    for item in items {
        match check_text(item).and_then(Path::parse) {
            // Questions separate dimensions by commas.
            Ok(path) if path.canonical().contains(',') => {
                fault(format!("{} holds a comma", path.short()));
            }
            Ok(path) if paths.contains(&path) => fault(format!("{} stands twice", path.short())),
            Ok(path) => paths.push(path),
            Err(reason) => fault(reason),
        }
    }
    // Their order means nothing, so it makes no other version.
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: &str = "name: tokens_used\nsource_event: model.call\noperator: sum\nfield: a.b\n";

    #[test]
    fn a_rule_comes_back_from_its_definition_with_the_same_fingerprint() {
        let rule = Rule::from_yaml(&format!("{TOKENS}unit: tokens\ndescription: d\n")).unwrap();
        let back = Rule::from_definition(&rule.definition()).unwrap();
        assert_eq!(back, rule);
        assert_eq!(back.fingerprint(), rule.fingerprint());
        let more = "filter: data.status == \"ok\"\ngroup_by: [region, a.model, /x~1y]\n";
        let rule = Rule::from_yaml(&format!("{TOKENS}{more}")).unwrap();
        let back = Rule::from_definition(&rule.definition()).unwrap();
        assert_eq!((&back, back.fingerprint()), (&rule, rule.fingerprint()));
        let names: Vec<String> = back.group_by.iter().map(Path::short).collect();
        assert_eq!(names, ["a.model", "region", "x/y"]);
        // What JSON may hold raw and YAML may not.
        let odd = format!("{TOKENS}description: \"\\uFFFE \\u2028 \\\" x\\n\\ty\"\n");
        let odd = Rule::from_yaml(&odd).unwrap();
        assert_eq!(Rule::from_definition(&odd.definition()).unwrap(), odd);
    }

    #[test]
    fn a_description_changes_no_fingerprint_and_everything_else_does() {
        let print = |text: &str| Rule::from_yaml(text).unwrap().fingerprint();
        assert_eq!(
            print(TOKENS),
            print(&format!("{TOKENS}description: other\n"))
        );
        assert_eq!(print(TOKENS), print(&TOKENS.replace("a.b", "/a/b")));
        for (from, to) in [
            ("sum", "max"),
            ("a.b", "a.c"),
            ("model.call", "x"),
            ("_used", ""),
        ] {
            assert_ne!(print(TOKENS), print(&TOKENS.replace(from, to)), "{to}");
        }
        for more in ["unit: tokens", "filter: data.n > 1", "group_by: [m]"] {
            assert_ne!(print(TOKENS), print(&format!("{TOKENS}{more}\n")), "{more}");
        }
        let grouped = |by: &str| print(&format!("{TOKENS}group_by: {by}\n"));
        assert_eq!(grouped("[a, b.c]"), grouped("[/b/c, a]"));
        assert_ne!(grouped("[a]"), grouped("[b]"));
    }

    #[test]
    fn filters_and_dimensions_that_can_not_be_used_are_named_with_their_reason() {
        for (line, field, says) in [
            ("filter: data.n >", "filter", "no CEL expression"),
            ("filter: nope", "filter", "no variable nope"),
            ("filter: 7", "filter", "must be a text"),
            ("filter: 1 + 1", "filter", "gives a sum"),
            ("group_by: model", "group_by", "a list of 1 to 8"),
            ("group_by: []", "group_by", "a list of 1 to 8"),
            (
                "group_by: [a, b, c, d, e, f, g, h, i]",
                "group_by",
                "a list of 1 to 8",
            ),
            ("group_by: [a, /a]", "group_by", "a stands twice"),
            ("group_by: [a..b]", "group_by", "without empty parts"),
            ("group_by: [/a~2b]", "group_by", "~ without 0 or 1"),
            ("group_by: [/a~]", "group_by", "~ without 0 or 1"),
            ("group_by: [\"a,b\"]", "group_by", "comma"),
            ("group_by: [{a: b}]", "group_by", "must be a text"),
        ] {
            let faults = Rule::from_yaml(&format!("{TOKENS}{line}\n")).unwrap_err();
            assert_eq!(
                (faults.len(), faults[0].field.as_str()),
                (1, field),
                "{line}"
            );
            assert!(faults[0].reason.contains(says), "{line}: {}", faults[0]);
        }
    }

    #[test]
    fn a_rule_that_was_taken_once_can_still_be_read() {
        let rule = Rule::from_yaml(&format!("{TOKENS}filter: data.n\n")).unwrap();
        let definition = rule.definition().replace("data.n", "data");
        let filter = Rule::from_definition(&definition).unwrap().filter.unwrap();
        assert_eq!(filter.never_boolean(), Some("an object"));
    }

    #[test]
    fn every_fault_of_a_file_is_named() {
        let text = "name: Bad Name\noperator: median\nfield: a..b\ncolour: red\n";
        let faults = Rule::from_yaml(text).unwrap_err();
        let fields: Vec<&str> = faults.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(
            fields,
            ["colour", "source_event", "name", "operator", "field"]
        );
        let count = TOKENS.replace("sum", "count");
        assert_eq!(
            Rule::from_yaml(&count).unwrap_err()[0].reason,
            "count takes no field"
        );
        assert_eq!(Rule::from_yaml("- 1").unwrap_err()[0].field, "-");
        let long = "x".repeat(513);
        for (event, says) in [
            ("\"x\\0y\"", "U+0000"),
            ("\"x\\x7f\"", "U+007F"),
            ("\"a\\nb\"", "control character"),
            ("aevon.x", "reserved"),
            (&long, "512"),
        ] {
            let fault = &Rule::from_yaml(&TOKENS.replace("model.call", event)).unwrap_err()[0];
            assert_eq!(fault.field, "source_event");
            assert!(fault.reason.contains(says), "{fault}");
        }
    }
}
