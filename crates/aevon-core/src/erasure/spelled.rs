//! Rules whose own text has the name of who is erased. Rules are what was asked, not what happened: an
//! erasure leaves them as they are, and says so.

use super::Version;
use super::mention::has_word;
use crate::json::Path;
use crate::rule::Rule;

/// A version of a rule that spells a name out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelled {
    /// The rule and its version: `name:version`.
    pub rule: String,
    /// The fields of the rule that have it.
    pub fields: Vec<&'static str>,
}

/// The versions whose text has an identifier in it, as a word of its own.
#[must_use]
pub fn spelled(versions: &[Version], identifier: &str) -> Vec<Spelled> {
    let those = versions.iter().filter_map(|version| {
        let rule = &version.rule;
        let fields: Vec<&str> = texts(rule)
            .into_iter()
            .filter(|(_, texts)| texts.iter().any(|text| has(text, identifier)))
            .map(|(field, _)| field)
            .collect();
        (!fields.is_empty()).then(|| Spelled {
            rule: format!("{}:{}", rule.name, version.version),
            fields,
        })
    });
    those.collect()
}

/// A pattern has a name although it says that a dot in it is one.
fn has(text: &str, identifier: &str) -> bool {
    has_word(text, identifier) || has_word(&text.replace('\\', ""), identifier)
}

/// What people have written in a rule, by field.
fn texts(rule: &Rule) -> [(&'static str, Vec<String>); 7] {
    let one = |text: &str| vec![text.to_owned()];
    let keys = |path: &Path| path.keys().to_vec();
    // As written, with its comments, and as meant.
    let filter = rule.filter.iter().flat_map(|filter| {
        let mut texts = filter.literals();
        texts.push(filter.text().to_owned());
        texts
    });
    [
        ("name", one(&rule.name)),
        ("description", rule.description.iter().cloned().collect()),
        ("source_event", one(&rule.source_event)),
        ("field", rule.field.iter().flat_map(keys).collect()),
        ("filter", filter.collect()),
        ("group_by", rule.group_by.iter().flat_map(keys).collect()),
        ("unit", rule.unit.iter().cloned().collect()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields_of(rule: &str, identifier: &str) -> Vec<&'static str> {
        let version = Version {
            rule_no: 7,
            version: 3,
            rule: Rule::from_yaml(&format!("name: r\nsource_event: t\n{rule}")).unwrap(),
        };
        let found = spelled(&[version], identifier);
        assert!(found.iter().all(|one| one.rule == "r:3"), "{found:?}");
        found.into_iter().flat_map(|one| one.fields).collect()
    }

    #[test]
    fn a_rule_that_spells_a_name_out_is_found() {
        for (rule, fields) in [
            ("operator: count", &[][..]),
            ("operator: count\nfilter: principal_id != 'joann@x.y'", &[]),
            ("operator: count\nfilter: principal_id != 'ann@x.yz'", &[]),
            (
                "operator: count\nfilter: principal_id != 'ann@x.y'",
                &["filter"],
            ),
            (
                "operator: count\nfilter: |\n  principal_id != 'ann\\x40x.y'",
                &["filter"],
            ),
            (
                "operator: count\nfilter: |\n  principal_id.matches('^ann@x\\\\.y$')",
                &["filter"],
            ),
            (
                "operator: count\nfilter: |\n  true // all but ann@x.y",
                &["filter"],
            ),
            (
                "operator: sum\nfield: /of/ann@x.y\ngroup_by: [/ann@x.y]\ndescription: for ann@x.y",
                &["description", "field", "group_by"],
            ),
        ] {
            assert_eq!(fields_of(rule, "ann@x.y"), fields, "{rule}");
        }
    }
}
