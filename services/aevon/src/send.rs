//! `aevon send`: one event from flags, or a file of them.
//!
//! Retry safety: every line of a file has its id and its instant, so that the file may be sent again.
//! Invariant: whatever ends it, what was read is stored, spooled, or told as not delivered.

use crate::output::{Format, OutputArg, print, verdict};
use crate::remote::RemoteArgs;
use crate::table::{aligned, plain, titles};
use aevon_client::{Delivery, Event, Outcome, Producer};
use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

mod lines;

use lines::Line;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon send --tenant acme --principal user_123 --type model.call --data '{\"tokens\": 12}'\n  \
    aevon send --file events.ndjson                   one event a line, as POST /v1/events takes them\n  \
    zcat events.ndjson.gz | aevon send --file - --tenant acme\n  \
    aevon send --file events.ndjson --derive-ids      for lines without an id\n  \
    aevon send --file events.ndjson --spool spool/    keeps what can't be delivered\n  \
    aevon send --spool spool/                         delivers what lies there\n\n\
    A file may be sent again: what is stored is a duplicate. Exit codes: 0 everything is stored, now or \
    before, 1 something\nis not (standard error says what), 2 wrong usage.";

/// Deliveries that are looked at later: what is decided is decided in order.
const MAX_PENDING: usize = 20_000;
/// Between two looks at how much of a spool is left.
const LOOK: Duration = Duration::from_millis(200);
/// Faults that are told one by one.
const MAX_TOLD: usize = 20;
/// How long everything left may take to be spooled or given up, behind the patience.
const SLACK: Duration = Duration::from_secs(10);

/// What to send.
#[derive(Args, Debug)]
pub(crate) struct SendArgs {
    /// A file of events, one a line; - is standard input
    #[arg(long, short, value_name = "FILE|-",
        conflicts_with_all = ["principal", "event_type", "data", "metadata"])]
    file: Option<PathBuf>,
    /// The tenant; of lines, where they don't say
    #[arg(long)]
    tenant: Option<String>,
    /// The principal
    #[arg(long, requires = "event_type")]
    principal: Option<String>,
    /// The type of the event
    #[arg(long = "type", value_name = "TYPE", requires = "principal")]
    event_type: Option<String>,
    /// Its data, an object of JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    data: Value,
    /// Its metadata, an object of JSON
    #[arg(long, value_name = "JSON", value_parser = object)]
    metadata: Option<Value>,
    /// Its id; without one it gets one of its content
    #[arg(long, requires = "principal")]
    id: Option<String>,
    /// Who knows it by its id
    #[arg(long, requires = "principal")]
    source: Option<String>,
    /// When it happened, such as 2026-02-11T10:30:00Z; without it, now
    #[arg(long, value_name = "INSTANT", requires = "principal")]
    at: Option<String>,
    /// Gives lines without an id one of their content; the same line twice counts once
    #[arg(long, requires = "file")]
    derive_ids: bool,
    /// A folder for what can't be delivered; what lies there goes first
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    remote: RemoteArgs,
}

fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("is not an object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Sends, and says what became of it.
pub(crate) async fn run(args: SendArgs) -> anyhow::Result<ExitCode> {
    let client = args.remote.client()?;
    let mut builder = client.producer().delivery_timeout(args.remote.patience());
    builder = builder.enqueue_timeout(args.remote.patience() + SLACK);
    if let Some(folder) = &args.spool {
        builder = builder.spool(folder);
    }
    let producer = builder.start().await?;
    let mut told = Told::default();
    let mut id = None;
    let ended = match (&args.file, args.event()) {
        (Some(path), _) => send_file(&producer, path, &args, &mut told).await?,
        (None, Some(event)) => {
            let delivery = producer.send(event).await?;
            let of_one = delivery.id().to_owned();
            told.add(&of_one, delivery.await);
            id = Some(of_one);
            Ended::Whole
        }
        (None, None) => {
            ensure!(
                args.spool.is_some(),
                "there is nothing to send: give --principal and --type, --file or --spool"
            );
            Ended::Whole
        }
    };
    if args.spool.is_some() && ended == Ended::Whole {
        drain(&producer, args.remote.patience()).await?;
    }
    let stats = producer.shutdown(SLACK).await;
    if told.faults > MAX_TOLD {
        eprintln!("and {} more", told.faults - MAX_TOLD);
    }
    if let Some(folder) = &args.spool
        && stats.conflicts + stats.rejected > told.refused
    {
        let path = folder.join(aevon_client::SPOOL_REFUSED);
        eprintln!(
            "what was refused of the spool, and why, stands in {}",
            path.display()
        );
    }
    if let (true, Some(error)) = (stats.spool_events > 0, &stats.last_error) {
        eprintln!("{} events lie in the spool: {error}", stats.spool_events);
    }
    let counts = [
        ("stored", stats.stored),
        ("duplicate", stats.duplicates),
        ("conflict", stats.conflicts),
        ("rejected", stats.rejected),
        ("undelivered", stats.undelivered),
        ("spooled", stats.spool_events),
    ];
    let version = client.version().to_string();
    let named = (id.as_deref(), version.as_str());
    print(&report(&counts, named, &told, args.output.format)?)?;
    let unwell: u64 = counts[2..].iter().map(|(_, count)| count).sum();
    Ok(verdict(unwell == 0 && told.faults == 0))
}

/// Waits until the spool is empty; what lies there after that is not lost, and the count says how much
/// it is.
async fn drain(producer: &Producer, patience: Duration) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}")?);
    let drained = producer.drained(patience);
    tokio::pin!(drained);
    loop {
        let left = producer.stats().spool_events;
        bar.set_message(format!("{left} events lie in the spool"));
        bar.tick();
        if timeout(LOOK, &mut drained).await.is_ok() {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn report(
    counts: &[(&str, u64); 6],
    (id, version): (Option<&str>, &str),
    told: &Told,
    format: Format,
) -> anyhow::Result<String> {
    if format == Format::Json {
        let mut answer: Value = counts.iter().map(|(name, count)| (*name, *count)).collect();
        answer["unreadable"] = told.unreadable.into();
        answer["version"] = version.into();
        if let Some(id) = id {
            answer["id"] = id.into();
        }
        return Ok(format!("{answer:#}\n"));
    }
    let mut names: Vec<&str> = counts.iter().map(|(name, _)| *name).collect();
    let mut row: Vec<String> = counts.iter().map(|(_, count)| count.to_string()).collect();
    names.push("version");
    row.push(version.to_owned());
    if let Some(id) = id {
        names.push("id");
        row.push(id.to_owned());
    }
    aligned(&[titles(&names), row])
}

impl SendArgs {
    /// The event of the flags, if they say one.
    fn event(&self) -> Option<Event> {
        let (principal, event_type) = (self.principal.as_ref()?, self.event_type.as_ref()?);
        let mut event = Event::new(principal, event_type, self.data.clone());
        if let Some(tenant) = &self.tenant {
            event = event.tenant(tenant);
        }
        if let Some(id) = &self.id {
            event = event.id(id);
        }
        if let Some(source) = &self.source {
            event = event.source(source);
        }
        if let Some(at) = &self.at {
            event = event.occurred_at(at);
        }
        if let Some(metadata) = &self.metadata {
            event = event.metadata(metadata.clone());
        }
        Some(event)
    }

    /// The event of a line.
    fn event_of(&self, line: &str) -> anyhow::Result<Event> {
        let mut event = Event::from_json(line)?;
        ensure!(
            self.derive_ids || event.has("id"),
            "has no id, under which it could be sent again; --derive-ids makes one of its content"
        );
        ensure!(
            event.has("occurred_at"),
            "does not say when it happened: occurred_at"
        );
        if let Some(tenant) = &self.tenant {
            event = event.or_tenant(tenant);
        }
        Ok(event)
    }
}

/// What went wrong, the first of it line by line.
#[derive(Debug, Default)]
struct Told {
    faults: usize,
    /// Events whose refusal was told.
    refused: u64,
    unreadable: u64,
}

impl Told {
    fn add(&mut self, what: &str, outcome: Outcome) {
        self.refused += u64::from(outcome.refusal().is_some());
        if !outcome.is_stored() && !matches!(outcome, Outcome::Spooled) {
            self.say(what, &outcome.to_string());
        }
    }

    fn say(&mut self, what: &str, fault: &str) {
        self.faults += 1;
        if self.faults <= MAX_TOLD {
            eprintln!("{}: {}", plain(what), plain(fault));
        }
    }
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It was read to its end.
    Whole,
    /// It was given up before.
    Cut,
}

async fn send_file(
    producer: &Producer,
    path: &Path,
    args: &SendArgs,
    told: &mut Told,
) -> anyhow::Result<Ended> {
    let (reader, bar): (Box<dyn Read + Send>, _) = match path.to_str() {
        Some("-") => (Box::new(io::stdin()), ProgressBar::new_spinner()),
        _ => {
            let file = File::open(path);
            let file = file.with_context(|| format!("cannot read {}", path.display()))?;
            let bytes = file.metadata()?.len();
            (Box::new(file), ProgressBar::new(bytes))
        }
    };
    bar.set_style(style(bar.length().is_some())?);
    let mut lines = lines::of(BufReader::with_capacity(1 << 20, bar.wrap_read(reader)));
    let mut stopped = Stopped::new()?;
    let mut pending: VecDeque<(String, Delivery)> = VecDeque::new();
    let mut ended = Ended::Whole;
    for number in 1_u64.. {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = stopped.wait() => Some(Err(io::Error::other("stopped before its end"))),
        };
        let what = format!("line {number}");
        let fault = match line {
            None => break,
            Some(Ok(Line::Empty)) => continue,
            Some(Ok(Line::Text(line))) => match args.event_of(&line) {
                Ok(event) => match producer.send(event).await {
                    Ok(delivery) => {
                        pending.push_back((what, delivery));
                        None
                    }
                    Err(error) => Some((Ended::Cut, error.to_string())),
                },
                Err(fault) => Some((Ended::Whole, format!("{fault:#}"))),
            },
            Some(Ok(Line::Unreadable(fault))) => Some((Ended::Whole, fault.to_owned())),
            Some(Err(error)) => Some((Ended::Cut, error.to_string())),
        };
        if let Some((then, fault)) = fault {
            told.unreadable += u64::from(then == Ended::Whole);
            ended = then;
            bar.suspend(|| told.say(&format!("line {number}"), &fault));
        }
        if pending.len() >= MAX_PENDING
            && let Some((what, delivery)) = pending.pop_front()
        {
            let outcome = delivery.await;
            bar.suspend(|| told.add(&what, outcome));
        }
        let taken = producer.stats();
        bar.set_message(format!("{} events", taken.taken - taken.pending));
        if taken.undelivered > 0 && ended == Ended::Whole {
            let fault = "is the last that was tried: services are away, and there is no spool";
            bar.suspend(|| told.say(&format!("line {number}"), fault));
            ended = Ended::Cut;
        }
        if ended == Ended::Cut {
            break;
        }
    }
    if ended == Ended::Cut {
        producer.shutdown(SLACK).await;
    }
    for (what, delivery) in pending {
        let outcome = delivery.await;
        if matches!(outcome, Outcome::Undelivered(_)) && ended == Ended::Whole {
            // What was not delivered with all patience is not tried again for each of the others.
            ended = Ended::Cut;
            producer.shutdown(Duration::ZERO).await;
        }
        bar.suspend(|| told.add(&what, outcome));
    }
    bar.finish_and_clear();
    Ok(ended)
}

/// What asks this process to end.
struct Stopped {
    interrupt: Signal,
    terminate: Signal,
}

impl Stopped {
    fn new() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self {
            interrupt,
            terminate,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Shown on a terminal only.
fn style(has_length: bool) -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(match has_length {
        true => "{bar:40} {bytes} of {total_bytes}, {msg}, {eta} left",
        false => "{spinner} {bytes}, {msg}",
    })?)
}
