//! One event a line, read as the lines arrive.

use super::{Read, Reading, too_many};
use crate::MAX_BODY_EVENTS;
use crate::http::receive::malformed;
use crate::http::unpack::Sink;
use aevon_core::event::{FaultCode, Refusal};
use aevon_service::problem::Problem;

/// One event a line. Keeps the events and the line that is arriving, never the body.
pub(super) struct Lines<'l> {
    reading: &'l Reading<'l>,
    line: Vec<u8>,
    /// How long the line is that is arriving, as far as it goes; only so much of it is kept as an
    /// event may have.
    line_bytes: usize,
    events: Vec<Read>,
}

impl<'l> Lines<'l> {
    pub(super) fn new(reading: &'l Reading<'l>) -> Self {
        Self {
            reading,
            line: Vec::new(),
            line_bytes: 0,
            events: Vec::new(),
        }
    }

    fn extend(&mut self, part: &[u8]) {
        self.line_bytes += part.len();
        // Room for a carriage return and other blanks behind an event of the largest size.
        let room = (self.reading.receipt.limits.event_bytes + 64).saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// The line has ended; an empty one is none.
    fn end(&mut self) -> Result<(), Problem> {
        let (line, bytes) = (std::mem::take(&mut self.line), self.line_bytes);
        self.line_bytes = 0;
        let text = line.trim_ascii();
        if text.is_empty() && bytes == line.len() {
            self.line = line;
            self.line.clear();
            return Ok(());
        }
        if self.events.len() == MAX_BODY_EVENTS {
            return Err(too_many());
        }
        let event = if bytes > line.len() {
            let limit = self.reading.receipt.limits.event_bytes;
            let detail = format!("has {bytes} bytes; an event may have {limit}");
            let refusal = Refusal::whole(FaultCode::EventTooLarge, detail);
            Err(self.reading.refused(&line, bytes, refusal))
        } else {
            match std::str::from_utf8(text) {
                Ok(text) => self.reading.native(text),
                Err(error) => {
                    let detail = format!("is not UTF-8: {error}");
                    let refusal = Refusal::whole(FaultCode::MalformedBody, detail);
                    Err(self.reading.refused(text, text.len(), refusal))
                }
            }
        };
        self.events.push(event);
        self.line = line;
        self.line.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<Read>, Problem> {
        self.end()?;
        if self.events.is_empty() {
            return Err(malformed("the body is empty".to_owned()));
        }
        Ok(self.events)
    }
}

impl Sink for Lines<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let mut parts = bytes.split(|byte| *byte == b'\n');
        if let Some(first) = parts.next() {
            self.extend(first);
        }
        for part in parts {
            self.end()?;
            self.extend(part);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::http::read::Turns;
    use crate::rejected::Keeping;
    use aevon_core::event::{Limits, Receipt};
    use aevon_core::schema::{SchemaCheck, Schemas};
    use aevon_core::time::Timestamp;
    use aevon_service::problem::Code;
    use std::cell::Cell;

    fn event(id: &str) -> String {
        format!(
            r#"{{"tenant_id":"a","principal_id":"p","id":"{id}","type":"t","data":{{}},
                "occurred_at":"2026-02-11T10:30:00Z"}}"#
        )
        .replace('\n', "")
    }

    /// Hands how events are read to whoever reads some.
    pub(crate) fn with_reading<T>(read: impl FnOnce(&Reading<'_>) -> T) -> T {
        let schemas = Schemas::default();
        let receipt = Receipt {
            at: Timestamp::from_micros(1_800_000_000_000_000),
            tenant: None,
            is_data_optional: false,
            limits: &Limits::default(),
            schemas: &SchemaCheck::new(&schemas),
        };
        read(&Reading {
            receipt,
            keeping: &Keeping::new(),
            turns: &Turns::new(),
            faults_left: Cell::new(usize::MAX),
        })
    }

    /// Events of lines that arrive in chunks of so many bytes.
    pub(crate) fn lines(body: &[u8], chunk: usize) -> Result<Vec<Read>, Problem> {
        with_reading(|reading| {
            let mut lines = Lines::new(reading);
            let mut chunks = body.chunks(chunk);
            chunks.try_for_each(|chunk| lines.take(chunk))?;
            lines.finish()
        })
    }

    fn read_lines(body: &[u8], chunk: usize) -> Result<Vec<Result<String, FaultCode>>, Code> {
        let events = lines(body, chunk).map_err(|problem| problem.code)?;
        let outcome = |event: Read| match event {
            Ok(event) => Ok(event.event_id),
            Err(refused) => Err(refused.refusal.faults[0].code),
        };
        Ok(events.into_iter().map(outcome).collect())
    }

    #[test]
    fn lines_are_read_whatever_the_chunks_and_a_bad_one_is_refused_alone() {
        let large = event(&"x".repeat(300 << 10));
        let body = [
            &event("a"),
            "",
            &format!("  {}\r", event("b")),
            "{\"id\":",
            &large,
            &format!("{} {}", event("c"), event("d")),
            &event("e"),
        ]
        .join("\n");
        let expected = vec![
            Ok("a".to_owned()),
            Ok("b".to_owned()),
            Err(FaultCode::MalformedBody),
            Err(FaultCode::EventTooLarge),
            Err(FaultCode::MalformedBody),
            Ok("e".to_owned()),
        ];
        for chunk in [1 << 20, 1000, 13] {
            assert_eq!(read_lines(body.as_bytes(), chunk), Ok(expected.clone()));
        }
        let not_utf8 = [event("a").as_bytes(), b"\n{\"id\":\"\xff\"}\n"].concat();
        let expected = vec![Ok("a".to_owned()), Err(FaultCode::MalformedBody)];
        assert_eq!(read_lines(&not_utf8, 5), Ok(expected));
    }

    #[test]
    fn no_line_is_no_body_and_too_many_are_refused_whole() {
        assert_eq!(read_lines(b"\n \r\n", 1), Err(Code::MalformedBody));
        let many = "{}\n".repeat(MAX_BODY_EVENTS + 1);
        assert_eq!(read_lines(many.as_bytes(), 4096), Err(Code::TooManyEvents));
        let most = "{}\n".repeat(MAX_BODY_EVENTS);
        assert_eq!(
            read_lines(most.as_bytes(), 4096).map(|e| e.len()),
            Ok(MAX_BODY_EVENTS)
        );
    }
}
