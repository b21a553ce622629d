//! What a client does with answers: a listener that answers as it is told, and keeps what it was sent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aevon_client::{Backoff, Client, Error, Event, Outcome};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

/// Answers one request after the other, each on a connection of its own; the bodies that came.
fn answering(answers: Vec<String>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, bodies) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            told.send(take(&stream)).unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, bodies)
}

fn take(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

fn stored(count: usize) -> String {
    let body =
        json!({"accepted": count, "duplicate": 0, "rejected": 0, "version": "1:7", "results": []});
    answer("202 Accepted", "", &body.to_string())
}

fn problem(status: &str, headers: &str, code: &str) -> String {
    let body = json!({"type": format!("urn:aevon:problem:{code}"), "detail": "no"});
    answer(status, headers, &body.to_string())
}

fn event(number: u32) -> Event {
    Event::new("p", "t", json!({"n": number})).occurred_at("2026-01-01T00:00:00Z")
}

fn client(url: &str) -> Client {
    let backoff = Backoff {
        first: Duration::from_millis(10),
        longest: Duration::from_millis(50),
    };
    Client::builder(url)
        .backoff(backoff)
        .patience(SOON)
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_same_bytes_are_sent_again_and_not_sooner_than_was_asked_for() {
    let answers = vec![
        problem(
            "503 Service Unavailable",
            "retry-after: 1\r\n",
            "overloaded",
        ),
        // The connection breaks off within the answer.
        "HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\n{".to_owned(),
        problem("429 Too Many Requests", "", "rate-limited"),
        stored(2),
    ];
    let (url, bodies) = answering(answers);
    let began = Instant::now();
    let client = client(&url);
    // Neither has an id or, the first, an instant: both are made once.
    let events = [Event::new("p", "t", json!({})), event(1)];
    let outcomes = client.send_all(events).await;
    assert!(outcomes.iter().all(Outcome::is_stored), "{outcomes:?}");
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(client.version().to_string(), "1:7");
    let bodies: Vec<String> = bodies.iter().collect();
    assert_eq!(bodies.len(), 4);
    assert!(
        bodies.windows(2).all(|pair| pair[0] == pair[1]),
        "{bodies:#?}"
    );
    assert_eq!(bodies[0].lines().count(), 2);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_sent_in_halves_and_one_event_that_is_is_rejected() {
    let too_large = || problem("413 Payload Too Large", "", "body-too-large");
    let answers = vec![too_large(), stored(1), too_large(), too_large(), stored(1)];
    let (url, bodies) = answering(answers);
    let outcomes = client(&url).send_all((0..3).map(event)).await;
    let texts: Vec<String> = outcomes.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["stored", "body-too-large: no", "stored"]);
    let lines: Vec<usize> = bodies.iter().map(|body| body.lines().count()).collect();
    assert_eq!(lines, [3, 1, 2, 1, 1]);
}

#[tokio::test]
async fn what_is_wrong_for_good_is_not_tried_again() {
    let (url, bodies) = answering(vec![problem("401 Unauthorized", "", "unauthenticated")]);
    let outcomes = client(&url).send_all([event(1), event(2)]).await;
    for outcome in &outcomes {
        let Outcome::Undelivered(Error::Refused(problem)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!((problem.status, problem.code()), (401, "unauthenticated"));
    }
    assert_eq!((outcomes.len(), bodies.iter().count()), (2, 1));
}

#[tokio::test]
async fn a_queue_is_bounded_and_every_wait_ends() {
    // Takes connections, and never says a word.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&format!("http://{}", listener.local_addr().unwrap()));
    let producer = client.producer().queue_events(40).queue_bytes(2_000);
    let producer = producer
        .enqueue_timeout(Duration::from_millis(100))
        .linger(Duration::ZERO);
    let producer = producer.start().await.unwrap();
    let (mut taken, mut deliveries) = (0_u32, Vec::new());
    let (given_back, error) = loop {
        match producer.try_send(event(taken)) {
            Ok(delivery) => deliveries.push(delivery),
            Err(refused) => break refused,
        }
        taken += 1;
    };
    assert!(matches!(error, Error::Full), "{error}");
    assert_eq!(given_back, event(taken));
    // Each has more than 100 bytes, so that bytes are the bound, and not the number.
    assert!((10..20).contains(&taken), "{taken}");
    let error = producer.send(event(taken)).await.unwrap_err();
    assert!(matches!(error, Error::Full), "{error}");
    let too_large = Event::new("p", "t", json!({"text": "x".repeat(2_000)}));
    assert!(matches!(
        producer.send(too_large).await,
        Err(Error::Invalid(_))
    ));
    let flushed = producer.flush(Duration::from_millis(100)).await;
    assert!(matches!(flushed, Err(Error::TimedOut(_))), "{flushed:?}");

    let began = Instant::now();
    let stats = producer.shutdown(Duration::from_millis(200)).await;
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        (stats.taken, stats.pending),
        (u64::from(taken), 0),
        "{stats:?}"
    );
    assert_eq!(stats.undelivered, u64::from(taken));
    for delivery in deliveries {
        assert!(matches!(delivery.await, Outcome::Undelivered(_)));
    }
    assert!(matches!(producer.send(event(1)).await, Err(Error::Closed)));
}

#[tokio::test]
async fn events_that_come_soon_share_a_body_and_a_flush_waits_for_none() {
    let (url, bodies) = answering(vec![stored(3), stored(2), stored(1)]);
    let producer = client(&url).producer().linger(SOON).max_batch_events(3);
    let producer = producer.start().await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..5 {
        deliveries.push(producer.send(event(number)).await.unwrap());
    }
    producer.flush(SOON).await.unwrap();
    let stats = producer.stats();
    assert_eq!((stats.stored, stats.pending), (5, 0), "{stats:?}");
    // A shutdown does not wait for company either.
    deliveries.push(producer.send(event(9)).await.unwrap());
    assert_eq!(producer.shutdown(SOON).await.stored, 6);
    for delivery in deliveries {
        assert!(delivery.await.is_stored());
    }
    let lines: Vec<usize> = bodies.iter().map(|body| body.lines().count()).collect();
    assert_eq!(lines, [3, 2, 1]);
}

#[tokio::test]
async fn a_full_spool_is_waited_for_as_long_as_a_delivery_and_no_longer() {
    // Asks everybody to come back tomorrow.
    let tomorrow = problem(
        "503 Service Unavailable",
        "retry-after: 86400\r\n",
        "overloaded",
    );
    let (url, _bodies) = answering(vec![tomorrow; 3]);
    let folder = tempfile::tempdir().unwrap();
    let producer = client(&url)
        .producer()
        .max_batch_events(1)
        .linger(Duration::ZERO);
    let producer = producer
        .delivery_timeout(Duration::from_millis(150))
        .spool(folder.path())
        .spool_max_bytes(600);
    let producer = producer.start().await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..8 {
        deliveries.push(producer.send(event(number)).await.unwrap());
    }
    let (mut spooled, mut full) = (0_u64, 0);
    for delivery in deliveries {
        match tokio::time::timeout(SOON, delivery).await.unwrap() {
            Outcome::Spooled => spooled += 1,
            Outcome::Undelivered(error) => {
                assert!(error.to_string().contains("is full"), "{error}");
                full += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let stats = producer.stats();
    assert!(spooled > 0 && full > 0, "{spooled}, {full}, {stats:?}");
    assert_eq!(
        (stats.spool_events, stats.undelivered),
        (spooled, full),
        "{stats:?}"
    );
}
