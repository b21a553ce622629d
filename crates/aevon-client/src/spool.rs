//! The spool: events that could not be delivered, in files, in order.
//!
//! A folder has `lock`, segments (`00000000000000000001.spool`, …), oldest first, and `refused.ndjson`, what
//! was refused of the spool when it was delivered at last. A segment is a row of records, a record a body:
//!
//! ```text
//! aevon-spool 1 <events> <bytes> <first 8 bytes of the SHA-256, in hexadecimal>
//! {"id":"e1",…}
//! {"id":"e2",…}
//! ```
//!
//! Invariant: a record is synced before anybody hears that it is spooled, and before the next one begins:
//! what a crash or a full disk leaves is a torn record at the end of a segment, of which nobody has heard.
//! Invariant: whatever else can't be read is damage, or of another version: it is reported, never skipped,
//! and the file is left as it is.
//! Retry safety: how far it was delivered is not written down: what a segment still has is sent again
//! under the same ids.

use crate::error::Error;
use crate::event::{Written, hex};
use crate::outcome::Outcome;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MARK: &str = "aevon-spool 1 ";
const ENDING: &str = "spool";
/// The file of a spool's folder that has what was refused when it was delivered at last: lines of JSON,
/// each with `code`, `detail` and `event`.
pub const REFUSED: &str = "refused.ndjson";
/// When the next segment begins: what is delivered frees its space in such steps.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Longest first line of a record.
const MAX_HEAD_BYTES: u64 = 100;
/// Most bytes of a record: a body has less.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// A folder of segments, of this process alone.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    /// Held as long as the spool is.
    _lock: File,
    max_bytes: u64,
    segments: VecDeque<Segment>,
    next_number: u64,
    /// The newest segment, where records are appended to.
    writer: Option<File>,
    /// How far the oldest segment was delivered.
    offset: u64,
    waiting: u64,
    refused_bytes: u64,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    bytes: u64,
}

/// The body that is delivered next.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) lines: Vec<Written>,
    bytes: u64,
}

