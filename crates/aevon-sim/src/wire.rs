//! The line between a program and Postgres, which reads what is said there: it ends connections, or
//! holds them, at named statements, and changes the text of statements where a fault is wanted.
//!
//! Invariant: what reaches Postgres is what the program said, up to some message: as it is when a
//! process dies. A point is reached only when everything before it was answered, and a connection that
//! ends there is gone from Postgres before anybody is told.

mod message;
mod pump;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aevon_testkit::with_address;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::operation::Point;

/// How long anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A change of a statement's text.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite {
    /// The name of the statement, or the first word of one that has none.
    pub statement: &'static str,
    /// What stands in it, everywhere; the whole of it where this is empty.
    pub from: &'static str,
    /// What is to stand there.
    pub to: &'static str,
}

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The connection ends; the program hears nothing of it.
    Kill,
    /// The connection ends, and the program sees that.
    Cut,
    /// Nothing goes on until [`Wire::release`].
    Hold,
}

/// What became of a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trap {
    /// There is none, or it was taken away.
    None,
    /// It waits.
    Set(Point, Action),
    /// Its point was reached and its action done.
    Sprung,
}

/// The line of one program.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    target: SocketAddr,
    rewrites: Vec<Rewrite>,
    pub(crate) trap: watch::Sender<Trap>,
    /// Whether a transaction was to be committed after the trap had sprung.
    pub(crate) has_committed_since: AtomicBool,
    /// Rewritings that found nothing to change.
    rotten: Mutex<Vec<&'static str>>,
    /// The points at which something happened.
    reached: Mutex<Vec<Point>>,
}

impl Wire {
    /// A line to the server of `url`, on which statements are changed so.
    ///
    /// # Errors
    /// Where no port is free, or `url` names no address.
    pub async fn start(url: &str, rewrites: Vec<Rewrite>) -> anyhow::Result<Self> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        let target = authority.rsplit('@').next().unwrap_or(authority).parse()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            rewrites,
            trap: watch::Sender::new(Trap::None),
            has_committed_since: AtomicBool::new(false),
            rotten: Mutex::default(),
            reached: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            shared,
            address,
            accepting,
        })
    }

    /// The address of a database, by way of this line, which reads what is said: so in plain text.
    pub fn url_for(&self, url: &str) -> String {
        format!("{}?sslmode=disable", with_address(url, self.address))
    }

    pub(crate) fn set(&self, point: Point, action: Action) {
        self.shared
            .has_committed_since
            .store(false, Ordering::SeqCst);
        self.shared.trap.send_replace(Trap::Set(point, action));
    }

    /// Takes the trap away; says whether it had sprung.
    pub(crate) fn clear(&self) -> bool {
        self.shared.trap.send_replace(Trap::None) == Trap::Sprung
    }

    /// Whether a transaction was to be committed, by way of here, after the last trap had sprung.
    pub(crate) fn has_committed_since(&self) -> bool {
        self.shared.has_committed_since.load(Ordering::SeqCst)
    }

    /// Lets go on what is held.
    pub(crate) fn release(&self) {
        self.shared.trap.send_replace(Trap::None);
    }

    /// Waits until the trap has sprung, for ever where it never does.
    pub(crate) async fn sprung(&self) {
        let mut trap = self.shared.trap.subscribe();
        if trap.wait_for(|trap| *trap == Trap::Sprung).await.is_err() {
            std::future::pending().await
        }
    }

    /// Whether something ever happened at this point of the line.
    pub(crate) fn has_reached(&self, point: Point) -> bool {
        let reached = self.shared.reached.lock();
        let reached = reached.unwrap_or_else(PoisonError::into_inner);
        reached.contains(&point)
    }

    /// Rewritings whose text was not found in their statement.
    pub fn rotten(&self) -> Vec<&'static str> {
        let rotten = self.shared.rotten.lock();
        rotten.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    /// Keeps in mind that the trap's point was reached.
    pub(crate) fn note_reached(&self) {
        let Trap::Set(point, _) = *self.trap.borrow() else {
            return;
        };
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if !reached.contains(&point) {
            reached.push(point);
        }
    }

    /// The text that Postgres gets of a statement, where it is another one.
    pub(crate) fn rewritten(&self, statement: &str, text: &str) -> Option<String> {
        let ours = self.rewrites.iter().filter(|r| r.statement == statement);
        let mut rewritten: Option<String> = None;
        for rewrite in ours {
            let before = rewritten.as_deref().unwrap_or(text);
            let after = rewrite.apply(before);
            if after.is_none() {
                let mut rotten = self.rotten.lock().unwrap_or_else(PoisonError::into_inner);
                rotten.push(rewrite.statement);
            }
            rewritten = after.or(rewritten);
        }
        rewritten
    }
}

impl Rewrite {
    /// The changed text; none where there is nothing to change.
    pub fn apply(&self, text: &str) -> Option<String> {
        match (self.from.is_empty(), text.contains(self.from)) {
            (true, _) => Some(self.to.to_owned()),
            (false, true) => Some(text.replace(self.from, self.to)),
            (false, false) => None,
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(shared.target).await {
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                pump::run(client, server, &shared).await;
            }
        });
    }
}
