//! Whether something that was sent, and refused, is about somebody.

use serde_json::{Deserializer, Value};

/// Fields of an event, and of a `CloudEvent`, that say whose it is.
const WHOSE: [&str; 2] = ["principal_id", "subject"];

/// Whether a body, of which these are the faults, is about an identifier. An event that can be read says
/// itself whose it is; of what can't be read, or was cut off, any text that may be the identifier counts.
#[must_use]
pub fn is_about(body: &[u8], faults: &str, identifier: &str) -> bool {
    let events: Result<Vec<Value>, _> = Deserializer::from_slice(body).into_iter().collect();
    match events {
        Ok(events) if events.is_empty() => repeats(faults, identifier),
        Ok(events) => events.iter().any(|one| names(one, identifier)),
        Err(_) => mentions(body, identifier),
    }
}

/// Whether an event, or one of several, is somebody's.
fn names(sent: &Value, identifier: &str) -> bool {
    match sent {
        Value::Array(events) => events.iter().any(|one| names(one, identifier)),
        Value::Object(event) => WHOSE
            .iter()
            .any(|field| event.get(*field).and_then(Value::as_str) == Some(identifier)),
        _ => false,
    }
}

/// Whether a body names an identifier: as a whole text in JSON, however it is written there. Of a body
/// that was cut off, a text that the identifier may begin with counts too.
fn mentions(body: &[u8], identifier: &str) -> bool {
    let text = unescaped(&String::from_utf8_lossy(body));
    let quoted = format!("\"{identifier}\"");
    if text.contains(&quoted) {
        return true;
    }
    let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    let ends = (1..=quoted.len()).filter(|end| quoted.is_char_boundary(*end));
    // A quote alone begins anything.
    ends.skip(1).any(|end| text.ends_with(&quoted[..end]))
}

/// Whether a text repeats an identifier, as a word of its own.
fn repeats(text: &str, identifier: &str) -> bool {
    let text = unescaped(text);
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
            r#"{"type":"t"}"#,
            r#"["t"]"#,
        ] {
            assert!(
                !is_about(body.as_bytes(), r#"[{"detail":"t is none"}]"#, "t"),
                "{body}"
            );
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
            assert!(mentions(body.as_bytes(), "ann@x/ä"), "{body}");
        }
        for body in [
            r#"{"principal_id":"joann@x/ä"}"#,
            r#"{"principal_id":"ann@x/ä2"}"#,
            r#"{"note":"of ann@x/ä, who"}"#,
            r#"{"a":"b"#,
            "\"",
            "",
        ] {
            assert!(!mentions(body.as_bytes(), "ann@x/ä"), "{body}");
        }
        assert!(mentions("\"😀\"".as_bytes(), "😀"));
        assert!(mentions(r#""\ud83d\ude00""#.as_bytes(), "😀"));
        assert!(mentions(r#"{"p":"a\"b\\c"}"#.as_bytes(), "a\"b\\c"));
    }
}
