//! Load over HTTP: connections that each send one request after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::figures::OwnTime;
use crate::http::Connection;
use crate::tally::{Span, Tally, Window};
use crate::workload::{Numbers, Requests};

/// What came back from a run of writes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    /// Events that were accepted, and the latencies of all requests.
    pub(crate) tally: Tally,
    /// Sum of the tokens of the events that were accepted.
    pub(crate) tokens: u64,
    /// How often each status came.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Requests that got no answer; what became of them is not known.
    pub(crate) broken: u64,
    /// Answers that accepted a part of their body: the sum of tokens is then not known.
    pub(crate) partial: u64,
    /// Events that were sent for the first time.
    pub(crate) distinct: u64,
    /// The share of one processor that this process took.
    pub(crate) generator: f64,
}

impl Load {
    pub(crate) fn merge(&mut self, other: Self) {
        self.tally.merge(other.tally);
        self.tokens += other.tokens;
        self.broken += other.broken;
        self.partial += other.partial;
        self.distinct += other.distinct;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    /// How many requests were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.broken
    }

    /// Whether everything that was stored was also accepted: what got no answer, or 503, may have
    /// been stored.
    pub(crate) fn is_certain(&self) -> bool {
        self.broken == 0 && self.statuses.keys().all(|status| *status < 500)
    }

    /// Answers that are no success, which may be quick, and requests that got none.
    pub(crate) fn failures(&self) -> u64 {
        let failed = self.statuses.iter().filter(|(status, _)| **status >= 300);
        failed.map(|(_, count)| count).sum::<u64>() + self.broken
    }

    /// `202: 1000, 503: 2`.
    pub(crate) fn statuses(&self) -> String {
        let mut list: Vec<String> = self
            .statuses
            .iter()
            .map(|(status, count)| format!("{status}: {count}"))
            .collect();
        if self.broken > 0 {
            list.push(format!("no answer: {}", self.broken));
        }
        list.join(", ")
    }
}

/// Which events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Each once.
    Once,
    /// Half of them once more, over another connection, at about the same time.
    HalfTwice,
}

/// Sends bodies of `per_body` events to an ingest service.
pub(crate) async fn write(
    port: u16,
    connections: u64,
    per_body: u64,
    sent: Sent,
    span: Span,
    numbers: &Numbers,
) -> Result<(Load, Window)> {
    let mut writers = Vec::new();
    for number in 0..connections {
        writers.push(Writer::open(port, number, per_body, numbers).await?);
    }
    if sent == Sent::HalfTwice {
        let boxes: Vec<Postbox> = writers.iter().map(|_| Postbox::default()).collect();
        let next = boxes.iter().cycle().skip(1);
        for ((writer, own), next) in writers.iter_mut().zip(&boxes).zip(next) {
            writer.repeats = Some((own.clone(), next.clone()));
        }
    }
    let own = OwnTime::begin();
    let window = Window::open(span);
    let mut tasks = JoinSet::new();
    for mut writer in writers {
        tasks.spawn(async move {
            while !window.is_over() && writer.send(&window, Instant::now()).await {}
            Ok(writer.load)
        });
    }
    let mut load = join(tasks, window).await?;
    load.generator = own.share();
    Ok((load, window))
}

/// Requests that a connection is to repeat.
type Postbox = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// A connection that events are sent over.
#[derive(Debug)]
pub(crate) struct Writer {
    connection: Connection,
    port: u16,
    requests: Requests,
    per_body: u64,
    /// What is to be repeated here, and on the next connection.
    repeats: Option<(Postbox, Postbox)>,
    pub(crate) load: Load,
}

impl Writer {
    pub(crate) async fn open(
        port: u16,
        number: u64,
        per_body: u64,
        numbers: &Numbers,
    ) -> Result<Self> {
        let opening = Connection::open(port).await;
        Ok(Self {
            connection: opening.context("cannot reach ingest-svc")?,
            port,
            requests: Requests::new(per_body, number, numbers),
            per_body,
            repeats: None,
            load: Load::default(),
        })
    }

