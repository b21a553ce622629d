//! Row 18: a cluster of its own whose postmaster is killed while events come in.
//!
//! Invariant: what was acknowledged before and after is in the log in the end.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use aevon_postgres::{Server, ServerOptions};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Id;
use super::course::RECOVERY;
use super::run::Sitting;
use crate::bench::Bench;
use crate::conditions::DURABLE;
use crate::http::Connection;
use crate::log::{Heads, Totals};
use crate::rig::connect;
use crate::service::INGEST;
use crate::workload::Requests;

/// Kills of a round.
const KILLS: usize = 3;
/// Callers that each try again after [`RETRY`].
const CALLERS: u64 = 4;
const RETRY: Duration = Duration::from_millis(10);
/// A caller that has no answer by then asks again.
const PATIENCE: Duration = Duration::from_millis(250);
/// Before each kill, so that there are events on their way.
const BETWEEN: Duration = Duration::from_millis(500);
const PROBE: Duration = Duration::from_millis(2);
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) async fn measure(bench: &Bench, sitting: &mut Sitting) -> Result<()> {
    sitting.course.part(RECOVERY);
    let folder = tempfile::Builder::new()
        .prefix("aevon-bench-killed-")
        // To be passed through by the account that the cluster belongs to.
        .permissions(Permissions::from_mode(0o711))
        .tempdir()?;
    let settings = DURABLE.map(|name| (name.to_owned(), "on".to_owned()));
    let mut options = ServerOptions {
        data_dir: Some(folder.path().join("data")),
        durable: true,
        settings: settings.to_vec(),
        ..ServerOptions::default()
    };
    let mut server = start(&options).await?;
    options.port = Some(server.port());
    let url = server.url("postgres");
    bench.rig.programs().aevon(&url, &["migrate"]).await?;
    let mut service = bench.rig.service(INGEST, &url).await?;

    let numbers = bench.numbers();
    let (killed, see_killed) = watch::channel(None);
    let (ends, see_end) = watch::channel(false);
    let mut callers = JoinSet::new();
    let (first, see_first) = watch::channel(None);
    for number in 0..CALLERS {
        let caller = Caller {
            port: service.port(),
            requests: Requests::new(1, number, &numbers),
            killed: see_killed.clone(),
            first: first.clone(),
            end: see_end.clone(),
        };
        callers.spawn(caller.call());
    }
    while sitting.course.next_round() {
        let mut took = Vec::new();
        for _ in 0..KILLS {
            sleep(BETWEEN).await;
            kill(&mut server).await?;
            first.send_replace(None);
            killed.send_replace(Some(Instant::now()));
            let (restarted, accepts) = tokio::join!(start(&options), accepts(&url));
            server = restarted?;
            let answered = first_answer(see_first.clone()).await?;
            killed.send_replace(None);
            took.push(answered.saturating_duration_since(accepts?).as_secs_f64());
            service.check_alive()?;
        }
        for took in took {
            sitting.card.figure(Id::Recovery, took);
        }
    }
    sitting.card.note(
        Id::Recovery,
        format!("{KILLS} kills a round, {CALLERS} callers"),
    );
    ends.send_replace(true);
    let acknowledged = async {
        let mut sum = 0;
        while let Some(called) = callers.join_next().await {
            sum += called?;
        }
        anyhow::Ok(sum)
    };
    let acknowledged: u64 = timeout(DEADLINE, acknowledged)
        .await
        .context("a caller did not end")??;
    verify(&url, acknowledged, sitting).await?;
    drop(service);
    tokio::task::spawn_blocking(move || server.stop()).await?
}

async fn start(options: &ServerOptions) -> Result<Server> {
    let options = options.clone();
    tokio::task::spawn_blocking(move || Server::start(&options)).await?
}

/// Kills the postmaster alone; its children go as they notice.
async fn kill(server: &mut Server) -> Result<()> {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    kill_process(pid.context("the server has no process")?, Signal::KILL)?;
    let deadline = Instant::now() + DEADLINE;
    while server.exited()?.is_none() {
        ensure!(Instant::now() < deadline, "the postmaster does not end");
        sleep(PROBE).await;
    }
    // Lets go of the one that has ended.
    server.kill()
}

/// When connections are taken again.
async fn accepts(url: &str) -> Result<Instant> {
    let deadline = Instant::now() + DEADLINE;
    while connect(url).await.is_err() {
        ensure!(Instant::now() < deadline, "Postgres does not come back");
        sleep(PROBE).await;
    }
    Ok(Instant::now())
}

async fn first_answer(mut first: watch::Receiver<Option<Instant>>) -> Result<Instant> {
    let answered = timeout(DEADLINE, first.wait_for(Option::is_some)).await;
    let answered = answered.context("no event was taken after Postgres came back")??;
    answered.context("no event was taken")
}

/// Sends one event after the other, each once.
struct Caller {
    port: u16,
    requests: Requests,
    killed: watch::Receiver<Option<Instant>>,
    first: watch::Sender<Option<Instant>>,
    end: watch::Receiver<bool>,
}

impl Caller {
    /// How many events were acknowledged.
    async fn call(mut self) -> u64 {
        let (mut connection, mut acknowledged) = (None, 0);
        while !*self.end.borrow() {
            let began = Instant::now();
            let status = self.send(&mut connection).await;
            if status == Some(202) {
                acknowledged += 1;
                // One that was sent before the kill says nothing.
                let is_after = self.killed.borrow().is_some_and(|killed| began > killed);
                if is_after {
                    let now = Instant::now();
                    self.first.send_if_modified(|first| {
                        let is_first = first.is_none();
                        *first = first.or(Some(now));
                        is_first
                    });
                }
            }
            sleep(RETRY).await;
        }
        acknowledged
    }

    /// The status; none where there was no answer in time, and the connection is given up.
    async fn send(&mut self, connection: &mut Option<Connection>) -> Option<u16> {
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(self.port).await.ok()?,
        };
        let (request, _) = self.requests.next();
        let status = timeout(PATIENCE, open.send(request)).await.ok()?.ok()?;
        *connection = Some(open);
        Some(status)
    }
}

/// What was not answered may be there, too.
async fn verify(url: &str, acknowledged: u64, sitting: &mut Sitting) -> Result<()> {
    let client = connect(url).await?;
    let grown = Totals::behind(&client, &Heads::nowhere(&client).await?).await?;
    let acknowledged = i64::try_from(acknowledged)?;
    let there = grown.events.min(acknowledged);
    let what = "killed Postgres: acknowledged events";
    sitting.section.check(what, there, acknowledged);
    Ok(())
}
