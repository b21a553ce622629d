//! Raw JSON: what may enter the log, what a rule reads of it, when two documents are the same.
//!
//! Invariant: documents stay text. They are never rebuilt through a float or a value tree on the
//! way in, so that every digit that was sent is the digit that is stored.

use crate::amount::{Amount, MAX_DIGITS, MAX_EXPONENT};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Deepest nesting of objects and arrays in a document.
pub const MAX_DEPTH: usize = 64;

/// Most things that are listed of what is wrong with a document.
pub const MAX_UNSTORABLE: usize = 16;

/// Why a well-formed document may not enter the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unstorable {
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// A number with too many digits or too large an exponent; the literal, shortened.
    Number(String),
    /// A string with NUL or a lone surrogate.
    Text(&'static str),
}

/// What a well-formed document holds that the log can't; [`MAX_UNSTORABLE`] of it at most.
pub fn unstorable(document: &str) -> Vec<Unstorable> {
    let bytes = document.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    let mut found: Vec<Unstorable> = Vec::new();
    let note = |found: &mut Vec<Unstorable>, one: Unstorable| {
        if !found.contains(&one) {
            found.push(one);
        }
    };
    while let Some(&byte) = bytes.get(at)
        && found.len() < MAX_UNSTORABLE
    {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    note(&mut found, Unstorable::TooDeep);
                }
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'"' => {
                let (end, fault) = check_string(bytes, at + 1);
                if let Some(what) = fault {
                    note(&mut found, Unstorable::Text(what));
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let end = number_end(bytes, at);
                let literal = &document[at..end];
                if !number_is_bounded(literal) {
                    let shown = literal.chars().take(80).collect();
                    note(&mut found, Unstorable::Number(shown));
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    found
}

/// Walks a string from behind its opening quote to behind its closing one; what is wrong with it.
fn check_string(bytes: &[u8], mut at: usize) -> (usize, Option<&'static str>) {
    let mut fault = None;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return (at + 1, fault),
            b'\\' if bytes.get(at + 1) == Some(&b'u') => {
                let is_paired = || {
                    bytes.get(at + 6..at + 8) == Some(b"\\u")
                        && (0xDC00..=0xDFFF).contains(&hex_unit(bytes, at + 8))
                };
                match hex_unit(bytes, at + 2) {
                    0 => fault = Some("NUL"),
                    0xD800..=0xDBFF if is_paired() => at += 6,
                    0xD800..=0xDFFF => fault = Some("a lone surrogate"),
                    _ => {}
                }
                at += 6;
            }
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (at, fault)
}

fn hex_unit(bytes: &[u8], at: usize) -> u32 {
    let digits = bytes
        .get(at..at + 4)
        .and_then(|d| std::str::from_utf8(d).ok());
    digits
        .and_then(|d| u32::from_str_radix(d, 16).ok())
        .unwrap_or(0xFFFF)
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let inside = |b: &u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    bytes[start..]
        .iter()
        .position(|b| !inside(b))
        .map_or(bytes.len(), |len| start + len)
}

/// True for a literal of the JSON number grammar with at most [`MAX_DIGITS`] digits written in its
/// mantissa (a lone zero before the point does not count) and an exponent within
/// ±[`MAX_EXPONENT`].
pub fn number_is_bounded(literal: &str) -> bool {
    let unsigned = literal.strip_prefix('-').unwrap_or(literal);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let grammatical = digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits);
    let whole_digits = if whole == "0" { 0 } else { whole.len() };
    grammatical
        && whole_digits + fraction.map_or(0, str::len) <= MAX_DIGITS
        && exponent.is_none_or(exponent_is_bounded)
}

fn exponent_is_bounded(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let significant = unsigned.trim_start_matches('0');
    !unsigned.is_empty()
        && unsigned.bytes().all(|b| b.is_ascii_digit())
        && significant.len() <= 4
        && significant.parse::<i64>().unwrap_or(0) <= MAX_EXPONENT
}

/// A place inside a document: object keys, or indexes of arrays, from the outside in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<String>);

impl Path {
    /// Reads `a`, `a.b` or a JSON Pointer (`/a/b`, RFC 6901).
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens: Vec<String> = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescape).collect::<Result<_, _>>()?,
            None => text.split('.').map(str::to_owned).collect(),
        };
        if text.is_empty() || tokens.iter().any(String::is_empty) {
            return Err("must be a path such as a, a.b or /a/b, without empty parts".to_owned());
        }
        if tokens.len() > MAX_DEPTH {
            return Err(format!("is deeper than {MAX_DEPTH} levels"));
        }
        Ok(Self(tokens))
    }

    /// A place by its keys; none where there are none.
    pub fn of(keys: Vec<String>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Its keys, from the outside in.
    pub fn keys(&self) -> &[String] {
        &self.0
    }

    /// One spelling for each place: a JSON Pointer.
    pub fn canonical(&self) -> String {
        self.0
            .iter()
            .map(|t| format!("/{}", t.replace('~', "~0").replace('/', "~1")))
            .collect()
    }

    /// The spelling that people prefer: `a.b` where that says it, else a JSON Pointer.
    pub fn short(&self) -> String {
        let dotted = self.0.join(".");
        match Self::parse(&dotted) {
            Ok(same) if same == *self => dotted,
            _ => self.canonical(),
        }
    }

    /// The raw value at this place of a well-formed document.
    pub fn find<'d>(&self, document: &'d str) -> Option<&'d str> {
        let mut deserializer = serde_json::Deserializer::from_str(document);
        Step(&self.0).deserialize(&mut deserializer).ok().flatten()
    }
}

