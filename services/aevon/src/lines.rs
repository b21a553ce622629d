//! Files of lines, and how far one is.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, BufRead, BufReader, Read};

/// Longest line: an event of 256 KiB whose documents Postgres has written out, and more.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// The lines of a file, one after the other.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    number: u64,
    bytes: u64,
}

impl<R: Read> Lines<R> {
    /// From the beginning.
    pub(crate) fn new(file: R) -> Self {
        Self {
            reader: BufReader::with_capacity(1024 * 1024, file),
            number: 0,
            bytes: 0,
        }
    }

    /// The number of the last line, from 1.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Bytes up to the end of the last whole line.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line, without its end; none where there is no more, or none that has an end.
    pub(crate) fn next_whole(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(MAX_LINE_BYTES);
        bounded.read_until(b'\n', &mut line)?;
        let bytes = line.len() as u64;
        if line.pop_if(|last| *last == b'\n').is_none() {
            if bytes == MAX_LINE_BYTES {
                let says = format!("line {} has no end", self.number + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, says));
            }
            return Ok(None);
        }
        self.number += 1;
        self.bytes += bytes;
        let number = self.number;
        let not_utf8 = |_| {
            let says = format!("line {number} is no UTF-8");
            io::Error::new(io::ErrorKind::InvalidData, says)
        };
        String::from_utf8(line).map(Some).map_err(not_utf8)
    }
}

/// Shown on a terminal only.
pub(crate) fn bar(events: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} events, {eta} left");
    ProgressBar::new(events).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
