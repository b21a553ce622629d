//! Traces from outside: a collector of a few lines receives the span of a request, under the
//! caller's trace. One test, because the log of a process is set up once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use actix_web::HttpResponse;
use aevon_service::openapi::Document;
use aevon_service::settings::{LogSettings, TelemetrySettings};
use aevon_service::{HttpOptions, Metrics, Readiness, Shutdown, http, telemetry};

const DEADLINE: Duration = Duration::from_secs(20);

/// Reads one request whole, answers 200 and gives the request away.
fn collect(listener: TcpListener, bodies: mpsc::Sender<Vec<u8>>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        while !whole(&request) {
            let read = stream.read(&mut chunk).unwrap();
            if read == 0 {
                break;
            }
            request.extend_from_slice(&chunk[..read]);
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).unwrap();
        if bodies.send(request).is_err() {
            return;
        }
    }
}

fn whole(request: &[u8]) -> bool {
    let Some(end) = find(request, b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    request.len() >= end + 4 + length.map_or(0, |length| length.parse().unwrap())
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn ask(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = format!(
        "GET /thing/7 HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntraceparent: {traceparent}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_span_of_a_request_reaches_the_collector_under_the_callers_trace() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let (sender, bodies) = mpsc::channel();
    std::thread::spawn(move || collect(collector, sender));

    let settings = TelemetrySettings {
        otlp_endpoint: Some(endpoint),
    };
    let guard = telemetry::init("some-svc", &LogSettings::default(), &settings).unwrap();
    let again = telemetry::init("some-svc", &LogSettings::default(), &settings);
    assert!(again.is_err(), "the log is set up once");

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = HttpOptions {
        host: "127.0.0.1".parse().unwrap(),
        port: 0,
        grace: Duration::from_secs(5),
        workers: 1,
    };
    let listener = http::bind(&options).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let serve = http::serve(
        listener,
        options,
        Readiness::new(&[]),
        Metrics::new().unwrap(),
        shutdown.clone(),
        Document::of([]),
        |routes| {
            routes.get("/thing/{id}", || async { HttpResponse::Ok().body("yes") });
        },
    );
    let task = runtime.spawn(serve);
    assert!(ask(address).ends_with("yes"));
    shutdown.trigger();
    runtime.block_on(task).unwrap().unwrap();
    drop(runtime);
    drop(guard);

    let body = bodies.recv_timeout(DEADLINE).unwrap();
    assert!(body.starts_with(b"POST /v1/traces "));
    for part in [
        &b"some-svc"[..],
        b"GET /thing/{id}",
        // The caller's trace and its span as the parent.
        b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c",
        b"\xb7\xad\x6b\x71\x69\x20\x33\x31",
    ] {
        let body_text = String::from_utf8_lossy(&body);
        assert!(
            find(&body, part).is_some(),
            "{} in {body_text}",
            part.escape_ascii()
        );
    }
}
