//! Callers who send events and read states as real ones do, and note what they saw.
//!
//! Invariant: what a caller sends again, it sends under the same ids and with the same content.
//! Invariant: a caller waits no longer than [`LATEST`] for any answer, whatever is broken.

use crate::fleet::Fleet;
use crate::history::{Append, Change, History, Moment, Read, Sight};
use crate::support::{Answer, array, event};
use aevon_core::event::VOID_TYPE;
use aevon_core::position::Position;
use aevon_core::time::Timestamp;
use aevon_testkit::eventually;
use aevon_testkit::oracle::OracleEvent;
use aevon_testkit::template::connect;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long an answer may take: ten seconds for a commit or a question, and some for machines that
/// are busy with tests.
pub(crate) const LATEST: Duration = Duration::from_secs(13);
/// Between two attempts, as `retry-after` is meant for people.
const RETRY: Duration = Duration::from_millis(20);
/// Events of a principal: each has a bit of the sum.
const BITS: usize = 100;
/// Principals that are written to at a time.
const OPEN: usize = 8;
/// Most events of a body.
const MOST: usize = 6;
/// The first instant of events, and how far behind it they lie: 40 days, beyond every grain.
const BEGINNING: &str = "2026-01-01T00:00:00Z";
const SPAN_SECONDS: u64 = 40 * 86_400;

/// What was done, for a line at the end.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// What was broken on purpose.
    pub(crate) faults: AtomicUsize,
    pub(crate) acknowledged: AtomicUsize,
    pub(crate) read: AtomicUsize,
    /// Answers that said "later".
    pub(crate) refused: AtomicUsize,
    /// Answers that never came, because whoever owed them was killed.
    pub(crate) broken: AtomicUsize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        write!(
            f,
            "{} faults, {} events acknowledged, {} states read, {} refused, {} unanswered",
            count(&self.faults),
            count(&self.acknowledged),
            count(&self.read),
            count(&self.refused),
            count(&self.broken)
        )
    }
}

/// One principal: the events that were sent of it, and what was seen.
#[derive(Debug, Default)]
struct Principal {
    name: String,
    /// As they were sent, in the order of the history's appends.
    events: Vec<OracleEvent>,
    history: History,
    /// How many of them add a bit.
    bits: usize,
}

/// Callers, what they have sent, and what they were told.
#[derive(Debug)]
pub(crate) struct Load {
    started: Instant,
    /// What the names of its principals begin with.
    prefix: String,
    principals: Mutex<Vec<Principal>>,
    is_over: AtomicBool,
    wrong: Mutex<Vec<String>>,
    pub(crate) tally: Tally,
}

/// An event of a body: whose, and which of its appends.
type Ticket = (usize, usize);

/// What became of a request.
enum Said {
    Done(Answer),
    Later,
    Nothing,
}