impl Spool {
    /// Opens a folder, made where there is none.
    pub(crate) fn open(folder: &Path, max_bytes: u64) -> Result<Self, Error> {
        let wrong = |error: io::Error| failed(folder, &error);
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false);
        let lock = lock.open(folder.join("lock")).map_err(wrong)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                Error::Spool(format!("{} is used by another process", folder.display()))
            }
            TryLockError::Error(error) => wrong(error),
        })?;
        let refused = std::fs::metadata(folder.join(REFUSED));
        let mut spool = Self {
            folder: folder.to_owned(),
            _lock: lock,
            max_bytes,
            segments: VecDeque::new(),
            next_number: 1,
            writer: None,
            offset: 0,
            waiting: 0,
            refused_bytes: refused.map_or(0, |file| file.len()),
        };
        spool.find_segments()?;
        Ok(spool)
    }

    fn find_segments(&mut self) -> Result<(), Error> {
        let wrong = |error: io::Error| failed(&self.folder, &error);
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            let is_segment = path.extension().is_some_and(|ending| ending == ENDING);
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let number = stem.and_then(|stem| stem.parse::<u64>().ok());
            if let (true, Some(number)) = (is_segment, number) {
                numbers.push((number, path));
            }
        }
        numbers.sort();
        for (number, path) in numbers {
            let found = check(&path)?;
            self.next_number = self.next_number.max(number + 1);
            self.waiting += found.events;
            let bytes = found.bytes;
            match bytes {
                0 => std::fs::remove_file(&path).map_err(|error| failed(&path, &error))?,
                _ => self.segments.push_back(Segment { path, bytes }),
            }
        }
        Ok(())
    }

    pub(crate) fn size(&self) -> Size {
        let bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        Size {
            events: self.waiting,
            bytes: bytes + self.refused_bytes,
        }
    }

    /// Writes a body behind all others, synced.
    ///
    /// # Errors
    /// [`Error::Full`] where there is no room.
    pub(crate) fn append(&mut self, lines: &[Written]) -> Result<(), Error> {
        let record = record_of(lines);
        if self.size().bytes + record.len() as u64 > self.max_bytes {
            return Err(Error::Full);
        }
        let newest = self
            .segments
            .back()
            .map_or(u64::MAX, |segment| segment.bytes);
        let (mut file, is_new) = match self.writer.take() {
            Some(file) if newest < SEGMENT_BYTES => (file, false),
            _ => (self.new_segment()?, true),
        };
        let Some(segment) = self.segments.back_mut() else {
            return Err(Error::Spool("has no segment".to_owned()));
        };
        let written = file.write_all(&record).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // What was written in part is cut off; where even that fails, the next segment takes over.
            let cut = file.set_len(segment.bytes);
            let cut = cut.and_then(|()| file.seek(SeekFrom::Start(segment.bytes)));
            if cut.is_ok() && file.sync_data().is_ok() {
                self.writer = Some(file);
            }
            return Err(failed(&segment.path, &error));
        }
        segment.bytes += record.len() as u64;
        self.writer = Some(file);
        self.waiting += lines.len() as u64;
        if is_new {
            sync_folder(&self.folder)?;
        }
        Ok(())
    }

    fn new_segment(&mut self) -> Result<File, Error> {
        let path = self
            .folder
            .join(format!("{:020}.{ENDING}", self.next_number));
        let file = File::create_new(&path).map_err(|error| failed(&path, &error))?;
        self.next_number += 1;
        self.segments.push_back(Segment { path, bytes: 0 });
        Ok(file)
    }

    /// The oldest body; none where there is no more.
    pub(crate) fn first(&mut self) -> Result<Option<Record>, Error> {
        loop {
            let Some(segment) = self.segments.front() else {
                return Ok(None);
            };
            if self.offset < segment.bytes {
                let wrong = |error: io::Error| failed(&segment.path, &error);
                let mut file = File::open(&segment.path).map_err(wrong)?;
                file.seek(SeekFrom::Start(self.offset)).map_err(wrong)?;
                let record = read_record(&mut BufReader::new(file)).map_err(wrong)?;
                let damaged = || Error::Spool(damage(&segment.path, self.offset));
                return record.map(Some).ok_or_else(damaged);
            }
            if self.segments.len() == 1 {
                self.writer = None;
            }
            std::fs::remove_file(&segment.path).map_err(|error| failed(&segment.path, &error))?;
            self.segments.pop_front();
            self.offset = 0;
        }
    }

    /// The oldest body is delivered.
    pub(crate) fn advance(&mut self, record: &Record) -> Result<(), Error> {
        self.offset += record.bytes;
        self.waiting = self.waiting.saturating_sub(record.lines.len() as u64);
        // What is delivered whole goes away.
        self.first().map(|_| ())
    }

    /// Keeps what was refused of a body, and why, for people to look at.
    pub(crate) fn note_refused(
        &mut self,
        lines: &[Written],
        outcomes: &[Outcome],
    ) -> Result<(), Error> {
        let mut text = String::new();
        for (written, outcome) in lines.iter().zip(outcomes) {
            if let Some(refusal) = outcome.refusal() {
                let event = serde_json::from_str(&written.line).unwrap_or(Value::Null);
                let why = refusal.to_string();
                let line = json!({"code": refusal.code, "detail": why, "event": event});
                text.push_str(&line.to_string());
                text.push('\n');
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        let path = self.folder.join(REFUSED);
        let wrong = |error: io::Error| failed(&path, &error);
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create(true)
            .open(&path)
            .map_err(wrong)?;
        file.write_all(text.as_bytes()).map_err(wrong)?;
        file.sync_data().map_err(wrong)?;
        self.refused_bytes += text.len() as u64;
        sync_folder(&self.folder)
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::Spool(format!("{}: {error}", path.display()))
}

fn damage(path: &Path, offset: u64) -> String {
    format!(
        "{} is damaged at byte {offset}, or of another version of Aevon: move the file away to go on \
         without what it holds",
        path.display()
    )
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed(folder, &error))
}

fn digest(body: &[u8]) -> String {
    hex(&Sha256::digest(body)[..8])
}

fn record_of(lines: &[Written]) -> Vec<u8> {
    let body: String = lines.iter().map(|written| written.line.as_str()).collect();
    let (events, bytes, digest) = (lines.len(), body.len(), digest(body.as_bytes()));
    format!("{MARK}{events} {bytes} {digest}\n{body}").into_bytes()
}

/// The record that begins here; none where it is not whole.
fn read_record(reader: &mut impl BufRead) -> io::Result<Option<Record>> {
    let mut head = Vec::new();
    reader.take(MAX_HEAD_BYTES).read_until(b'\n', &mut head)?;
    let Some((events, bytes, wanted)) = parse_head(&head) else {
        return Ok(None);
    };
    let mut body = Vec::new();
    reader.take(bytes).read_to_end(&mut body)?;
    if body.len() as u64 != bytes || digest(&body) != wanted {
        return Ok(None);
    }
    let Ok(body) = String::from_utf8(body) else {
        return Ok(None);
    };
    let lines = body.split_inclusive('\n').map(|line| Written {
        id: String::new(),
        line: line.to_owned(),
    });
    let lines: Vec<Written> = lines.collect();
    let bytes = bytes + head.len() as u64;
    Ok((lines.len() == events).then_some(Record { lines, bytes }))
}

fn parse_head(head: &[u8]) -> Option<(usize, u64, &str)> {
    let head = std::str::from_utf8(head).ok()?;
    let mut parts = head.strip_prefix(MARK)?.strip_suffix('\n')?.split(' ');
    let events = parts.next()?.parse().ok()?;
    let bytes = parts.next()?.parse().ok()?;
    let digest = parts.next()?;
    (bytes <= MAX_RECORD_BYTES && parts.next().is_none()).then_some((events, bytes, digest))
}

/// Reads a segment through, and cuts off what is broken at its end.
fn check(path: &Path) -> Result<Size, Error> {
    let wrong = |error: io::Error| failed(path, &error);
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(wrong)?;
    let length = file.metadata().map_err(wrong)?.len();
    let mut reader = BufReader::new(&file);
    let mut found = Size::default();
    while found.bytes < length {
        match read_record(&mut reader).map_err(wrong)? {
            Some(record) => {
                found.events += record.lines.len() as u64;
                found.bytes += record.bytes;
            }
            None if is_followed(&file, found.bytes).map_err(wrong)?
                || !is_torn(&file, found.bytes).map_err(wrong)? =>
            {
                return Err(Error::Spool(damage(path, found.bytes)));
            }
            None => {
                file.set_len(found.bytes).map_err(wrong)?;
                file.sync_data().map_err(wrong)?;
                break;
            }
        }
    }
    Ok(found)
}

/// Whether what is left of a segment is the beginning of a record, as far as it came to the disk: shorter
/// than its first line says, and with fewer lines, or filled up with zeros.
fn is_torn(mut file: &File, offset: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(offset))?;
    let mut rest = Vec::new();
    let most = MAX_HEAD_BYTES + MAX_RECORD_BYTES;
    file.take(most).read_to_end(&mut rest)?;
    if rest.ends_with(&[0]) {
        return Ok(true);
    }
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        let begun = rest.len().min(MARK.len());
        return Ok(rest[..begun] == MARK.as_bytes()[..begun]);
    };
    let (head, body) = rest.split_at(end + 1);
    let lines = body.iter().filter(|byte| **byte == b'\n').count();
    Ok(parse_head(head)
        .is_some_and(|(events, bytes, _)| (body.len() as u64) < bytes && lines < events))
}

/// Whether a whole record begins somewhere behind a broken one.
fn is_followed(mut file: &File, offset: u64) -> io::Result<bool> {
    let mut at = offset;
    loop {
        file.seek(SeekFrom::Start(at))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let skipped = (&mut reader)
            .take(MAX_RECORD_BYTES)
            .read_until(b'\n', &mut line)?;
        if skipped == 0 {
            return Ok(false);
        }
        at += skipped as u64;
        file.seek(SeekFrom::Start(at))?;
        if read_record(&mut BufReader::new(file))?.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
