//! Legal erasure: what of a principal's events may stay, and which rules are in the way.
//!
//! A rule that reads a number says nothing about whom it is of. What it reads as a text may say who it
//! was: labels of groups, distinct values, whatever a filter looks at. Such a place is blanked like
//! everything that no rule reads; but answers change by it, so that somebody has to want it.
//!
//! Invariant: where nothing is in the way, every rule version reads the same of what is left of an event
//! as it read of the event, so that no answer changes at any version.
//! Invariant: a place that is kept is one that a rule version reads, or ever read.

use crate::filter::Place;
use crate::identity::partition_of;
use crate::json::Path;
use crate::operator::Operator;
use crate::rule::Rule;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

mod mention;
mod spelled;

pub use mention::{is_about, repeats};
pub use spelled::{Spelled, spelled};

/// A version of a rule.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its number in the table.
    pub rule_no: i32,
    /// Its number among those of its name.
    pub version: i32,
    /// What it computes.
    pub rule: Rule,
}

/// The largest documents of a type that the principal has, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Of `data`.
    pub data: u64,
    /// Of `metadata`.
    pub metadata: u64,
}

/// The types of a principal's events.
pub type Extents = BTreeMap<String, Extent>;

/// How a rule reads a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Manner {
    /// As a number, or nothing.
    Number,
    /// As a distinct value.
    Value,
    /// As the label of a group.
    Label,
    /// In a filter, with all that stands below it.
    Filter,
    /// In a filter that may do with small events what it can't do with large ones.
    Size,
}

impl Manner {
    const fn described(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Value => "a distinct value",
            Self::Label => "the label of a group",
            Self::Filter => "read by the filter",
            Self::Size => "how large it is decides whether the filter can be run",
        }
    }
}

/// A place that is read as more than a number, by a rule that the principal's events concern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle {
    /// The place: `data.region`, `metadata`, `principal_id`.
    pub place: String,
    /// The rule and its version: `name:version`.
    pub rule: String,
    /// How it is read.
    pub manner: &'static str,
}

/// What somebody who knows the events says of places that rules read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// These say nothing of anybody, and stay, with all that stands below them.
    pub keep: BTreeSet<String>,
    /// These do, although rules read them as numbers.
    pub blank: BTreeSet<String>,
}

/// What an erasure would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is left of documents, by type: what the database blanks by.
    pub kept: String,
    /// What is in the way; blanked where that is wanted nevertheless.
    pub obstacles: Vec<Obstacle>,
    /// The versions whose answers change if it is, by their number in the table.
    pub changed: BTreeSet<i32>,
    /// Of the places that were named, those that no rule reads.
    pub unread: Vec<String>,
}

/// Plans the erasure of a principal that has events of these types.
#[must_use]
pub fn plan(versions: &[Version], extents: &Extents, choice: &Choice) -> Plan {
    let mut kept: BTreeMap<&str, Documents> = BTreeMap::new();
    let mut obstacles = BTreeSet::new();
    let (mut changed, mut read) = (BTreeSet::new(), BTreeSet::new());
    for version in versions {
        let rule = &version.rule;
        let extent = extents.get(&rule.source_event);
        let documents = kept.entry(&rule.source_event).or_default();
        for (place, manner) in reads(rule, extent) {
            let name = place.name();
            let is_number = manner == Manner::Number && !choice.blank.contains(&name);
            let names = place.names();
            let is_kept = is_number || !names.is_disjoint(&choice.keep);
            read.extend(names);
            // A pseudonym is another name, whoever reads it.
            if is_kept && place != Place::PrincipalId {
                documents.keep(&place, manner);
            } else if extent.is_some() {
                changed.insert(version.rule_no);
                obstacles.insert(Obstacle {
                    place: name,
                    rule: format!("{}:{}", rule.name, version.version),
                    manner: manner.described(),
                });
            }
        }
    }
    let named = choice.keep.union(&choice.blank);
    let unread = named.filter(|name| !read.contains(*name)).cloned();
    let types = kept
        .iter()
        .map(|(name, of)| ((*name).to_owned(), of.json()));
    Plan {
        kept: Value::Object(types.collect()).to_string(),
        obstacles: obstacles.into_iter().collect(),
        changed,
        unread: unread.collect(),
    }
}

