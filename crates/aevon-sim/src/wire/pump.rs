//! Carrying one connection, message by message in the direction of Postgres.

use std::future::pending;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::message::{Message, Statements, next};
use super::{Action, DEADLINE, Shared, Trap};
use crate::operation::Point;

const CHUNK_BYTES: usize = 16 * 1024;

/// What the two directions tell each other.
#[derive(Debug, Default)]
struct Talk {
    /// How often Postgres said that it is ready, once the session had begun.
    ready: AtomicU64,
    answered: Notify,
    /// Answers are not passed on any more.
    is_mute: AtomicBool,
    gone: Notify,
    is_gone: AtomicBool,
}

/// Carries a connection until either side closes it or a trap does.
pub(super) async fn run(mut client: TcpStream, mut server: TcpStream, shared: &Shared) {
    let talk = Talk::default();
    let (client_reads, client_writes) = client.split();
    let (server_reads, server_writes) = server.split();
    let up = Up {
        client: client_reads,
        server: server_writes,
        shared,
        talk: &talk,
        sent: 0,
    };
    tokio::select! {
        biased;
        () = up.run() => {}
        () = to_client(server_reads, client_writes, &talk) => {}
    }
}

/// The direction to Postgres.
struct Up<'a> {
    client: ReadHalf<'a>,
    server: WriteHalf<'a>,
    shared: &'a Shared,
    talk: &'a Talk,
    /// Messages that Postgres answers by saying that it is ready; the first one is the session's.
    sent: u64,
}

impl Up<'_> {
    async fn run(mut self) {
        let mut statements = Statements::default();
        let (mut arrived, mut chunk) = (Vec::new(), vec![0; CHUNK_BYTES]);
        let mut is_first = true;
        // The point behind a statement is reached when all of it was sent and answered.
        let mut reached: Option<Action> = None;
        loop {
            while let Some(message) = next(&mut arrived, is_first) {
                self.sent += u64::from(is_first);
                is_first = false;
                let rewritten = |name: &str, text: &str| self.shared.rewritten(name, text);
                let (message, runs) = statements.read(message, rewritten);
                if let Some(action) = self.trap(runs.as_deref(), Point::Before(""))
                    && self.spring(action).await.is_break()
                {
                    return;
                }
                reached = reached.or(self.trap(runs.as_deref(), Point::After("")));
                if reached.is_some_and(|action| action != Action::Hold) {
                    self.talk.is_mute.store(true, Ordering::SeqCst);
                }
                if runs.as_deref() == Some("COMMIT") && *self.shared.trap.borrow() == Trap::Sprung {
                    self.shared
                        .has_committed_since
                        .store(true, Ordering::SeqCst);
                }
                let is_answered = message.is_answered();
                if self.pass_on(message).await.is_err() {
                    return;
                }
                if is_answered
                    && let Some(action) = reached.take()
                    && self.spring(action).await.is_break()
                {
                    return;
                }
            }
            match self.client.read(&mut chunk).await {
                Ok(read @ 1..) => arrived.extend_from_slice(&chunk[..read]),
                _ => return,
            }
        }
    }

    async fn pass_on(&mut self, message: Message) -> std::io::Result<()> {
        self.sent += u64::from(message.is_answered());
        self.server.write_all(&message.bytes).await
    }

    /// What is to happen on this side of this statement.
    fn trap(&self, runs: Option<&str>, side: Point) -> Option<Action> {
        let Trap::Set(point, action) = *self.shared.trap.borrow() else {
            return None;
        };
        let statement = match (point, side) {
            (Point::Before(statement), Point::Before(_)) => statement,
            (Point::After(statement), Point::After(_)) => statement,
            _ => return None,
        };
        (runs == Some(statement)).then_some(action)
    }

    /// Does what is to happen; says whether the connection goes on.
    async fn spring(&mut self, action: Action) -> ControlFlow<()> {
        self.shared.note_reached();
        if action != Action::Hold {
            self.talk.is_mute.store(true, Ordering::SeqCst);
        }
        let _ = timeout(DEADLINE, self.all_answered()).await;
        if action == Action::Hold {
            self.shared.trap.send_replace(Trap::Sprung);
            let mut trap = self.shared.trap.subscribe();
            let _ = trap.wait_for(|trap| *trap == Trap::None).await;
            return ControlFlow::Continue(());
        }
        let _ = self.server.shutdown().await;
        let _ = timeout(DEADLINE, self.server_gone()).await;
        self.shared.trap.send_replace(Trap::Sprung);
        // A dead process reads and writes nothing until it is dropped.
        let mut chunk = vec![0; CHUNK_BYTES];
        while action == Action::Kill && matches!(self.client.read(&mut chunk).await, Ok(1..)) {}
        ControlFlow::Break(())
    }

    async fn all_answered(&self) {
        loop {
            let answered = self.talk.answered.notified();
            if self.talk.ready.load(Ordering::SeqCst) >= self.sent {
                return;
            }
            answered.await;
        }
    }

    async fn server_gone(&self) {
        loop {
            let gone = self.talk.gone.notified();
            if self.talk.is_gone.load(Ordering::SeqCst) {
                return;
            }
            gone.await;
        }
    }
}

async fn to_client(mut server: ReadHalf<'_>, mut client: WriteHalf<'_>, talk: &Talk) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut scan = Scan::default();
    while let Ok(read @ 1..) = server.read(&mut chunk).await {
        let ready = scan.take(&chunk[..read]);
        if !talk.is_mute.load(Ordering::SeqCst) && client.write_all(&chunk[..read]).await.is_err() {
            break;
        }
        if ready > 0 {
            talk.ready.fetch_add(ready, Ordering::SeqCst);
            talk.answered.notify_waiters();
        }
    }
    talk.is_gone.store(true, Ordering::SeqCst);
    talk.gone.notify_waiters();
    talk.answered.notify_waiters();
    if talk.is_mute.load(Ordering::SeqCst) {
        pending::<()>().await;
    }
}

/// Counts how often Postgres says that it is ready, without keeping what it says.
#[derive(Debug, Default)]
struct Scan {
    head: Vec<u8>,
    /// Bytes of the message under way that have not come yet.
    left: usize,
}

impl Scan {
    fn take(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ready = 0;
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            while self.left == 0 && self.head.len() < 5 && !bytes.is_empty() {
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
            }
            if let [kind, a, b, c, d] = self.head[..] {
                ready += u64::from(kind == b'Z');
                self.left = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
                self.head.clear();
            }
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_counted_however_the_bytes_come() {
        let said = b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05IZ\0\0\0\x05T";
        for size in 1..=said.len() {
            let mut scan = Scan::default();
            let ready: u64 = said.chunks(size).map(|chunk| scan.take(chunk)).sum();
            assert_eq!(ready, 2, "{size} bytes at a time");
        }
    }
}
