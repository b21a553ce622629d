//! What was refused is kept for whoever looks for a producer's fault: gathered while a request is
//! read, written by a task of its own.
//!
//! Invariant: nothing here holds up an answer. What the task can't take is dropped and counted.
//! Invariant: bounded by request, in memory, by minute and, by [`rejected_events::trim`], in the
//! table.

use crate::http::Item;
use aevon_core::event::native;
use aevon_core::time::Timestamp;
use aevon_schema::rejected_events::{self, Rejected};
use aevon_schema::{Database, StoreError, with_causes};
use aevon_service::metrics::IntCounter;
use aevon_service::problem::{Problem, ProblemItem};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Refused events of one request that are kept.
const MAX_EVENTS: usize = 100;
/// Bytes of their bodies.
const MAX_BYTES: usize = 1024 * 1024;
/// Bytes of one body that are kept: an event may have 256 KiB, and more in our own format.
const MAX_BODY_BYTES: usize = 272 * 1024;
/// Requests whose refusals wait to be written.
const MAX_WAITING: usize = 1_000;
/// Bytes of all of them.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Requests that are written together.
const GROUP: usize = 100;
/// How often to try to write a group, and how long to wait before the next time.
const ATTEMPTS: usize = 5;
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long one attempt may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits for what was refused last.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// What part of the table's bound is written between two looks at it at most: what was deleted
/// takes room until Postgres has tidied up.
const WRITTEN_PART: usize = 4;
/// Between two looks at what is too old or too much.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes that were refused, as far as they are kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// How many there were; none where nobody counted them.
    sent: Option<usize>,
}

impl Kept {
    /// How many bytes of memory it holds.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// What of one request is kept, should it be refused.
#[derive(Debug)]
pub(crate) struct Keeping {
    left: Cell<(usize, usize)>,
    whole: RefCell<Option<Kept>>,
}

impl Keeping {
    pub(crate) fn new() -> Self {
        Self {
            left: Cell::new((MAX_EVENTS, MAX_BYTES)),
            whole: RefCell::new(None),
        }
    }

    /// Keeps an event, of which `sent` bytes were sent and these received.
    pub(crate) fn event(&self, bytes: &[u8], sent: usize) -> Option<Kept> {
        let (events, room) = self.left.get();
        let bytes = &bytes[..bytes.len().min(MAX_BODY_BYTES)];
        if events == 0 || bytes.len() > room {
            return None;
        }
        self.left.set((events - 1, room - bytes.len()));
        Some(cut(bytes, sent))
    }

    /// Whether any event could be kept still.
    fn has_room(&self) -> bool {
        self.left.get().0 > 0
    }

    /// Notes how long a body is that is not kept.
    pub(crate) fn length(&self, sent: Option<usize>) {
        self.whole.replace(Some(Kept {
            bytes: Vec::new(),
            sent,
        }));
    }

    /// Keeps a body as a whole.
    pub(crate) fn body(&self, bytes: &[u8]) {
        self.whole.replace(Some(cut(bytes, bytes.len())));
    }
}

fn cut(bytes: &[u8], sent: usize) -> Kept {
    Kept {
        bytes: bytes[..bytes.len().min(MAX_BODY_BYTES)].to_vec(),
        sent: Some(sent),
    }
}

/// The circumstances of a request.
#[derive(Debug)]
pub(crate) struct Circumstances<'a> {
    pub(crate) received_at: Timestamp,
    /// The tenant that the caller is bound to.
    pub(crate) tenant: Option<&'a str>,
    pub(crate) request_id: &'a str,
    pub(crate) content_type: Option<&'a str>,
}

impl Circumstances<'_> {
    fn rejected(&self, tenant_id: String, codes: Vec<&'static str>, kept: Kept) -> Rejected {
        Rejected {
            received_at: self.received_at,
            tenant_id,
            codes,
            request_id: self.request_id.to_owned(),
            item_index: None,
            event_id: None,
            content_type: self.content_type.map(str::to_owned),
            faults: String::from("[]"),
            body: kept.bytes,
            body_bytes: kept.sent,
        }
    }
}

/// Takes what was refused to the task that writes it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    sender: mpsc::Sender<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    dropped: IntCounter,
}