    /// Sends the next request, which was due at `began`, and counts its answer; false where the service
    /// can't be reached any more.
    pub(crate) async fn send(&mut self, window: &Window, began: Instant) -> bool {
        let load = &mut self.load;
        let open = |postbox: &Postbox| {
            postbox
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front()
        };
        let repeated = self.repeats.as_ref().and_then(|(own, _)| open(own));
        let (sent, tokens) = if let Some(request) = &repeated {
            (self.connection.send(request).await, 0)
        } else {
            let (request, tokens) = self.requests.next();
            load.distinct += self.per_body;
            if let Some((_, next)) = &self.repeats
                && load.distinct.is_multiple_of(2)
            {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                next.push_back(request.to_vec());
            }
            (self.connection.send(request).await, tokens)
        };
        let Ok(status) = sent else {
            load.broken += 1;
            let opened = Connection::open(self.port).await;
            return opened.map(|opened| self.connection = opened).is_ok();
        };
        *load.statuses.entry(status).or_default() += 1;
        let accepted = match (status, self.per_body) {
            (202, 1) => 1,
            // Stored before, over another connection: what is counted is an answered request.
            (200, 1) if self.repeats.is_some() => 1,
            (200..=299, 2..) => accepted(self.connection.body()),
            _ => 0,
        };
        if accepted == self.per_body {
            load.tokens += tokens;
        } else if accepted > 0 {
            load.partial += 1;
        }
        load.tally.count(window, began, accepted);
        true
    }
}

/// Sends GETs in turn, each connection beginning with another one; counts answers of 200.
pub(crate) async fn read(
    port: u16,
    connections: u64,
    requests: &[Vec<u8>],
    span: Span,
) -> Result<(Load, Window)> {
    let own = OwnTime::begin();
    let window = Window::open(span);
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let mut reader = Reader::open(port, number, connections, requests).await?;
        tasks.spawn(async move {
            while !window.is_over() {
                reader.send(&window, Instant::now()).await?;
            }
            Ok(reader.load)
        });
    }
    let mut load = join(tasks, window).await?;
    load.generator = own.share();
    Ok((load, window))
}

/// A connection that state is read over.
#[derive(Debug)]
pub(crate) struct Reader {
    connection: Connection,
    requests: Vec<Vec<u8>>,
    turn: usize,
    pub(crate) load: Load,
}

impl Reader {
    /// One of so many, which begin with different requests.
    pub(crate) async fn open(
        port: u16,
        number: u64,
        connections: u64,
        requests: &[Vec<u8>],
    ) -> Result<Self> {
        let opening = Connection::open(port).await;
        Ok(Self {
            connection: opening.context("cannot reach projection-svc")?,
            requests: requests.to_vec(),
            turn: requests.len() * usize::try_from(number)? / usize::try_from(connections)?,
            load: Load::default(),
        })
    }

    /// Sends the next request, which was due at `began`, and counts its answer.
    pub(crate) async fn send(&mut self, window: &Window, began: Instant) -> Result<()> {
        let request = &self.requests[self.turn % self.requests.len()];
        self.turn += 1;
        let sent = self.connection.send(request).await;
        let status = sent.context("a read got no answer")?;
        *self.load.statuses.entry(status).or_default() += 1;
        let answered = u64::from(status == 200);
        self.load.tally.count(window, began, answered);
        Ok(())
    }
}

async fn join(mut tasks: JoinSet<Result<Load>>, window: Window) -> Result<Load> {
    let merged = async {
        let mut load = Load::default();
        while let Some(done) = tasks.join_next().await {
            load.merge(done??);
        }
        anyhow::Ok(load)
    };
    timeout(window.bound(), merged)
        .await
        .context("a request was never answered")?
}

/// The number behind `"accepted":` of an answer to an array.
fn accepted(body: &[u8]) -> u64 {
    const KEY: &[u8] = b"\"accepted\":";
    let at = body.windows(KEY.len()).position(|window| window == KEY);
    let digits = at.map_or(&[][..], |at| &body[at + KEY.len()..]);
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_accepted_events_is_read_from_an_answer() {
        assert_eq!(
            accepted(br#"{"accepted":998,"duplicate":2,"rejected":0}"#),
            998
        );
        assert_eq!(accepted(b"{}"), 0);
    }
}
