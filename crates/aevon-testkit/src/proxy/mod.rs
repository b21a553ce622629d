//! A TCP proxy in front of Postgres: a bad line at chosen moments. It loses connections, holds what is
//! said, breaks off in the middle of an answer, leads elsewhere, and counts the turns of the
//! conversation.
//!
//! Invariant: a trap springs once, on the first connection that sends its bytes.

mod pump;
mod trap;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::url::with_address;
use trap::{Action, Trap};

/// A proxy on a free port of 127.0.0.1. It ends, with its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What the line does to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Carries,
    /// Nothing is open, and nothing is opened.
    Cut,
    /// What is said stays where it is.
    Stalled,
    /// What is said comes later.
    Slow(Duration),
}

/// What the proxy and its connections know in common.
#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    line: watch::Sender<Line>,
    /// How often it was cut: each time ends what was open.
    cuts: watch::Sender<u64>,
    /// How often the server has forgotten its connections.
    forgotten: watch::Sender<u64>,
    traps: Mutex<Vec<Trap>>,
    sprung: AtomicU64,
    round_trips: AtomicU64,
}

impl Proxy {
    /// Starts a proxy in front of `target`.
    ///
    /// # Panics
    /// No port is free.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
            Ok(listener) => listener,
            Err(e) => panic!("the proxy finds no free port: {e}"),
        };
        let address = match listener.local_addr() {
            Ok(address) => address,
            Err(e) => panic!("the proxy has no address: {e}"),
        };
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            line: watch::Sender::new(Line::Carries),
            cuts: watch::Sender::new(0),
            forgotten: watch::Sender::new(0),
            traps: Mutex::default(),
            sprung: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// A proxy in front of the server of a database's address, and the address through it.
    ///
    /// # Panics
    /// The address does not name an IP address and a port, or no port is free.
    pub async fn in_front_of(url: &str) -> (Self, String) {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        let address = authority.rsplit('@').next().unwrap_or(authority);
        let Ok(target) = address.parse() else {
            panic!("the proxy needs an IP address and a port, not {address}");
        };
        let proxy = Self::start(target).await;
        let through = proxy.url_for(url);
        (proxy, through)
    }

    /// Where the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a database, by way of the proxy.
    #[must_use]
    pub fn url_for(&self, url: &str) -> String {
        with_address(url, self.address)
    }

    /// Leads new connections elsewhere.
    pub fn lead_to(&self, target: SocketAddr) {
        *self
            .shared
            .target
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Closes every connection; new ones are accepted and closed at once, until [`Self::heal`].
    pub fn cut(&self) {
        self.shared.line.send_replace(Line::Cut);
        self.shared.cuts.send_modify(|times| *times += 1);
    }

    /// Carries nothing any more, in neither direction: connections stay open, new ones are accepted,
    /// and whoever waits for an answer waits, until [`Self::heal`].
    pub fn stall(&self) {
        self.shared.line.send_replace(Line::Stalled);
    }

    /// Whatever is said arrives so much later, until [`Self::heal`].
    pub fn slow_down(&self, by: Duration) {
        self.shared.line.send_replace(Line::Slow(by));
    }

    /// Carries what is said, and lets new connections through again.
    pub fn heal(&self) {
        self.shared.line.send_replace(Line::Carries);
    }

    /// Leaves every connection half open: the server's side is closed, and clients learn of it when
    /// they say something, by a reset. So it is when a machine has lost its power and is back.
    pub fn forget(&self) {
        self.shared.forgotten.send_modify(|times| *times += 1);
    }

    /// Once: the first bytes from a client that complete `needle` are forwarded; of the server's answer
    /// a part comes through, then the client's connection is reset.
    pub fn reset_within_answer(&self, needle: &[u8]) {
        self.arm(needle, Action::TearAnswer);
    }

    /// Once: the first bytes from a client that complete `needle` are forwarded, the server's
    /// answer is awaited and thrown away, and the connection is closed. The server did the work and
    /// the client cannot know.
    pub fn swallow_after(&self, needle: &[u8]) {
        self.arm(needle, Action::SwallowAnswer);
    }

    /// Once: the first bytes from a client that complete `needle` are not forwarded, and the
    /// connection is closed. The server did not do the work and the client cannot know.
    pub fn cut_before(&self, needle: &[u8]) {
        self.arm(needle, Action::CutBefore);
    }

    /// How many traps have sprung so far.
    #[must_use]
    pub fn sprung(&self) -> u64 {
        self.shared.sprung.load(Ordering::SeqCst)
    }

    /// How often a client spoke after the server had, on all connections: round trips, without the
    /// one that opens a connection.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(Ordering::SeqCst)
    }

    /// Counts the round trips from zero again.
    pub fn reset_round_trips(&self) {
        self.shared.round_trips.store(0, Ordering::SeqCst);
    }

    fn arm(&self, needle: &[u8], action: Action) {
        assert!(!needle.is_empty(), "a trap needs bytes to wait for");
        self.shared.with_traps(|traps| {
            traps.push(Trap {
                needle: needle.to_vec(),
                action,
            })
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn with_traps<T>(&self, work: impl FnOnce(&mut Vec<Trap>) -> T) -> T {
        work(&mut self.traps.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let mut cuts = shared.cuts.subscribe();
        if *shared.line.borrow() == Line::Cut {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::select! {
                _ = cuts.changed() => {}
                () = serve(client, &shared) => {}
            }
        });
    }
}

/// Carries one connection until either side closes it, a trap does, or the server forgets it. Both
/// sides are closed when this returns or is dropped.
async fn serve(mut client: TcpStream, shared: &Shared) {
    let mut forgotten = shared.forgotten.subscribe();
    let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    // Small messages must not wait for one another: that would change what is measured.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        is_torn = pump::run(&mut client, &mut server, shared) => {
            if is_torn {
                // Closed with a zero linger, a connection is reset.
                let _ = client.set_zero_linger();
            }
        }
        _ = forgotten.changed() => {
            drop(server);
            let _ = client.read(&mut [0; 1]).await;
            let _ = client.set_zero_linger();
        }
    }
}