/// What the task is told.
#[derive(Debug)]
enum Message {
    Keep(Batch),
    /// Say when everything before this is written.
    Flush(oneshot::Sender<()>),
}

/// What one request brought; its bytes are given back when it is dropped.
#[derive(Debug)]
struct Batch {
    list: Vec<Rejected>,
    bytes: usize,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Where the task finds what to write.
#[derive(Debug)]
pub(crate) struct Waiting {
    receiver: mpsc::Receiver<Message>,
    dropped: IntCounter,
}

impl Keeper {
    /// `dropped` counts the refusals that are not kept for want of room.
    pub(crate) fn new(dropped: IntCounter) -> (Self, Waiting) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let keeper = Self {
            sender,
            waiting_bytes: Arc::default(),
            dropped: dropped.clone(),
        };
        (keeper, Waiting { receiver, dropped })
    }

    /// Keeps the items that were refused.
    pub(crate) fn keep_items(
        &self,
        items: &mut [Item],
        is_one: bool,
        keeping: &Keeping,
        of: &Circumstances<'_>,
    ) {
        let mut list = Vec::new();
        for (index, item) in items.iter_mut().enumerate() {
            let (id, Some(rejection)) = item.rejection() else {
                continue;
            };
            let Some(tenant_id) = rejection.tenant_id.take().or(of.tenant.map(str::to_owned))
            else {
                continue;
            };
            let kept = match (rejection.kept.take(), rejection.event.take()) {
                (Some(kept), _) => Some(kept),
                (None, Some(event)) if keeping.has_room() => {
                    let text = native::write(&event);
                    keeping.event(text.as_bytes(), text.len())
                }
                (None, _) => None,
            };
            match kept {
                None if !rejection.is_foreign() => self.dropped.inc(),
                None => {}
                Some(kept) => list.push(Rejected {
                    item_index: (!is_one).then(|| i32::try_from(index).unwrap_or(i32::MAX)),
                    event_id: id.map(str::to_owned),
                    faults: faults(&rejection.problem_items()),
                    ..of.rejected(tenant_id, rejection.codes(), kept)
                }),
            }
        }
        self.keep(list);
    }

    /// Keeps a body that was refused as a whole.
    pub(crate) fn keep_whole(&self, problem: &Problem, keeping: &Keeping, of: &Circumstances<'_>) {
        let Some(tenant_id) = of.tenant.filter(|_| is_of_interest(problem)) else {
            return;
        };
        let whole = keeping.whole.take().unwrap_or_default();
        let fault = ProblemItem {
            index: None,
            id: None,
            field: None,
            code: problem.code.as_str().to_owned(),
            detail: problem.detail.clone(),
        };
        self.keep(vec![Rejected {
            faults: faults(&[fault]),
            ..of.rejected(tenant_id.to_owned(), vec![problem.code.as_str()], whole)
        }]);
    }

    /// Waits until everything that was kept so far is written, or for [`FLUSH_TIMEOUT`].
    pub(crate) async fn flush(&self) {
        let flushed = async {
            let (sender, written) = oneshot::channel();
            if self.sender.send(Message::Flush(sender)).await.is_ok() {
                // Gone without a word is gone all the same.
                let _ = written.await;
            }
        };
        if tokio::time::timeout(FLUSH_TIMEOUT, flushed).await.is_err() {
            tracing::warn!("what was refused last may not be kept");
        }
    }

    fn keep(&self, list: Vec<Rejected>) {
        if list.is_empty() {
            return;
        }
        let (count, bytes) = (list.len(), list.iter().map(Rejected::size_bytes).sum());
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let batch = Batch {
            list,
            bytes,
            waiting_bytes: Arc::clone(&self.waiting_bytes),
        };
        if before + bytes > MAX_WAITING_BYTES || self.sender.try_send(Message::Keep(batch)).is_err()
        {
            self.dropped.inc_by(count as u64);
        }
    }
}

/// Not what is nobody's fault but the caller's key's, or ours: that is sent again.
pub(crate) fn is_of_interest(problem: &Problem) -> bool {
    let status = problem.code.status().as_u16();
    (400..500).contains(&status) && !matches!(status, 401 | 403 | 429)
}

