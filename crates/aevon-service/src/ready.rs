//! Asking a service from outside whether it is ready: a container's health check, and `aevon ready`.
//!
//! Invariant: a question ends within its time, whatever the other side does.

use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Most bytes of an answer that are read; the service's own have a few hundred.
const MAX_ANSWER: u64 = 64 * 1024;

/// Why a service is not known to be ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It was not reached, or did not answer in time.
    #[error("no answer: {0}")]
    Silent(#[from] io::Error),
    /// It says that it is not, and why.
    #[error("not ready: {0}")]
    Says(String),
}

/// Asks `/readyz` of the service at `host:port`.
///
/// # Errors
/// See [`NotReady`].
pub fn ask(address: &str, within: Duration) -> Result<(), NotReady> {
    let answer = get(address, Instant::now() + within)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(NotReady::Says(reasons(body).unwrap_or_else(|| {
            head.lines().next().unwrap_or_default().to_owned()
        }))),
    }
}

/// The whole answer, which ends where the service closes: HTTP/1.0 knows no other way.
fn get(address: &str, deadline: Instant) -> io::Result<String> {
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = None;
    for one in address.to_socket_addrs()? {
        stream = Some(TcpStream::connect_timeout(&one, left()?));
        if let Some(Ok(_)) = stream {
            break;
        }
    }
    let mut stream = stream.ok_or_else(|| io::Error::other("the name has no address"))??;
    stream.set_write_timeout(Some(left()?))?;
    write!(stream, "GET /readyz HTTP/1.0\r\nhost: {address}\r\n\r\n")?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while (answer.len() as u64) < MAX_ANSWER {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What a service says is wrong, by condition.
fn reasons(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    let mut line = String::new();
    for (condition, reason) in body["reasons"].as_object()? {
        let comma = if line.is_empty() { "" } else { "; " };
        let reason = reason.as_str().unwrap_or_default();
        let _ = write!(line, "{comma}{condition}: {reason}");
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What is said of a service that answers so, and then waits.
    fn said_of(answer: &'static str, closes: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
            while !closes && stream.read(&mut request).unwrap_or(0) > 0 {}
        });
        let said = ask(&address, Duration::from_millis(300));
        service.join().unwrap();
        said.map_or_else(|error| error.to_string(), |()| "ready".to_owned())
    }

    #[test]
    fn an_answer_is_read_for_what_it_says() {
        assert_eq!(
            said_of("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"ready\"}", true),
            "ready"
        );
        let wrong = "HTTP/1.1 503 Service Unavailable\r\n\r\n\
                     {\"status\":\"not ready\",\"reasons\":{\"database\":\"away\",\"rules\":\"starting\"}}";
        assert_eq!(
            said_of(wrong, true),
            "not ready: database: away; rules: starting"
        );
        let other = said_of("HTTP/1.1 404 Not Found\r\n\r\n<html>200</html>", true);
        assert_eq!(other, "not ready: HTTP/1.1 404 Not Found");
    }

    #[test]
    fn whoever_never_ends_its_answer_is_not_waited_for() {
        let began = Instant::now();
        assert!(said_of("HTTP/1.1 200 OK\r\n\r\n", false).starts_with("no answer"));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
