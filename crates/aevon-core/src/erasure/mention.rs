//! Whether something that was sent, and refused, is about somebody.

/// Whether a body names an identifier: as a whole text in JSON, however it is written there. Of a body
/// that was cut off, a text that the identifier may begin with counts too.
#[must_use]
pub fn mentions(body: &[u8], identifier: &str) -> bool {
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

/// Whether a text repeats an identifier, wherever.
#[must_use]
pub fn repeats(text: &str, identifier: &str) -> bool {
    unescaped(text).contains(identifier)
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