fn faults(items: &[ProblemItem]) -> String {
    serde_json::to_string(items).unwrap_or_else(|_| "[]".to_owned())
}

/// Bounds of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) keep: Duration,
    pub(crate) max_bytes: usize,
}

/// Writes what was refused, until every [`Keeper`] is gone.
pub(crate) async fn run(database: Database, mut waiting: Waiting, bounds: Bounds) {
    let mut next_trim = Instant::now();
    let mut allowance = Allowance::default();
    let mut group = Vec::new();
    loop {
        if Instant::now() >= next_trim {
            next_trim = Instant::now() + TRIM_INTERVAL;
            let is_trimmed = trim(&database, bounds).await;
            allowance = Allowance::new(if is_trimmed { bounds.max_bytes } else { 0 });
        }
        let until_trim = next_trim.saturating_duration_since(Instant::now());
        let received = waiting.receiver.recv_many(&mut group, GROUP);
        match tokio::time::timeout(until_trim, received).await {
            Ok(0) => return,
            Ok(_) => {
                let group = std::mem::take(&mut group);
                take(&database, &waiting.dropped, &mut allowance, group).await;
            }
            Err(_) => {}
        }
    }
}

/// How many bytes may be written until the table is trimmed. A tenant gets as much as is left.
#[derive(Debug, Default)]
struct Allowance {
    left: usize,
    tenants: FxHashMap<String, usize>,
}

impl Allowance {
    fn new(max_bytes: usize) -> Self {
        Self {
            left: max_bytes / WRITTEN_PART,
            tenants: FxHashMap::default(),
        }
    }

    fn takes(&mut self, one: &Rejected) -> bool {
        let bytes = one.size_bytes();
        let taken = self.tenants.get(&one.tenant_id).copied().unwrap_or(0);
        if taken + bytes > self.left {
            return false;
        }
        self.left -= bytes;
        self.tenants.insert(one.tenant_id.clone(), taken + bytes);
        true
    }
}

async fn take(
    database: &Database,
    dropped: &IntCounter,
    allowance: &mut Allowance,
    group: Vec<Message>,
) {
    let (mut batches, mut flushes) = (Vec::new(), Vec::new());
    for message in group {
        match message {
            Message::Keep(batch) => batches.push(batch),
            Message::Flush(written) => flushes.push(written),
        }
    }
    let lists = batches
        .iter_mut()
        .map(|batch| std::mem::take(&mut batch.list));
    let (list, beyond): (Vec<Rejected>, Vec<Rejected>) =
        lists.flatten().partition(|one| allowance.takes(one));
    dropped.inc_by(beyond.len() as u64);
    if !list.is_empty() && !write(database, &list).await {
        dropped.inc_by(list.len() as u64);
    }
    for written in flushes {
        // Whoever asked may have given up.
        let _ = written.send(());
    }
}

async fn write(database: &Database, list: &[Rejected]) -> bool {
    for attempt in 1..=ATTEMPTS {
        let writing = async {
            let mut connection = database.get().await?;
            rejected_events::insert(&mut connection, list).await
        };
        match within(WRITE_TIMEOUT, "keeping what was refused", writing).await {
            Ok(()) => return true,
            Err(error) if attempt == ATTEMPTS => {
                let error = with_causes(&error);
                tracing::warn!(events = list.len(), error, "what was refused is not kept");
            }
            Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
        }
    }
    false
}

async fn trim(database: &Database, bounds: Bounds) -> bool {
    let trimming = async {
        let mut connection = database.get().await?;
        rejected_events::trim(&mut connection, bounds.keep, bounds.max_bytes).await
    };
    match within(TRIM_INTERVAL, "trimming what was refused", trimming).await {
        Ok(0) => true,
        Ok(events) => {
            tracing::info!(events, "refused events were too old or too much, and went");
            true
        }
        Err(error) => {
            let error = with_causes(&error);
            tracing::warn!(error, "refused events stay for now, and no others are kept");
            false
        }
    }
}

async fn within<T>(
    deadline: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let done = tokio::time::timeout(deadline, work).await;
    done.unwrap_or(Err(StoreError::DeadlineExceeded(what)))
}
