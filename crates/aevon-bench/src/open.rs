//! Open-loop load: requests are due at fixed times, whether or not earlier ones were answered, and a
//! latency counts from when its request was due. A service that stalls is seen to.
//!
//! Due times lie on whole milliseconds, as the timer does: so many requests each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::load::{Load, Reader, Writer};
use crate::tally::{Span, Window};
use crate::workload::Numbers;

/// When requests are due. Clones hand out the same requests, each once.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    start: Instant,
    per_second: f64,
    whole: Duration,
    /// Results are kept apart by when a request was due.
    slice: Duration,
    pub(crate) window: Window,
    next: Arc<AtomicU64>,
}

impl Arrivals {
    /// So many requests a second from now on.
    pub(crate) fn begin(per_second: f64, span: Span, slice: Duration) -> Self {
        let start = Instant::now();
        Self {
            start,
            per_second,
            whole: span.whole(),
            slice,
            window: Window::of_due(start, span),
            next: Arc::default(),
        }
    }

    /// How long after the start the next request is due; nothing at the end.
    fn next(&self) -> Option<Duration> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = due(number, self.per_second);
        (due < self.whole).then_some(due)
    }

    fn slice_of(&self, due: Duration) -> usize {
        let slice = due.as_millis() / self.slice.as_millis().max(1);
        usize::try_from(slice).unwrap_or(usize::MAX)
    }

    /// Waits for the next request to be due; when that was, and its slice.
    async fn wait(&self) -> Option<(Instant, usize)> {
        let due = self.next()?;
        let at = self.start + due;
        sleep_until(at.into()).await;
        Some((at, self.slice_of(due)))
    }
}

fn due(number: u64, per_second: f64) -> Duration {
    let ms = (number as f64 * 1000.0 / per_second).ceil();
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(Duration::MAX)
}

/// Sends bodies of `per_body` events; what was counted in each slice.
pub(crate) async fn write(
    port: u16,
    connections: u64,
    per_body: u64,
    arrivals: &Arrivals,
    numbers: &Numbers,
) -> Result<Vec<Load>> {
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let mut writer = Writer::open(port, number, per_body, numbers).await?;
        let arrivals = arrivals.clone();
        tasks.spawn(async move {
            let mut slices = Vec::new();
            while let Some((due, slice)) = arrivals.wait().await {
                let sent = writer.send(&arrivals.window, due).await;
                take(&mut slices, slice, &mut writer.load);
                anyhow::ensure!(sent, "ingest-svc can't be reached any more");
            }
            Ok(slices)
        });
    }
    join(tasks, arrivals.window).await
}

/// Sends GETs; what was counted in each slice.
pub(crate) async fn read(
    port: u16,
    connections: u64,
    requests: &[Vec<u8>],
    arrivals: &Arrivals,
) -> Result<Vec<Load>> {
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let mut reader = Reader::open(port, number, connections, requests).await?;
        let arrivals = arrivals.clone();
        tasks.spawn(async move {
            let mut slices = Vec::new();
            while let Some((due, slice)) = arrivals.wait().await {
                reader.send(&arrivals.window, due).await?;
                take(&mut slices, slice, &mut reader.load);
            }
            Ok(slices)
        });
    }
    join(tasks, arrivals.window).await
}

fn take(slices: &mut Vec<Load>, slice: usize, load: &mut Load) {
    if slices.len() <= slice {
        slices.resize_with(slice + 1, Load::default);
    }
    slices[slice].merge(std::mem::take(load));
}

async fn join(mut tasks: JoinSet<Result<Vec<Load>>>, window: Window) -> Result<Vec<Load>> {
    let merged = async {
        let mut all = Vec::new();
        while let Some(done) = tasks.join_next().await {
            for (slice, mut load) in done??.into_iter().enumerate() {
                take(&mut all, slice, &mut load);
            }
        }
        anyhow::Ok(all)
    };
    timeout(window.bound(), merged)
        .await
        .context("a request was never answered")?
}

/// All slices together.
pub(crate) fn together(slices: &[Load]) -> Load {
    let mut whole = Load::default();
    slices.iter().for_each(|load| whole.merge(load.clone()));
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_their_rate_on_whole_milliseconds_until_the_end() {
        let span = Span {
            warm_up: Duration::from_millis(100),
            measured: Duration::from_millis(900),
        };
        let arrivals = Arrivals::begin(2500.0, span, Duration::from_millis(250));
        let dues: Vec<Duration> = std::iter::from_fn(|| arrivals.clone().next()).collect();
        assert!(dues.is_sorted() && dues.iter().all(|due| due.subsec_micros() % 1000 == 0));
        // Those of the last millisecond are due with its end.
        assert!((2497..=2500).contains(&dues.len()), "{}", dues.len());
        let of_slice = |slice| {
            dues.iter()
                .filter(|due| arrivals.slice_of(**due) == slice)
                .count()
        };
        let slices = [0, 1, 2, 3].map(of_slice);
        assert!(
            slices.iter().all(|count| (620..=630).contains(count)),
            "{slices:?}"
        );
    }

    #[tokio::test]
    async fn a_latency_counts_from_when_the_request_was_due() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        const STALL: Duration = Duration::from_millis(300);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Answers nobody for a while, then everybody at once.
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::time::sleep(STALL).await;
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await.unwrap_or(0) > 0 {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        };
        let span = Span {
            warm_up: Duration::ZERO,
            measured: STALL,
        };
        let requests = [crate::http::get("/")];
        let load = async {
            let arrivals = Arrivals::begin(100.0, span, span.whole());
            read(port, 1, &requests, &arrivals).await.unwrap()
        };
        let ((), slices) = tokio::join!(server, load);
        let mut load = together(&slices);
        // Each of the thirty waited for the rest of the stall, not the first alone.
        assert_eq!(load.tally.len(), 30);
        assert!(
            load.tally.percentile(50) >= 100.0,
            "{}",
            load.tally.percentile(50)
        );
    }
}
