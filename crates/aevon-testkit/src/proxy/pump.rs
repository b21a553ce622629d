//! Carrying the bytes of one connection, both ways at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::trap::{Action, Tail};
use super::{Line, Shared};

/// An answer that is thrown away is over when it ends with "ready for query" and nothing follows
/// for this long (the client may have sent several requests at once).
const QUIET: Duration = Duration::from_millis(20);
/// The longest wait for the end of such an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
const CHUNK_BYTES: usize = 16 * 1024;
/// Postgres' message "ready for query", but for its last byte, which is the transaction's status.
const READY: [u8; 5] = *b"Z\0\0\0\x05";

/// What the two directions of a connection tell each other.
#[derive(Debug, Default)]
struct Talk {
    /// The server has spoken since the client last did.
    server_spoke: AtomicBool,
    /// The server's next answer is thrown away.
    swallow: AtomicBool,
    /// Of the server's next answer only a part comes through.
    tear: AtomicBool,
}

/// Carries bytes until a side closes or a trap springs; whether that was in the middle of an answer.
pub(super) async fn run(client: &mut TcpStream, server: &mut TcpStream, shared: &Shared) -> bool {
    let talk = Talk::default();
    let (client_reads, client_writes) = client.split();
    let (server_reads, server_writes) = server.split();
    let down = to_client(server_reads, client_writes, shared, &talk);
    tokio::pin!(down);
    tokio::select! {
        end = to_server(client_reads, server_writes, shared, &talk) => {
            if end == End::AwaitAnswer {
                down.await;
            }
        }
        () = &mut down => {}
    }
    talk.tear.load(Ordering::SeqCst)
}

/// Returns when the line carries what was said now.
async fn pass(line: &mut watch::Receiver<Line>) {
    loop {
        let now = *line.borrow_and_update();
        match now {
            Line::Stalled => {
                let _ = line.changed().await;
            }
            Line::Slow(by) => return sleep(by).await,
            Line::Carries | Line::Cut => return,
        }
    }
}

/// How the client's direction ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    /// The server has to answer before the connection is closed.
    AwaitAnswer,
}

async fn to_server(
    mut client: ReadHalf<'_>,
    mut server: WriteHalf<'_>,
    shared: &Shared,
    talk: &Talk,
) -> End {
    let mut tail = Tail::default();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut line = shared.line.subscribe();
    loop {
        let Ok(read @ 1..) = client.read(&mut buffer).await else {
            return End::Closed;
        };
        pass(&mut line).await;
        let chunk = &buffer[..read];
        if talk.server_spoke.swap(false, Ordering::SeqCst) {
            shared.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        let sprung = shared.with_traps(|traps| tail.spring(chunk, traps));
        if sprung.is_some() {
            shared.sprung.fetch_add(1, Ordering::SeqCst);
        }
        if sprung == Some(Action::CutBefore) {
            return End::Closed;
        }
        // Ordering: set before the bytes go, so that no part of the answer slips through.
        talk.swallow
            .store(sprung == Some(Action::SwallowAnswer), Ordering::SeqCst);
        talk.tear
            .store(sprung == Some(Action::TearAnswer), Ordering::SeqCst);
        if server.write_all(chunk).await.is_err() {
            return End::Closed;
        }
        if sprung == Some(Action::SwallowAnswer) {
            return End::AwaitAnswer;
        }
    }
}

async fn to_client(
    mut server: ReadHalf<'_>,
    mut client: WriteHalf<'_>,
    shared: &Shared,
    talk: &Talk,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut line = shared.line.subscribe();
    loop {
        let Ok(read @ 1..) = server.read(&mut buffer).await else {
            return;
        };
        pass(&mut line).await;
        if talk.tear.load(Ordering::SeqCst) {
            let _ = client.write_all(&buffer[..read.div_ceil(2)]).await;
            return;
        }
        if talk.swallow.load(Ordering::SeqCst) {
            return swallow(server, buffer, read).await;
        }
        // Ordering: set before the bytes go, since the client may answer at once.
        talk.server_spoke.store(true, Ordering::SeqCst);
        if client.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Reads on until the answer that begins with `read` bytes of `buffer` is over.
async fn swallow(mut server: ReadHalf<'_>, mut buffer: Vec<u8>, mut read: usize) {
    let end = Instant::now() + ANSWER_DEADLINE;
    // The last bytes, since the message may be split over two reads.
    let mut last = Vec::new();
    loop {
        last.extend_from_slice(&buffer[..read]);
        last.drain(..last.len().saturating_sub(READY.len() + 1));
        let wait = if last.starts_with(&READY) {
            Instant::now() + QUIET
        } else {
            end
        };
        match timeout_at(wait, server.read(&mut buffer)).await {
            Ok(Ok(more @ 1..)) => read = more,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_ready_for_query_is_as_the_server_sends_it() {
        let mut message = vec![b'Z'];
        message.extend(5_u32.to_be_bytes());
        assert_eq!(message, READY);
    }
}