impl Load {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            started: Instant::now(),
            prefix: format!("{name}-"),
            principals: Mutex::default(),
            is_over: AtomicBool::new(false),
            wrong: Mutex::default(),
            tally: Tally::default(),
        }
    }

    /// No caller begins anything any more.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// One caller, until the load is over and what it has sent is acknowledged.
    pub(crate) async fn call(&self, fleet: &Fleet, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        // The newest position of each principal that this caller knows of.
        let mut known = BTreeMap::new();
        while !self.is_over.load(Ordering::SeqCst) {
            match rng.u8(..10) {
                0..=5 => self.append(fleet, &mut rng, &mut known).await,
                _ => self.read(fleet, &mut rng, &mut known).await,
            }
        }
    }

    /// Notes that something is broken now.
    pub(crate) fn fault(&self, what: &str) {
        self.tally.faults.fetch_add(1, Ordering::SeqCst);
        self.progress(what);
    }

    fn progress(&self, what: &str) {
        let since = self.started.elapsed().as_secs_f64();
        eprintln!("{since:.1} s, {what}: {}", self.tally);
    }

    /// Waits until so many more events were acknowledged and states read.
    pub(crate) async fn goes_on(&self, steps: usize, within: Duration, what: &str) {
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        let (acknowledged, read) = (&self.tally.acknowledged, &self.tally.read);
        let (events, states) = (count(acknowledged) + steps, count(read) + steps / 4);
        eventually(within, what, async || {
            count(acknowledged) >= events && count(read) >= states
        })
        .await;
        self.progress(what);
    }

    /// Waits until callers are told to come later.
    pub(crate) async fn is_refused(&self, within: Duration, what: &str) {
        let count = || self.tally.refused.load(Ordering::SeqCst);
        let before = count();
        eventually(within, what, async || count() > before).await;
    }

    fn now(&self) -> Moment {
        Moment::try_from(self.started.elapsed().as_nanos()).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Principal>> {
        self.principals.lock().unwrap()
    }

    fn note(&self, wrong: String) {
        self.wrong.lock().unwrap().push(wrong);
    }

    /// Sends a body until it is acknowledged; a few callers lose patience.
    async fn append(&self, fleet: &Fleet, rng: &mut Rng, known: &mut BTreeMap<usize, Position>) {
        let (tickets, body) = self.draw(rng);
        let is_patient = rng.u8(..20) > 0;
        loop {
            let service = fleet.any("ingest-svc", rng);
            match self.ask(service.try_post(body.clone()), false).await {
                Said::Done(answer) => return self.acknowledged(&tickets, &answer, known),
                _ if !is_patient => return,
                _ => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// An answer in time, and one that may be.
    async fn ask(&self, answer: impl Future<Output = Option<Answer>>, is_replica: bool) -> Said {
        let asked = Instant::now();
        let answer = answer.await;
        let took = asked.elapsed();
        if took > LATEST {
            self.note(format!("{took:?} for {answer:?}"));
        }
        let Some(answer) = answer else {
            self.tally.broken.fetch_add(1, Ordering::SeqCst);
            return Said::Nothing;
        };
        let code = answer.body["type"].as_str().unwrap_or_default();
        let code = code.trim_start_matches("urn:aevon:problem:");
        let is_polite = match (answer.status, code) {
            (200 | 202, _) => return Said::Done(answer),
            (503, "database-unavailable" | "overloaded") => {
                answer.headers.contains_key("retry-after")
            }
            (504, "query-budget-exceeded") => true,
            (504, "version-not-visible") => is_replica,
            _ => false,
        };
        if !is_polite {
            self.note(format!("{answer:?}"));
        }
        self.tally.refused.fetch_add(1, Ordering::SeqCst);
        Said::Later
    }

    /// Some new events: one, several of several principals, or a void.
    fn draw(&self, rng: &mut Rng) -> (Vec<Ticket>, String) {
        let begun = self.now();
        let mut principals = self.lock();
        let void = (rng.u8(..12) == 0).then(|| self.draw_void(&mut principals, rng, begun));
        if let Some(Some(void)) = void {
            return void;
        }
        let many = if rng.bool() { 1 } else { rng.usize(2..=MOST) };
        let mut tickets = Vec::new();
        let mut texts = Vec::new();
        for _ in 0..many {
            let nth = self.open(&mut principals, rng);
            let principal = &mut principals[nth];
            let (bit, at) = (principal.bits, instant(rng));
            principal.bits += 1;
            let data = format!(r#"{{"n":{},"model":"m{}"}}"#, 1_u128 << bit, rng.u8(..3));
            let id = format!("e{}", principal.events.len());
            texts.push(
                event(&principal.name, &id, &data)
                    .replace("2026-01-01T10:30:20.5+01:00", &at.to_string()),
            );
            let change = Change::Adds(u32::try_from(bit).unwrap());
            tickets.push((nth, principal.sent(change, begun, id, at, "t", data)));
        }
        let body = match texts.as_slice() {
            [one] if rng.bool() => one.clone(),
            all => array(all),
        };
        (tickets, body)
    }

    /// A void of an event that was acknowledged and that nobody voids, if there is one.
    fn draw_void(
        &self,
        principals: &mut [Principal],
        rng: &mut Rng,
        begun: Moment,
    ) -> Option<(Vec<Ticket>, String)> {
        let nth = rng.usize(..principals.len().max(1));
        let principal = principals.get_mut(nth)?;
        let appends = principal.history.appends.iter().enumerate();
        let voided = |bit: u32| {
            let mut all = principal.history.appends.iter();
            all.any(|append| append.change == Change::TakesOut(bit))
        };
        let mut targets = appends.filter_map(|(at, append)| match append.change {
            Change::Adds(bit) if append.acknowledged.is_some() && !voided(bit) => Some((at, bit)),
            _ => None,
        });
        let (target, bit) = targets.next_back()?;
        let target = principal.events[target].id.clone();
        let data = format!(r#"{{"event_id":"{target}"}}"#);
        let (id, at) = (format!("e{}", principal.events.len()), instant(rng));
        let body = event(&principal.name, &id, &data)
            .replace(r#""type":"t""#, &format!(r#""type":"{VOID_TYPE}""#))
            .replace("2026-01-01T10:30:20.5+01:00", &at.to_string());
        let sent = principal.sent(Change::TakesOut(bit), begun, id, at, VOID_TYPE, data);
        Some((vec![(nth, sent)], body))
    }

    /// One of the principals that have room for an event.
    fn open(&self, principals: &mut Vec<Principal>, rng: &mut Rng) -> usize {
        let newest = principals.len().saturating_sub(OPEN)..principals.len();
        let open: Vec<usize> = newest.filter(|nth| principals[*nth].bits < BITS).collect();
        if open.len() == OPEN {
            return open[rng.usize(..OPEN)];
        }
        let name = format!("{}p{}", self.prefix, principals.len());
        principals.push(Principal {
            name,
            ..Principal::default()
        });
        principals.len() - 1
    }

    /// Notes that a body is stored. Of several events, the answer does not say where each stands.
    fn acknowledged(
        &self,
        tickets: &[Ticket],
        answer: &Answer,
        known: &mut BTreeMap<usize, Position>,
    ) {
        let now = self.now();
        let position = position(&answer.body["position"]);
        let counted = |name: &str| answer.body[name].as_u64().unwrap_or_default();
        let stored = counted("accepted") + counted("duplicate");
        if position.is_none() && (stored as usize) < tickets.len() {
            return self.note(format!("of {} events: {answer:?}", tickets.len()));
        }
        let mut principals = self.lock();
        for (nth, at) in tickets {
            let append = &mut principals[*nth].history.appends[*at];
            append.acknowledged = Some(now);
            append.position = position;
            if let Some(position) = position {
                let newest = known.entry(*nth).or_insert(position);
                *newest = position.max(*newest);
            }
        }
        self.tally
            .acknowledged
            .fetch_add(tickets.len(), Ordering::SeqCst);
    }

    /// Reads a state: the newest, one that knows what this caller knows, or one of the past.
    async fn read(&self, fleet: &Fleet, rng: &mut Rng, known: &mut BTreeMap<usize, Position>) {
        let drawn = {
            let principals = self.lock();
            let nth = rng.usize(..principals.len().max(1));
            principals.get(nth).map(|principal| {
                let past = rng
                    .choice(&principal.history.reads)
                    .map(|read| read.version);
                (nth, principal.name.clone(), past)
            })
        };
        let Some((nth, name, past)) = drawn else {
            // Nobody has sent anything yet.
            return tokio::task::yield_now().await;
        };
        let least = known.get(&nth).copied().filter(|_| rng.u8(..3) > 0);
        let past = past.filter(|_| least.is_none() && rng.bool());
        let asked = match (least, past) {
            (Some(least), _) => format!("&min_version={least}&wait=2s"),
            (None, Some(past)) => format!("&version={past}&wait=2s"),
            (None, None) => String::new(),
        };
        let path = format!("/v1/state/acme/{name}?rule=total{asked}");
        let (service, is_replica) = fleet.any_reader(rng);
        let begun = self.now();
        let asked = self.ask(service.try_get(&path), is_replica);
        let Said::Done(answer) = asked.await else {
            return tokio::time::sleep(RETRY).await;
        };
        let ended = self.now();
        let value = &answer.body["values"][0];
        let (version, seen, count) = (
            position(&answer.body["version"]),
            value["value"].as_str().and_then(|sum| sum.parse().ok()),
            value["event_count"].as_u64(),
        );
        let (Some(version), Some(seen), Some(count)) = (version, seen, count) else {
            return self.note(format!("{path}: {answer:?}"));
        };
        let read = Read {
            begun,
            ended,
            least,
            sight: match (past, is_replica) {
                (Some(_), _) => Sight::Past,
                (None, true) => Sight::Replica,
                (None, false) => Sight::Newest,
            },
            version,
            seen,
            count: u32::try_from(count).unwrap_or(u32::MAX),
        };
        self.lock()[nth].history.reads.push(read);
        if past.is_none() {
            let newest = known.entry(nth).or_insert(version);
            *newest = version.max(*newest);
        } else if past != Some(version) {
            self.note(format!("{path} answers as of {version}"));
        }
        self.tally.read.fetch_add(1, Ordering::SeqCst);
    }

    /// What is wrong with all that was seen, now that the load is over, held to the log: what is in
    /// it that nobody sent, what is in it twice, and what no log could have shown.
    pub(crate) async fn violations(&self, url: &str) -> Vec<String> {
        let mut wrong = std::mem::take(&mut *self.wrong.lock().unwrap());
        let mut stored = stored(url, &self.prefix).await;
        for principal in &mut *self.lock() {
            let found = principal.settle(stored.remove(&principal.name).unwrap_or_default());
            wrong.extend(
                found
                    .into_iter()
                    .map(|text| format!("{}: {text}", principal.name)),
            );
        }
        wrong.extend(
            stored
                .keys()
                .map(|name| format!("nobody sent events of {name}")),
        );
        wrong
    }

    /// What stands of each principal, by its callers' own lists.
    pub(crate) fn lists(&self) -> Vec<(String, Vec<OracleEvent>)> {
        let principals = self.lock();
        let list = |principal: &Principal| {
            let sent = principal.events.iter().zip(&principal.history.appends);
            let stands = sent.filter_map(|(event, append)| {
                let seq = append.position?.seq;
                Some(OracleEvent {
                    seq,
                    ..event.clone()
                })
            });
            (principal.name.clone(), stands.collect())
        };
        principals.iter().map(list).collect()
    }
}

impl Principal {
    /// Notes an event that is about to be sent; which append it is.
    fn sent(
        &mut self,
        change: Change,
        begun: Moment,
        id: String,
        occurred_at: Timestamp,
        event_type: &str,
        data: String,
    ) -> usize {
        self.events.push(OracleEvent {
            seq: 0,
            id,
            occurred_at,
            event_type: event_type.to_owned(),
            data,
        });
        self.history.appends.push(Append {
            change,
            begun,
            acknowledged: None,
            position: None,
        });
        self.events.len() - 1
    }

    /// Takes over where the log has each event, and says what is wrong.
    fn settle(&mut self, stored: Vec<(String, Position)>) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut positions = BTreeMap::new();
        for (id, position) in stored {
            if positions.insert(id.clone(), position).is_some() {
                wrong.push(format!("{id} is stored twice"));
            }
        }
        for (event, append) in self.events.iter().zip(&mut self.history.appends) {
            let stands = positions.remove(&event.id);
            if append.position.is_some() && append.position != stands {
                wrong.push(format!("{} stands at {stands:?}: {append:?}", event.id));
            }
            append.position = stands;
        }
        wrong.extend(positions.keys().map(|id| format!("nobody sent {id}")));
        wrong.extend(self.history.violations());
        wrong
    }
}

/// The events of the principals whose names begin so, by principal.
async fn stored(url: &str, prefix: &str) -> BTreeMap<String, Vec<(String, Position)>> {
    let client = connect(url).await.unwrap();
    let all = "SELECT q.principal_id, e.event_id, e.partition, e.seq FROM events e \
               JOIN principals q USING (principal_no, partition) \
               WHERE q.tenant_id = 'acme' AND starts_with(q.principal_id, $1)";
    let mut stored: BTreeMap<String, Vec<(String, Position)>> = BTreeMap::new();
    for row in client.query(all, &[&prefix]).await.unwrap() {
        let position = Position {
            partition: row.get(2),
            seq: row.get(3),
        };
        stored
            .entry(row.get(0))
            .or_default()
            .push((row.get(1), position));
    }
    stored
}

/// A position alone, or a version of one partition.
fn position(text: &serde_json::Value) -> Option<Position> {
    let (partition, seq) = text.as_str()?.split_once(':')?;
    Some(Position {
        partition: partition.parse().ok()?,
        seq: seq.parse().ok()?,
    })
}

/// Any instant, some on the edges of minutes, hours and days.
fn instant(rng: &mut Rng) -> Timestamp {
    let seconds = rng.u64(..SPAN_SECONDS);
    let micros = match rng.u8(..8) {
        0 => seconds / 86_400 * 86_400_000_000,
        1 => seconds / 3600 * 3_600_000_000,
        2 => seconds / 60 * 60_000_000,
        _ => seconds * 1_000_000 + rng.u64(..1_000_000),
    };
    let beginning = Timestamp::parse(BEGINNING).unwrap();
    beginning.plus_micros(i64::try_from(micros).unwrap())
}