/// A token of a JSON Pointer as the key that it stands for.
fn unescape(token: &str) -> Result<String, String> {
    let mut parts = token.split('~');
    let mut key = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', &part[1..]),
            Some(b'1') => ('/', &part[1..]),
            _ => {
                let reason = "holds ~ without 0 or 1 behind it: in a JSON Pointer ~0 is ~, ~1 is /";
                return Err(reason.to_owned());
            }
        };
        key.push(character);
        key.push_str(rest);
    }
    Ok(key)
}

/// A key of an object, borrowed where it has no escapes; serde copies every plain `Cow`.
#[derive(Deserialize, PartialEq, Eq, Hash)]
pub(crate) struct Key<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The keys of a document that is an object, in order.
pub fn keys(document: &str) -> Option<Vec<Cow<'_, str>>> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<Cow<'de, str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut keys = Vec::new();
            while let Some(Key(key)) = map.next_key()? {
                map.next_value::<IgnoredAny>()?;
                keys.push(key);
            }
            Ok(keys)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(document);
    deserializer.deserialize_map(Keys).ok()
}

/// One step along a path; the value behind the last step is taken raw.
struct Step<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return <&RawValue>::deserialize(deserializer).map(|raw| Some(raw.get()));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Key(key)) = map.next_key()? {
            if key == self.0[0] {
                found = map.next_value_seed(Step(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let wanted = self.0[0].parse::<usize>().ok();
        let (mut found, mut index) = (None, 0);
        loop {
            if Some(index) == wanted {
                match items.next_element_seed(Step(&self.0[1..]))? {
                    Some(value) => found = value,
                    None => return Ok(found),
                }
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            index += 1;
        }
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// The number that a raw value stands for: a JSON number, or a string that holds a bounded one.
/// Numbers of stored documents were bounded at the door, and jsonb may have written them out.
pub fn usable_number(raw: &str) -> Option<Amount> {
    match raw.as_bytes().first()? {
        b'-' | b'0'..=b'9' => Amount::parse(raw),
        b'"' => {
            let text = serde_json::from_str::<Cow<'_, str>>(raw).ok()?;
            number_is_bounded(&text)
                .then(|| Amount::parse(&text))
                .flatten()
        }
        _ => None,
    }
}

/// True where two well-formed documents are the same value, as jsonb compares: 1 = 1.0,
/// "1" ≠ 1, the order of keys is nothing, the last of two equal keys counts.
///
/// Works on raw values, level by level: serde_json's tree gives a meaning of its own to objects
/// with certain keys, and a document of somebody else's may have any key.
pub fn same_value(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim_ascii(), b.trim_ascii());
    if a == b {
        return true;
    }
    match (a.as_bytes().first(), b.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => same_objects(a, b).unwrap_or(false),
        (Some(b'['), Some(b'[')) => same_arrays(a, b).unwrap_or(false),
        (Some(b'"'), Some(b'"')) => {
            let text = |raw| serde_json::from_str::<String>(raw).ok();
            text(a).is_some_and(|a| Some(a) == text(b))
        }
        (Some(b'-' | b'0'..=b'9'), Some(b'-' | b'0'..=b'9')) => {
            Amount::parse(a).is_some_and(|a| Some(a) == Amount::parse(b))
        }
        _ => false,
    }
}

/// A well-formed document as a tree, for those who need one. Level by level, for the reason of
/// [`same_value`]; the last of two equal keys counts.
pub fn tree(raw: &str) -> Option<Value> {
    match raw.trim_ascii_start().as_bytes().first()? {
        b'{' => {
            let members: FxHashMap<String, &RawValue> = read(raw)?;
            let member = |(key, value): (String, &RawValue)| Some((key, tree(value.get())?));
            let members: Option<_> = members.into_iter().map(member).collect();
            members.map(Value::Object)
        }
        b'[' => {
            let items: Vec<&RawValue> = read(raw)?;
            let items: Option<_> = items.into_iter().map(|item| tree(item.get())).collect();
            items.map(Value::Array)
        }
        _ => read(raw),
    }
}

fn same_objects(a: &str, b: &str) -> Option<bool> {
    type Members<'a> = FxHashMap<String, &'a RawValue>;
    let (a, b): (Members<'_>, Members<'_>) = (read(a)?, read(b)?);
    let is_same = |(key, value): (&String, &&RawValue)| {
        b.get(key)
            .is_some_and(|other| same_value(value.get(), other.get()))
    };
    Some(a.len() == b.len() && a.iter().all(is_same))
}

fn same_arrays(a: &str, b: &str) -> Option<bool> {
    let (a, b): (Vec<&RawValue>, Vec<&RawValue>) = (read(a)?, read(b)?);
    let mut pairs = a.iter().zip(&b);
    Some(a.len() == b.len() && pairs.all(|(a, b)| same_value(a.get(), b.get())))
}

fn read<'d, T: Deserialize<'d>>(document: &'d str) -> Option<T> {
    serde_json::from_str(document).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_lone_surrogates_depth_and_numbers_are_found() {
        let nul = vec![Unstorable::Text("NUL")];
        let lone = vec![Unstorable::Text("a lone surrogate")];
        assert_eq!(unstorable(r#"{"a":"\u0000"}"#), nul);
        assert_eq!(unstorable(r#"{"\u0000":1}"#), nul);
        assert_eq!(unstorable(r#"["\ud83d"]"#), lone);
        assert_eq!(unstorable(r#"["\ude00"]"#), lone);
        assert_eq!(unstorable(r#"["\ud83d\ud83d\ude00"]"#), lone);
        assert_eq!(unstorable(r#"["\ud83d\ude00 \\u0000 \" 1e999"]"#), []);
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(unstorable(&nested(64)), []);
        assert_eq!(unstorable(&nested(65)), [Unstorable::TooDeep]);
        assert_eq!(unstorable(&"[".repeat(10_000)), [Unstorable::TooDeep]);
        let number = |literal: &str| Unstorable::Number(literal.to_owned());
        let several = r#"{"a":1e61,"b":"\u0000","c":1e999999999,"d":1e61}"#;
        let expected = [
            number("1e61"),
            Unstorable::Text("NUL"),
            number("1e999999999"),
        ];
        assert_eq!(unstorable(several), expected);
    }

    #[test]
    fn sixty_digits_and_an_exponent_of_sixty_are_the_bound() {
        let sixty = "9".repeat(60);
        for good in [
            &sixty,
            &format!("0.{sixty}"),
            &format!("-{sixty}e60"),
            &format!("{sixty}e-60"),
        ] {
            assert!(number_is_bounded(good), "{good}");
        }
        for bad in [
            &format!("{sixty}9"),
            &format!("1.{sixty}"),
            "1e61",
            "1e-61",
            "01",
            "+1",
            "1.",
        ] {
            assert!(!number_is_bounded(bad), "{bad}");
        }
    }

    #[test]
    fn paths_reach_keys_and_indexes() {
        let document = r#"{"a":{"b":[10,{"c":"x"}],"a/b":2},"n":1.50}"#;
        let at = |path: &str| Path::parse(path).unwrap().find(document);
        assert_eq!(at("n"), Some("1.50"));
        assert_eq!(at("a.b.0"), Some("10"));
        assert_eq!(at("/a/b/1/c"), Some("\"x\""));
        assert_eq!(at("/a/a~1b"), Some("2"));
        assert_eq!(at("n.x"), None);
        assert_eq!(at("a.b.7"), None);
        for wrong in ["a..b", "/a~2b", "/a~", "/~~0"] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Path::parse("/~01").unwrap(), Path(vec!["~1".to_owned()]));
        assert_eq!(Path::parse("a~2b").unwrap().canonical(), "/a~02b");
        assert_eq!(Path::parse("a.b").unwrap().canonical(), "/a/b");
        for (path, short) in [
            ("/a/b", "a.b"),
            ("/a.b", "/a.b"),
            ("/~1a", "/~1a"),
            ("x", "x"),
        ] {
            assert_eq!(Path::parse(path).unwrap().short(), short);
        }
    }

    #[test]
    fn numeric_strings_count_and_other_things_do_not() {
        assert_eq!(usable_number("\"1.50\""), Amount::parse("1.5"));
        assert_eq!(usable_number("-0.5"), Amount::parse("-0.5"));
        for none in [
            "\"1e61\"", "\"abc\"", "\"\"", "true", "null", "[1]", "\" 1\"", "\"NaN\"",
        ] {
            assert_eq!(usable_number(none), None, "{none}");
        }
    }

    #[test]
    fn documents_are_compared_as_jsonb_compares() {
        assert!(same_value(
            r#"{"a":1,"b":[1e2]}"#,
            r#"{ "b": [100.0], "a": 1.0 }"#
        ));
        assert!(same_value(r#"{"a":1,"a":2}"#, r#"{"a":2}"#));
        assert!(!same_value(r#"{"a":1}"#, r#"{"a":"1"}"#));
        assert!(!same_value("[1,2]", "[2,1]"));
        assert!(!same_value("{}", r#"{"a":null}"#));
        assert!(same_value(r#"{"\u0061":"\u00e9"}"#, r#"{"a":"é"}"#));
        assert!(same_value(" [ 1e2 , { } ] ", "[100,{}]"));
    }

    #[test]
    fn keys_that_mean_something_to_the_library_are_keys_like_others() {
        for private in [
            "$serde_json::private::Number",
            "$serde_json::private::RawValue",
        ] {
            let wrapped = |inner: &str| format!(r#"{{"a":{{"{private}":{inner}}}}}"#);
            assert!(!same_value(r#"{"a":1}"#, &wrapped("\"1\"")), "{private}");
            assert!(
                same_value(&wrapped("5"), &format!(" {}", wrapped("5.0"))),
                "{private}"
            );
            assert!(!same_value(&wrapped("5"), &wrapped("\"5\"")), "{private}");
        }
    }
}
