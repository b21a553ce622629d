//! Messages of Postgres' protocol, as far as they tell which statement runs.

use std::collections::HashMap;

/// What a client says: a message with its type, or the first one, which has none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// 0 of the first one.
    pub(super) kind: u8,
    /// All of it, head included.
    pub(super) bytes: Vec<u8>,
}

/// Takes the next whole message from what has arrived.
pub(super) fn next(arrived: &mut Vec<u8>, is_first: bool) -> Option<Message> {
    let head = usize::from(!is_first);
    let length = arrived.get(head..head + 4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize + head;
    if arrived.len() < length {
        return None;
    }
    let rest = arrived.split_off(length);
    let bytes = std::mem::replace(arrived, rest);
    let kind = if is_first { 0 } else { bytes[0] };
    Some(Message { kind, bytes })
}

impl Message {
    /// The texts, each ended by a zero, that its body begins with.
    fn texts(&self, count: usize) -> Vec<&str> {
        let body = self.bytes.get(5..).unwrap_or_default();
        let texts = body.splitn(count + 1, |byte| *byte == 0).take(count);
        texts
            .map(|text| std::str::from_utf8(text).unwrap_or_default())
            .collect()
    }

    /// True where Postgres says that it is ready after it.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.kind, b'Q' | b'S')
    }

    /// A message of the same type with another body.
    fn with_body(&self, body: &[u8]) -> Self {
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        let mut bytes = vec![self.kind];
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        Self {
            kind: self.kind,
            bytes,
        }
    }
}

/// The statements that a connection has prepared, by the names that the client gave them.
#[derive(Debug, Default)]
pub(super) struct Statements(HashMap<String, String>);

impl Statements {
    /// Changes a message where `rewritten` wants it, and says which statement it runs, if it does.
    pub(super) fn read(
        &mut self,
        message: Message,
        rewritten: impl Fn(&str, &str) -> Option<String>,
    ) -> (Message, Option<String>) {
        match message.kind {
            b'Q' => {
                let texts = message.texts(1);
                let text = texts.first().copied().unwrap_or_default();
                let name = name(text);
                let changed = rewritten(&name, text).map(|mut text| {
                    text.push('\0');
                    message.with_body(text.as_bytes())
                });
                (changed.unwrap_or(message), Some(name))
            }
            b'P' => {
                let texts = message.texts(2);
                let [prepared, text] = texts[..] else {
                    return (message, None);
                };
                let name = name(text);
                let rest = &message.bytes[5 + prepared.len() + text.len() + 2..];
                let changed = rewritten(&name, text).map(|text| {
                    let texts = [prepared.as_bytes(), b"\0", text.as_bytes(), b"\0", rest];
                    message.with_body(&texts.concat())
                });
                self.0.insert(prepared.to_owned(), name);
                (changed.unwrap_or(message), None)
            }
            b'B' => {
                let texts = message.texts(2);
                let prepared = texts.get(1).copied().unwrap_or_default();
                let name = self.0.get(prepared).cloned();
                (message, name)
            }
            _ => (message, None),
        }
    }
}

/// What a statement is called: as its first line says, or by its first word.
pub(super) fn name(text: &str) -> String {
    let named = text
        .strip_prefix("-- ")
        .and_then(|rest| rest.split(':').next());
    let word = || text.split_whitespace().next().unwrap_or_default();
    named.unwrap_or_else(word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn messages_come_whole_however_the_bytes_do() {
        let whole = [message(b'Q', b"COMMIT\0"), message(b'S', b"")].concat();
        let mut arrived = Vec::new();
        let mut found = Vec::new();
        for byte in whole {
            arrived.push(byte);
            found.extend(next(&mut arrived, false).map(|message| message.kind));
        }
        assert_eq!((found, arrived.len()), (vec![b'Q', b'S'], 0));
    }

    #[test]
    fn a_prepared_statement_is_known_by_its_name_and_changed_where_it_is_prepared() {
        let mut statements = Statements::default();
        let text = "-- events_insert: rows\nINSERT";
        let body = [b"s1\0", text.as_bytes(), b"\0\0\0"].concat();
        let mut bytes = message(b'P', &body);
        let parse = next(&mut bytes, false).unwrap();
        let (changed, runs) = statements.read(parse, |name, text| {
            (name == "events_insert").then(|| text.replace("INSERT", "SELECT"))
        });
        assert_eq!(runs, None);
        assert_eq!(changed.texts(2), ["s1", "-- events_insert: rows\nSELECT"]);
        assert!(changed.bytes.ends_with(b"SELECT\0\0\0"));
        let mut bytes = message(b'B', b"\0s1\0\0\0");
        let bind = next(&mut bytes, false).unwrap();
        let (_, runs) = statements.read(bind, |_, _| None);
        assert_eq!(runs.as_deref(), Some("events_insert"));
    }
}