/// The places that a rule reads, and how. Without an extent no event of its type is there.
fn reads(rule: &Rule, extent: Option<&Extent>) -> BTreeSet<(Place, Manner)> {
    let data = |path: &Path| Place::Data(Some(path.clone()));
    let of_field = match rule.operator {
        Operator::UniqueCount => Manner::Value,
        _ => Manner::Number,
    };
    let mut reads = BTreeSet::new();
    reads.extend(rule.field.iter().map(|path| (data(path), of_field)));
    reads.extend(rule.group_by.iter().map(|path| (data(path), Manner::Label)));
    if let Some(filter) = &rule.filter {
        let places = filter.places();
        let extent = extent.copied().unwrap_or_default();
        if filter.may_be_too_dear(extent.data, extent.metadata) {
            let documents = [
                (rule.reads().data, Place::Data(None)),
                (rule.reads().metadata, Place::Metadata(None)),
            ];
            let read = documents.into_iter().filter(|(is_read, _)| *is_read);
            reads.extend(read.map(|(_, place)| (place, Manner::Size)));
        }
        reads.extend(places.into_iter().map(|place| (place, Manner::Filter)));
    }
    reads
}

/// What is left of the documents of one type.
#[derive(Debug, Default)]
struct Documents {
    data: Node,
    metadata: Node,
}

impl Documents {
    fn keep(&mut self, place: &Place, manner: Manner) {
        let (node, path) = match place {
            Place::Data(path) => (&mut self.data, path),
            Place::Metadata(path) => (&mut self.metadata, path),
            Place::PrincipalId => return,
        };
        node.keep(path.as_ref().map_or(&[], Path::keys), manner);
    }

    fn json(&self) -> Value {
        json!({"data": self.data.json(), "metadata": self.metadata.json()})
    }
}

/// What is left of what stands at one place.
#[derive(Debug, Default)]
struct Node {
    /// All of it.
    all: bool,
    /// What is no object and no array.
    scalar: bool,
    /// What may be a number.
    number: bool,
    within: BTreeMap<String, Node>,
}

impl Node {
    fn keep(&mut self, keys: &[String], manner: Manner) {
        let Some((key, below)) = keys.split_first() else {
            match manner {
                Manner::Number => self.number = true,
                Manner::Value | Manner::Label => self.scalar = true,
                Manner::Filter | Manner::Size => self.all = true,
            }
            return;
        };
        match key.parse::<usize>() {
            // The key `01` is the item 1 of an array, and another one than `1` of an object.
            Ok(index) if index.to_string() != *key => self.all = true,
            _ => self
                .within
                .entry(key.clone())
                .or_default()
                .keep(below, manner),
        }
    }

    /// As `blanked` reads it, of the migration `data_life`.
    fn json(&self) -> Value {
        let mut node = serde_json::Map::new();
        let marks = [
            ("all", self.all),
            ("scalar", self.scalar),
            ("number", self.number),
        ];
        for (name, _) in marks.into_iter().filter(|(_, is_set)| *is_set) {
            node.insert(name.to_owned(), true.into());
        }
        if !self.within.is_empty() {
            let within = self.within.iter();
            let within = within.map(|(key, node)| (key.clone(), node.json()));
            node.insert("in".to_owned(), Value::Object(within.collect()));
        }
        Value::Object(node)
    }
}

/// Begins every pseudonym.
const PSEUDONYM: &str = "erased-";

