//! Whether something that was sent, and refused, is about somebody.
//!
//! Invariant: what can't be told is about whoever it mentions. Losing a refusal of somebody else's costs
//! little; keeping one of who was erased breaks a promise.

use crate::identity;
use crate::json::Key;
use percent_encoding::percent_decode_str;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;
use std::fmt;

/// The field of an event that says whose it is.
const PRINCIPAL: &str = "principal_id";
/// That of a `CloudEvent`, and the one by which such an event is told.
const SUBJECT: &str = "subject";
const SPECVERSION: &str = "specversion";

/// Whether a body, of which these are the faults, is about an identifier. An event of which one owner can
/// be read says itself whose it is; of what names none, or several, or can't be read, or was cut off, any
/// text that may be the identifier counts.
#[must_use]
pub fn is_about(body: &[u8], faults: &str, identifier: &str) -> bool {
    let sent: Result<Vec<&RawValue>, _> = Deserializer::from_slice(body).into_iter().collect();
    match sent {
        Ok(sent) if sent.is_empty() => repeats(faults, identifier),
        Ok(sent) => sent
            .iter()
            .flat_map(|one| events(one.get()))
            .any(|event| match owner(event) {
                Some(owner) => owner == identifier,
                None => mentions(event, identifier) || mentions(faults, identifier),
            }),
        // No JSON, or cut off: any word of it, however it may have been meant.
        Err(_) => {
            let mut texts = readings(body).into_iter();
            let is_in_text =
                |text: String| mentions(&text, identifier) || repeats(&text, identifier);
            texts.any(is_in_text) || mentions(faults, identifier)
        }
    }
}

/// What bytes may say that are not JSON: text, of one byte a character or two, or of an address or a form.
fn readings(body: &[u8]) -> Vec<String> {
    let plain = String::from_utf8_lossy(body).replace('\0', "");
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (address, form) = (decoded(&plain), decoded(&plain.replace('+', " ")));
    let latin = body.iter().filter(|byte| **byte != 0);
    let latin: String = latin.map(|byte| char::from(*byte)).collect();
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = body.as_chunks().0.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16_lossy(&units)
    };
    let mut readings = vec![plain, address, form, latin];
    if body.contains(&0) {
        readings.extend([wide(u16::from_le_bytes), wide(u16::from_be_bytes)]);
    }
    readings
}

/// The items of an array; anything else as it is.
fn events(sent: &str) -> Vec<&str> {
    let items = serde_json::from_str::<Vec<&RawValue>>(sent);
    items.map_or_else(
        |_| vec![sent],
        |items| items.into_iter().map(RawValue::get).collect(),
    )
}

/// Whose an event is: none, unless it says so once, in the field that its format has for it, by a text
/// that can be an identifier.
fn owner(event: &str) -> Option<String> {
    let fields = Deserializer::from_str(event).deserialize_map(Fields::default());
    let Fields {
        owners,
        is_cloud_event,
    } = fields.ok()?;
    let [(field, raw)] = owners.as_slice() else {
        return None;
    };
    let owner: String = serde_json::from_str(raw).ok()?;
    let is_its_field = (*field == SUBJECT) == is_cloud_event;
    (is_its_field && identity::check(&owner).is_ok()).then_some(owner)
}

/// What an event has in fields that may say whose it is.
#[derive(Default)]
struct Fields<'e> {
    owners: Vec<(&'static str, &'e str)>,
    is_cloud_event: bool,
}

impl<'de> Visitor<'de> for Fields<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let value = map.next_value::<&'de RawValue>()?.get();
            self.is_cloud_event |= key == SPECVERSION;
            let field = [PRINCIPAL, SUBJECT].into_iter().find(|field| *field == key);
            // Null is as good as absent.
            let field = field.filter(|_| value != "null");
            self.owners.extend(field.map(|field| (field, value)));
        }
        Ok(self)
    }
}

