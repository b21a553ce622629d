//! The lines of a file, read by a thread of its own: whoever waits for one can be asked to end.

use std::io::{self, BufRead, Read};
use tokio::sync::mpsc;

/// Longest line: an event of 256 KiB, and spaces.
const MAX_BYTES: u64 = 4 << 20;
/// Lines that wait to be taken.
const AHEAD: usize = 64;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(String),
    Empty,
    /// Why it can't be read.
    Unreadable(&'static str),
}

/// The lines, as they are taken; an error is the last of them.
pub(super) fn of(reader: impl BufRead + Send + 'static) -> mpsc::Receiver<io::Result<Line>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    // Not one of the runtime's: it may wait for its input for ever, and the process ends all the same.
    std::thread::spawn(move || {
        let mut reader = reader;
        while let Some(line) = next(&mut reader).transpose() {
            let is_last = line.is_err();
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

fn next(reader: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let read = reader.take(MAX_BYTES).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if read as u64 == MAX_BYTES && !line.ends_with(b"\n") {
        reader.skip_until(b'\n')?;
        return Ok(Some(Line::Unreadable("is longer than 4 MiB")));
    }
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(Some(Line::Empty));
    }
    let text = String::from_utf8(line);
    Ok(Some(text.map_or(
        Line::Unreadable("is not UTF-8; a compressed file goes through zcat first"),
        Line::Text,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_that_can_t_be_read_is_one_line_and_the_next_is_the_next() {
        let mut file = b"{}\n\n \n\xff\xfe\n".to_vec();
        file.resize(file.len() + 5 * (1 << 20), b'x');
        file.extend(b"\n{\"a\":1}");
        let mut reader = file.as_slice();
        let mut found = Vec::new();
        while let Some(line) = next(&mut reader).unwrap() {
            found.push(line);
        }
        let unreadable = |line: &Line| matches!(line, Line::Unreadable(_));
        assert_eq!(found[0], Line::Text("{}\n".to_owned()));
        assert_eq!(found[1..3], [Line::Empty, Line::Empty]);
        assert!(found[3..5].iter().all(unreadable), "{:?}", found[3]);
        assert_eq!(found[5..], [Line::Text("{\"a\":1}".to_owned())]);
    }

    proptest! {
        #[test]
        fn every_line_is_taken_once_and_in_its_place(
            lines in prop::collection::vec(
                prop_oneof![
                    "[ -~]{0,20}".prop_map(String::into_bytes),
                    prop::collection::vec(any::<u8>().prop_filter("no end", |byte| *byte != b'\n'), 0..20),
                ],
                0..10,
            ),
            is_ended in any::<bool>(),
        ) {
            let mut file = lines.join(&b'\n');
            let is_last_empty = lines.last().is_none_or(Vec::is_empty);
            if is_ended && !lines.is_empty() {
                file.push(b'\n');
            }
            let mut reader = file.as_slice();
            let mut found = Vec::new();
            while let Some(line) = next(&mut reader).unwrap() {
                found.push(line);
            }
            // Behind the last end of a line there is none.
            let expected = match is_last_empty && !is_ended {
                true => &lines[..lines.len().saturating_sub(1)],
                false => &lines[..],
            };
            prop_assert_eq!(found.len(), expected.len());
            for (found, line) in found.iter().zip(expected) {
                match found {
                    Line::Text(text) => prop_assert_eq!(text.trim_end_matches('\n').as_bytes(), &line[..]),
                    Line::Empty => prop_assert!(line.iter().all(u8::is_ascii_whitespace)),
                    Line::Unreadable(_) => prop_assert!(str::from_utf8(line).is_err()),
                }
            }
        }
    }
}