/// A name that says nothing of anybody and lives in the same partition as the one that it stands for.
/// Tries about as many random numbers as there are partitions.
///
/// # Errors
/// Where chance has none to give.
pub fn pseudonym<E>(
    tenant_id: &str,
    partition: i32,
    partitions: i32,
    mut random: impl FnMut() -> Result<u128, E>,
) -> Result<String, E> {
    loop {
        let name = format!("{PSEUDONYM}{:032x}", random()?);
        if partition_of(tenant_id, &name, partitions) == partition {
            return Ok(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version {
            rule_no: 1,
            version: 2,
            rule: Rule::from_yaml(&format!("name: r\nsource_event: t\n{text}")).unwrap(),
        }
    }

    fn plan_of(text: &str, keep: &[&str], bytes: u64) -> Plan {
        let extent = Extent {
            data: bytes,
            metadata: bytes,
        };
        let extents = Extents::from([("t".to_owned(), extent)]);
        let choice = Choice {
            keep: keep.iter().map(|name| (*name).to_owned()).collect(),
            blank: BTreeSet::new(),
        };
        plan(&[version(text)], &extents, &choice)
    }

    fn in_the_way(plan: &Plan) -> Vec<&str> {
        plan.obstacles
            .iter()
            .map(|one| one.place.as_str())
            .collect()
    }

    #[test]
    fn numbers_stay_and_what_may_be_a_text_is_in_the_way() {
        let sum = plan_of("operator: sum\nfield: a.n", &[], 100);
        assert!(sum.obstacles.is_empty() && sum.changed.is_empty());
        assert_eq!(
            sum.kept,
            r#"{"t":{"data":{"in":{"a":{"in":{"n":{"number":true}}}}},"metadata":{}}}"#
        );
        for (rule, places) in [
            ("operator: count", &[][..]),
            ("operator: unique_count\nfield: who", &["data.who"][..]),
            (
                "operator: count\ngroup_by: [a/b, /x.y]",
                &["data.a/b", "data/x.y"],
            ),
            (
                "operator: count\nfilter: data.a.b == 1 && metadata.k == principal_id",
                &["data.a.b", "metadata.k", "principal_id"],
            ),
            ("operator: count\nfilter: size(data) > 1", &["data"]),
        ] {
            let found = plan_of(rule, &[], 100);
            assert_eq!(in_the_way(&found), places, "{rule}");
            assert_eq!(found.changed.is_empty(), places.is_empty());
            // Nobody has such events.
            let elsewhere = plan(&[version(rule)], &Extents::new(), &Choice::default());
            assert_eq!(elsewhere.obstacles, []);
            let kept = plan_of(rule, places, 100);
            let named = places.contains(&"principal_id");
            assert_eq!(
                in_the_way(&kept),
                if named { &["principal_id"][..] } else { &[] }
            );
        }
        let within = "operator: count\ngroup_by: [k.mail, kk]\nfilter: size(data.k) > 0";
        assert_eq!(in_the_way(&plan_of(within, &["data.k"], 100)), ["data.kk"]);
        // A key with a dot is no key below another one.
        let dotted = plan_of(
            "operator: count\ngroup_by: [/k.mail]",
            &["data/k", "data.k"],
            100,
        );
        assert_eq!(
            (in_the_way(&dotted), dotted.unread.len()),
            (vec!["data/k.mail"], 2)
        );
        let odd = plan_of("operator: count\ngroup_by: [g]", &["data.n"], 100);
        assert_eq!(
            (odd.unread, odd.obstacles[0].rule.as_str()),
            (vec!["data.n".to_owned()], "r:2")
        );
    }

    #[test]
    fn a_number_that_says_who_it_was_can_be_named() {
        let extents = Extents::from([("t".to_owned(), Extent::default())]);
        let sum = version("operator: latest\nfield: phone");
        let blank = |name: &str| Choice {
            keep: BTreeSet::new(),
            blank: BTreeSet::from([name.to_owned()]),
        };
        let found = plan(std::slice::from_ref(&sum), &extents, &blank("data.phone"));
        assert_eq!(in_the_way(&found), ["data.phone"]);
        assert_eq!(found.kept, r#"{"t":{"data":{},"metadata":{}}}"#);
        assert_eq!(
            plan(&[sum], &extents, &blank("data.fax")).unread,
            ["data.fax"]
        );
    }

    #[test]
    fn a_filter_that_large_documents_overtax_reads_how_large_they_are() {
        let filter = "operator: count\nfilter: data.l.exists(x, data.l.exists(y, x == y))";
        assert_eq!(in_the_way(&plan_of(filter, &["data.l"], 100)), [""; 0]);
        assert_eq!(in_the_way(&plan_of(filter, &["data.l"], 100_000)), ["data"]);
        assert_eq!(
            in_the_way(&plan_of(filter, &["data.l", "data"], 100_000)),
            [""; 0]
        );
    }

    #[test]
    fn a_pseudonym_lives_where_the_principal_did() {
        let mut last = 0_u128;
        for partition in 0..16 {
            let mut random = || {
                last += 1;
                Ok::<_, ()>(last)
            };
            let name = pseudonym("acme", partition, 16, &mut random).unwrap();
            assert_eq!(partition_of("acme", &name, 16), partition);
        }
    }
}