/// Whether a text names an identifier: as a whole text in JSON, a value or a key, however it is written
/// there, or as a number. Of what was cut off, a text that the identifier may begin with counts too.
fn mentions(text: &str, identifier: &str) -> bool {
    // An identifier holds no control characters.
    let text = unescaped(text).replace('\0', "");
    let quoted = format!("\"{identifier}\"");
    if text.contains(&quoted) || is_number(identifier) && has_number(&text, identifier) {
        return true;
    }
    let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    let ends = (1..=quoted.len()).filter(|end| quoted.is_char_boundary(*end));
    // A quote alone begins anything.
    ends.skip(1).any(|end| text.ends_with(&quoted[..end]))
}

/// Whether JSON may have an identifier without quotes.
fn is_number(identifier: &str) -> bool {
    identifier.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a number stands in JSON without quotes.
fn has_number(text: &str, number: &str) -> bool {
    let is_edge = |next: Option<char>| {
        next.is_none_or(|next| next.is_ascii_whitespace() || ":,[]{}".contains(next))
    };
    text.match_indices(number).any(|(at, found)| {
        let behind = &text[at + found.len()..];
        is_edge(text[..at].chars().next_back()) && is_edge(behind.chars().next())
    })
}

/// Whether a text repeats an identifier, as a word of its own.
#[must_use]
pub fn repeats(text: &str, identifier: &str) -> bool {
    has_word(&unescaped(text), identifier)
}

/// Whether a text has an identifier in it, as a word of its own.
pub(super) fn has_word(text: &str, identifier: &str) -> bool {
    let is_part = |next: Option<char>| next.is_some_and(char::is_alphanumeric);
    text.match_indices(identifier).any(|(at, found)| {
        let behind = &text[at + found.len()..];
        !is_part(text[..at].chars().next_back()) && !is_part(behind.chars().next())
    })
}

/// A text in which no character is escaped but those that can't be read.
fn unescaped(text: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            units.extend(character.encode_utf16(&mut [0; 2]).iter());
            continue;
        }
        match rest.next() {
            Some('u') => {
                let digits: String = rest.clone().take(4).collect();
                match u16::from_str_radix(&digits, 16) {
                    Ok(unit) if digits.len() == 4 => {
                        units.push(unit);
                        rest.nth(3);
                    }
                    _ => {}
                }
            }
            Some(plain @ ('"' | '\\' | '/')) => {
                units.extend(plain.encode_utf16(&mut [0; 2]).iter());
            }
            // An identifier holds no control characters.
            Some(_) | None => units.push(u16::from(b' ')),
        }
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_can_be_read_says_whose_it_is() {
        for body in [
            r#"{"principal_id":"t","type":"x"}"#,
            r#"{"specversion":"1.0","subject":"\u0074"}"#,
            r#"[{"principal_id":"b"},{"principal_id":"t"}]"#,
            "{\"principal_id\":\"b\"}\n{\"principal_id\":\"t\"}\n",
        ] {
            assert!(is_about(body.as_bytes(), "[]", "t"), "{body}");
        }
        for body in [
            r#"{"principal_id":"b","type":"t","data":{"principal_id":"t"}}"#,
            r#"{"principal_id":"b","subject":null,"type":"t"}"#,
            r#"{"specversion":"1.0","subject":"b","type":"t","principalid":"t"}"#,
            r#"[{"principal_id":"b","id":"t"},{"principal_id":"c","id":"t"}]"#,
            "[]",
        ] {
            let faults = r#"[{"detail":"\"t\" is none"}]"#;
            assert!(!is_about(body.as_bytes(), faults, "t"), "{body}");
        }
        assert!(is_about(br#"{"type":"t", and no JSON"#, "[]", "t"));
        assert!(is_about(b"", r#"[{"detail":"\"t\" is none"}]"#, "t"));
        assert!(!is_about(
            b"",
            r#"[{"detail":"this is not about it"}]"#,
            "t"
        ));
    }

    #[test]
    fn an_event_without_one_readable_owner_is_about_whom_it_mentions() {
        let deep = format!("{}\"12\"{}", "[".repeat(100_000), "]".repeat(100_000));
        for body in [
            r#"{"principalId":"12","type":"x"}"#,
            r#"{"principal_id":["12"]}"#,
            r#"{"principal_id":{"id":"\u0031\u0032"}}"#,
            r#"{"principal_id":{"12":true}}"#,
            r#"{"principal_id":12}"#,
            r#"{"principal_id": 12, "type": "x"}"#,
            r#"{"principal_id":"12","principal_id":"b"}"#,
            r#"{"principal_id":"b","principal_id":"12"}"#,
            r#"{"principal_id":"b","subject":"c","of":"12"}"#,
            // The field of the other format says nothing.
            r#"{"subject":"b","principalId":"12"}"#,
            r#"{"specversion":"1.0","principal_id":"b","subjekt":"12"}"#,
            r#"{"principal_id":"","user":"12"}"#,
            r#"{"principal_id":"\u0000","user":"12"}"#,
            r#"{"principal_id":null,"data":{"12":1}}"#,
            r#"{"type":"12"}"#,
            r#"["12"]"#,
            r#"[{"principal_id":"b"},{"principalId":"12"}]"#,
            "{\"principal_id\":\"b\"}\n{\"of\":\"12\"}",
            &deep,
        ] {
            assert!(is_about(body.as_bytes(), "[]", "12"), "{body}");
        }
        for body in [
            r#"{"principalId":"b","n":120,"at":"12:00","of":"no. 12"}"#,
            r#"{"principal_id":["b"],"n":[1.12,-12]}"#,
            r#"[{"principal_id":"b","n":12},{"principalId":"c"}]"#,
        ] {
            assert!(!is_about(body.as_bytes(), "[]", "12"), "{body}");
        }
        // What is no JSON says it in its own way, and may be taken for more than it says.
        let wide: Vec<u8> = "{\"subject\":\"a@ä\"}"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        for body in [
            "{'principal_id':'a@ä','type':'call'}".as_bytes(),
            "principal_id: a@ä\ntype: call".as_bytes(),
            b"principal_id=a%40%C3%A4&type=call",
            "a@ä,call,5".as_bytes(),
            "<e><principal>a@ä</principal></e>".as_bytes(),
            r#"{"principal_id":"a@ä\u0000"}"#.as_bytes(),
        ] {
            assert!(
                is_about(body, "[]", "a@ä"),
                "{}",
                String::from_utf8_lossy(body)
            );
            assert!(
                !is_about(body, "[]", "a@"),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
        assert!(is_about(&wide, "[]", "a@ä") && !is_about(&wide, "[]", "b"));
        assert!(is_about(b"of=ann+lee&type=call", "[]", "ann lee"));
        assert!(is_about(b"{\"principal_id\":\"a@\xe4\"}", "[]", "a@\u{e4}"));
        // What was cut off may be repeated.
        let faults = r#"[{"field":"12","detail":"is no field of an event"}]"#;
        assert!(is_about(br#"{"type":"x"}"#, faults, "12"));
    }

    #[test]
    fn a_text_that_repeats_an_identifier_is_found() {
        assert!(repeats(r#"{"detail":"ann\u0040x is none"}"#, "ann@x"));
        assert!(!repeats(r#"{"detail":"bob"}"#, "ann@x"));
    }

    #[test]
    fn an_identifier_is_found_however_it_is_written() {
        for body in [
            r#"{"principal_id":"ann@x/ä","id":7}"#,
            r#"{"principal_id": "ann\u0040x\/\u00e4""#,
            r#"[{"subject":"ANN"},{"subject":"\u0061nn@x/ä"}] and no JSON"#,
            r#"{"a":{"b":["ann@x/ä"]}}"#,
            r#"{"id":7,"principal_id":"ann@"#,
            "{\"id\":7,\"principal_id\":\"ann@x/\u{FFFD}",
            "{\"x\":\"\u{FFFD}\",\"p\":\"ann@x/ä\"}",
        ] {
            assert!(mentions(body, "ann@x/ä"), "{body}");
        }
        for body in [
            r#"{"principal_id":"joann@x/ä"}"#,
            r#"{"principal_id":"ann@x/ä2"}"#,
            r#"{"note":"of ann@x/ä, who"}"#,
            r#"{"a":"b"#,
            "\"",
            "",
        ] {
            assert!(!mentions(body, "ann@x/ä"), "{body}");
        }
        assert!(mentions("\"😀\"", "😀"));
        assert!(mentions(r#""\ud83d\ude00""#, "😀"));
        assert!(mentions(r#"{"p":"a\"b\\c"}"#, "a\"b\\c"));
    }
}
