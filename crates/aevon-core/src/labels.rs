//! Labels of groups: canonical strings, so that tail, buckets and answers name a group alike.
//!
//! Invariant: a label is a function of the value by itself; 1 and 1.0 are one label.

use crate::amount::Amount;
use crate::json::Path;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Longest label, in bytes.
pub const MAX_LABEL_BYTES: usize = 256;

/// Begins what stands for a value that can't be a label: [`ARRAY`], [`OBJECT`], or the SHA-256 of a
/// text that is too long or begins like this itself, so that no text passes for a substitute.
const SUBSTITUTE: &str = "aevon.";
const HASHED: &str = "aevon.sha256:";
const ARRAY: &str = "aevon.array";
const OBJECT: &str = "aevon.object";

/// The label of a raw JSON value: a string's text, a number's digits without exponent and trailing
/// zeros, `true`, `false`; `None` for null and where there is none.
pub fn label(raw: Option<&str>) -> Option<String> {
    let raw = raw?;
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok().map(bounded),
        b'-' | b'0'..=b'9' => Amount::parse(raw).map(|number| bounded(number.to_string())),
        b'[' => Some(ARRAY.to_owned()),
        b'{' => Some(OBJECT.to_owned()),
        b'n' => None,
        _ => Some(raw.to_owned()),
    }
}

fn bounded(text: String) -> String {
    if text.len() <= MAX_LABEL_BYTES && !text.starts_with(SUBSTITUTE) {
        return text;
    }
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold(HASHED.to_owned(), |label, byte| {
        label + &format!("{byte:02x}")
    })
}

/// The labels of one group, one for each dimension of its rule, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(pub Vec<Option<String>>);

impl Labels {
    /// What a document holds at these paths.
    pub fn of(dimensions: &[Path], data: &str) -> Self {
        Self(
            dimensions
                .iter()
                .map(|path| label(path.find(data)))
                .collect(),
        )
    }

    /// As they are stored: a JSON object of labels by dimension.
    pub fn to_json(&self, dimensions: &[Path]) -> String {
        let members = dimensions.iter().map(Path::canonical).zip(&self.0);
        let object: BTreeMap<String, &Option<String>> = members.collect();
        serde_json::json!(object).to_string()
    }

    /// Reads what [`Labels::to_json`] wrote; `None` where it is something else.
    pub fn from_json(dimensions: &[Path], json: &str) -> Option<Self> {
        let mut object: BTreeMap<String, Option<String>> = serde_json::from_str(json).ok()?;
        let labels = dimensions
            .iter()
            .map(|path| object.remove(&path.canonical()));
        labels.collect::<Option<_>>().map(Self)
    }

    /// What a series is found by: the SHA-256 of its stored labels.
    pub fn hash(json: &str) -> [u8; 32] {
        Sha256::digest(json.as_bytes()).into()
    }
}

/// How an answer is divided into groups, and which groups it keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// The dimensions that tell groups of the answer apart.
    pub by: Vec<Path>,
    /// Labels to keep, by dimension; `None` is the group without a value.
    pub keep: BTreeMap<Path, Vec<Option<String>>>,
}

impl Grouping {
    /// True where an answer is neither divided nor filtered.
    pub fn is_none(&self) -> bool {
        self.by.is_empty() && self.keep.is_empty()
    }

    /// Keeps groups with this label, as it is written in a question. What an answer shows of a
    /// value that can't be a label finds it again.
    pub fn keep(&mut self, dimension: &Path, text: Option<String>) {
        let label = text.map(|text| match text.starts_with(SUBSTITUTE) {
            true => text,
            false => bounded(text),
        });
        self.keep.entry(dimension.clone()).or_default().push(label);
    }

    /// A dimension that is asked for and is none of these.
    pub fn missing(&self, dimensions: &[Path]) -> Option<String> {
        let mut asked = self.by.iter().chain(self.keep.keys());
        let missing = asked.find(|path| !dimensions.contains(path));
        missing.map(Path::short)
    }

    /// The labels to keep, as [`Labels::to_json`] names dimensions: a JSON object of arrays.
    pub fn keep_json(&self) -> String {
        let members = self
            .keep
            .iter()
            .map(|(path, labels)| (path.canonical(), labels));
        let object: BTreeMap<String, _> = members.collect();
        serde_json::json!(object).to_string()
    }
}

/// A grouping as one rule sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Projection {
    /// Indexes of the rule's dimensions that tell groups apart, ascending.
    by: Vec<usize>,
    /// Indexes of dimensions, with the labels to keep.
    keep: Vec<(usize, Vec<Option<String>>)>,
}

