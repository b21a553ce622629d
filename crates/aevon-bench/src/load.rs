//! Load over HTTP: connections that each send one request after the other.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::Connection;
use crate::tally::{Tally, Window};
use crate::workload::{Numbers, Requests};

/// What came back from a run of writes.
#[derive(Debug, Default)]
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
}

impl Load {
    fn merge(&mut self, other: Self) {
        self.tally.merge(other.tally);
        self.tokens += other.tokens;
        self.broken += other.broken;
        self.partial += other.partial;
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

/// Sends bodies of `per_body` events to an ingest service.
pub(crate) async fn write(
    port: u16,
    connections: u64,
    per_body: u64,
    seconds: u64,
    numbers: &Numbers,
) -> Result<(Load, Window)> {
    let mut opened = Vec::new();
    for number in 0..connections {
        let connection = Connection::open(port)
            .await
            .context("cannot reach ingest-svc")?;
        opened.push((connection, Requests::new(per_body, number, numbers)));
    }
    let window = Window::open(seconds);
    let mut tasks = JoinSet::new();
    for (connection, requests) in opened {
        tasks.spawn(writes(connection, port, requests, per_body, window));
    }
    Ok((join(tasks, window).await?, window))
}

async fn writes(
    mut connection: Connection,
    port: u16,
    mut requests: Requests,
    per_body: u64,
    window: Window,
) -> Result<Load> {
    let mut load = Load::default();
    while !window.is_over() {
        let (request, tokens) = requests.next();
        let began = Instant::now();
        let Ok(status) = connection.send(request).await else {
            load.broken += 1;
            match Connection::open(port).await {
                Ok(opened) => connection = opened,
                Err(_) => break,
            }
            continue;
        };
        *load.statuses.entry(status).or_default() += 1;
        let accepted = match (status, per_body) {
            (202, 1) => 1,
            (200..=299, 2..) => accepted(connection.body()),
            _ => 0,
        };
        if accepted == per_body {
            load.tokens += tokens;
        } else if accepted > 0 {
            load.partial += 1;
        }
        load.tally.count(&window, began, accepted);
    }
    Ok(load)
}

/// Sends GETs in turn, each connection beginning with another one; counts answers of 200.
pub(crate) async fn read(
    port: u16,
    connections: u64,
    requests: &[Vec<u8>],
    seconds: u64,
) -> Result<(Load, Window)> {
    let window = Window::open(seconds);
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let connection = Connection::open(port)
            .await
            .context("cannot reach projection-svc")?;
        let mut requests = requests.to_vec();
        let first = requests.len() * usize::try_from(number)? / usize::try_from(connections)?;
        requests.rotate_left(first);
        tasks.spawn(reads(connection, requests, window));
    }
    Ok((join(tasks, window).await?, window))
}

async fn reads(mut connection: Connection, requests: Vec<Vec<u8>>, window: Window) -> Result<Load> {
    let mut load = Load::default();
    for request in requests.iter().cycle() {
        if window.is_over() {
            break;
        }
        let began = Instant::now();
        let status = connection
            .send(request)
            .await
            .context("a read got no answer")?;
        *load.statuses.entry(status).or_default() += 1;
        load.tally.count(&window, began, u64::from(status == 200));
    }
    Ok(load)
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