impl Projection {
    pub(crate) fn new(grouping: &Grouping, dimensions: &[Path]) -> Self {
        let is_by = |at: &usize| grouping.by.contains(&dimensions[*at]);
        let kept = |(at, path)| Some((at, grouping.keep.get(path)?.clone()));
        Self {
            by: (0..dimensions.len()).filter(is_by).collect(),
            keep: dimensions.iter().enumerate().filter_map(kept).collect(),
        }
    }

    /// The group of the answer that a group of the rule belongs to; `None` where it is not kept.
    pub(crate) fn of(&self, labels: &Labels) -> Option<Labels> {
        let is_kept = |(at, keep): &(usize, Vec<_>)| keep.contains(&labels.0[*at]);
        let group = || self.by.iter().map(|at| labels.0[*at].clone()).collect();
        self.keep.iter().all(is_kept).then(|| Labels(group()))
    }

    /// The names of the dimensions that tell groups apart, in the order of their labels.
    pub(crate) fn names(&self, dimensions: &[Path]) -> Vec<String> {
        self.by.iter().map(|at| dimensions[*at].short()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<Path> {
        names
            .iter()
            .map(|name| Path::parse(name).unwrap())
            .collect()
    }

    #[test]
    fn equal_values_have_one_label_and_null_and_absent_have_none() {
        for (raw, expected) in [
            ("\"eu\"", Some("eu")),
            ("\"\"", Some("")),
            ("1", Some("1")),
            ("1.0", Some("1")),
            ("-0.0", Some("0")),
            ("12e-1", Some("1.2")),
            ("true", Some("true")),
            ("null", None),
            ("[1]", Some("aevon.array")),
            ("{\"a\":1}", Some("aevon.object")),
            ("\"\\u00e9\"", Some("é")),
        ] {
            assert_eq!(label(Some(raw)).as_deref(), expected, "{raw}");
        }
        assert_eq!(label(None), None);
    }

    #[test]
    fn what_is_no_label_has_a_substitute_that_no_text_can_pass_for() {
        let quoted = |text: &str| label(Some(&format!("{text:?}"))).unwrap();
        let (longest, long) = ("x".repeat(256), "x".repeat(257));
        assert_eq!(quoted(&longest), longest);
        let hashed = quoted(&long);
        assert!(
            hashed.starts_with("aevon.sha256:") && hashed.len() == 77,
            "{hashed}"
        );
        assert_ne!(hashed, quoted(&"x".repeat(258)));
        assert_ne!(hashed, quoted(&hashed));
        assert_ne!(quoted("aevon.array"), "aevon.array");
        let mut grouping = Grouping::default();
        let path = Path::parse("a").unwrap();
        grouping.keep(&path, Some(long));
        grouping.keep(&path, Some(hashed.clone()));
        assert_eq!(grouping.keep[&path], [Some(hashed.clone()), Some(hashed)]);
    }

    #[test]
    fn labels_come_back_from_their_stored_form_and_tell_dimensions_apart() {
        let dimensions = paths(&["a", "b.c"]);
        let labels = Labels::of(&dimensions, r#"{"a":1.0,"b":{"d":2}}"#);
        assert_eq!(labels, Labels(vec![Some("1".to_owned()), None]));
        let json = labels.to_json(&dimensions);
        assert_eq!(json, r#"{"/a":"1","/b/c":null}"#);
        assert_eq!(Labels::from_json(&dimensions, &json), Some(labels));
        assert_eq!(Labels::from_json(&paths(&["x"]), &json), None);
    }

    #[test]
    fn a_projection_keeps_and_joins_groups() {
        let dimensions = paths(&["a", "b"]);
        let mut grouping = Grouping {
            by: paths(&["b"]),
            ..Grouping::default()
        };
        grouping.keep(&dimensions[0], Some("x".to_owned()));
        grouping.keep(&dimensions[0], None);
        let projection = Projection::new(&grouping, &dimensions);
        let of = |a: Option<&str>, b: &str| {
            projection.of(&Labels(vec![a.map(str::to_owned), Some(b.to_owned())]))
        };
        let eu = Some(Labels(vec![Some("eu".to_owned())]));
        assert_eq!(
            (of(Some("x"), "eu"), of(None, "eu"), of(Some("y"), "eu")),
            (eu.clone(), eu, None)
        );
        assert_eq!(projection.names(&dimensions), ["b"]);
        assert_eq!(grouping.missing(&dimensions), None);
        assert_eq!(grouping.missing(&dimensions[1..]).as_deref(), Some("a"));
    }
}
