//! What an operator sees: metrics, traces, logs.

use crate::support::{DEADLINE, SUM, Service, apply, array, event, stop};
use aevon_testkit::{Proxy, TestDatabase, eventually};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use reqwest::Method;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The value of a series of a service; 0 where it is not there.
async fn value(service: &Service, series: &str) -> f64 {
    let answer = service.get("/metrics").await;
    let text = answer.body.as_str().unwrap();
    let found = text.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        (name == series).then(|| value.parse().unwrap())
    });
    found.unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_counts_what_it_does() {
    let db = TestDatabase::create().await;
    apply(&db, &[SUM]);
    let every_10_ms = [
        ("AEVON_AGGREGATION__APPLY_ON_START", "false"),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "10ms"),
    ];
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let aggregator = Service::start("aggregator-svc", db.url(), &every_10_ms).await;
    let three = [("AEVON_DATABASE__MAX_CONNECTIONS", "3")];
    let projection = Service::start("projection-svc", db.url(), &three).await;

    let mixed = array(&[
        event("p", "a", r#"{"n":1}"#),
        event("p", "b", r#"{"n":"x"}"#),
        event("p", "a", r#"{"n":1}"#),
        event("p", "b", r#"{"n":2}"#),
        event("p", "c", r#"{"n":1e999}"#),
        "7".to_owned(),
    ]);
    assert_eq!(ingest.post(mixed).await.status, 207);
    for (series, expected) in [
        (r#"aevon_ingest_events_total{outcome="accepted"}"#, 2.0),
        (r#"aevon_ingest_events_total{outcome="duplicate"}"#, 1.0),
        (r#"aevon_ingest_events_total{outcome="conflict"}"#, 1.0),
        (r#"aevon_ingest_events_total{outcome="rejected"}"#, 2.0),
        (
            r#"aevon_ingest_rejected_total{code="number-out-of-bounds"}"#,
            1.0,
        ),
        (r#"aevon_ingest_rejected_total{code="event-conflict"}"#, 1.0),
        ("aevon_ingest_commit_events_sum", 4.0),
        ("aevon_ingest_commit_seconds_count", 1.0),
        ("aevon_ingest_queue_events", 0.0),
        ("aevon_ingest_queue_events_max", 50_000.0),
        ("aevon_ingest_arriving_bytes", 0.0),
        (
            r#"aevon_http_requests_total{method="POST",route="/v1/events",status="207"}"#,
            1.0,
        ),
    ] {
        assert_eq!(value(&ingest, series).await, expected, "{series}");
    }

    eventually(DEADLINE, "both events are swept", async || {
        value(&aggregator, "aevon_aggregator_events_total").await == 2.0
    })
    .await;
    assert_eq!(
        value(&aggregator, "aevon_aggregator_skipped_total").await,
        1.0
    );
    eventually(
        DEADLINE,
        "the aggregator says that it is done",
        async || {
            value(&aggregator, r#"aevon_aggregator_rules{status="active"}"#).await == 1.0
                && value(&aggregator, "aevon_aggregator_lag_seconds").await == 0.0
                && value(
                    &aggregator,
                    "aevon_aggregator_last_success_timestamp_seconds",
                )
                .await
                    > 1.7e9
        },
    )
    .await;

    assert_eq!(projection.get("/v1/state/acme/p").await.status, 200);
    assert_eq!(projection.get("/v1/state/acme/p?rule=no").await.status, 404);
    for (series, expected) in [
        (r#"aevon_projection_reads_total{outcome="answered"}"#, 1.0),
        (r#"aevon_projection_reads_total{outcome="refused"}"#, 1.0),
        ("aevon_projection_read_rules_sum", 1.0),
        ("aevon_projection_read_buckets_sum", 1.0),
        ("aevon_projection_read_raw_events_sum", 0.0),
        (
            r#"aevon_database_connections_max{pool="projection-svc"}"#,
            3.0,
        ),
    ] {
        assert_eq!(value(&projection, series).await, expected, "{series}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_and_a_writer_that_waits_can_be_seen() {
    let db = TestDatabase::create().await;
    let settings = [
        ("AEVON_INGEST__QUEUE_EVENTS", "1"),
        ("AEVON_INGEST__WRITERS", "1"),
    ];
    let ingest = Service::start("ingest-svc", db.url(), &settings).await;
    let connected = r#"aevon_ingest_writer_connected{writer="0"}"#;
    assert_eq!(value(&ingest, connected).await, 0.0);
    let holder = db.client().await;
    holder
        .batch_execute("BEGIN; SELECT FROM partitions FOR UPDATE")
        .await
        .unwrap();
    let waiting = ingest.post(event("p", "a", "{}"));
    let look = async {
        eventually(DEADLINE, "the event is in the queue", async || {
            value(&ingest, "aevon_ingest_queue_events").await == 1.0
        })
        .await;
        assert_eq!(ingest.post(event("p", "b", "{}")).await.status, 503);
        let full = r#"aevon_ingest_unstored_total{reason="full"}"#;
        assert_eq!(value(&ingest, full).await, 1.0);
        holder.batch_execute("ROLLBACK").await.unwrap();
    };
    let (answer, ()) = tokio::join!(waiting, look);
    assert_eq!(answer.status, 202);
    assert_eq!(value(&ingest, connected).await, 1.0);
    eventually(DEADLINE, "its room is free again", async || {
        value(&ingest, "aevon_ingest_queue_bytes").await == 0.0
    })
    .await;
}

/// A collector of traces of a few lines.
struct Collector {
    endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let collected = Arc::clone(&spans);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let request = receive(stream.unwrap());
                let scopes = request.resource_spans.into_iter();
                let scopes = scopes.flat_map(|resource| resource.scope_spans);
                let spans = scopes.flat_map(|scope| scope.spans);
                collected.lock().unwrap().extend(spans);
            }
        });
        Self { endpoint, spans }
    }

    /// The spans of a name.
    fn named(&self, name: &str) -> Vec<Span> {
        let spans = self.spans.lock().unwrap();
        spans
            .iter()
            .filter(|span| span.name == name)
            .cloned()
            .collect()
    }
}

/// One request of an exporter, answered 200.
fn receive(stream: TcpStream) -> ExportTraceServiceRequest {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.to_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    reader.get_mut().write_all(answer).unwrap();
    ExportTraceServiceRequest::decode(&body[..]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_the_caller_to_the_append_and_from_a_read_and_a_sweep_to_their_work() {
    let collector = Collector::start();
    let db = TestDatabase::create().await;
    apply(&db, &[SUM]);
    let settings = [
        (
            "AEVON_TELEMETRY__OTLP_ENDPOINT",
            collector.endpoint.as_str(),
        ),
        ("AEVON_AGGREGATION__APPLY_ON_START", "false"),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "10ms"),
    ];
    let mut ingest = Service::start("ingest-svc", db.url(), &settings).await;
    let mut projection = Service::start("projection-svc", db.url(), &settings).await;
    let mut aggregator = Service::start("aggregator-svc", db.url(), &settings).await;
    let trace_id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("traceparent", traceparent)];
    for service_and_path in [(&ingest, "/v1/events"), (&projection, "/v1/state/acme/p")] {
        let (service, path) = service_and_path;
        let (method, body) = match path {
            "/v1/events" => (Method::POST, event("p", "a", r#"{"n":1}"#)),
            _ => (Method::GET, String::new()),
        };
        let answer = service.send(method, path, &headers, body).await;
        assert!(answer.status < 300, "{answer:?}");
    }
    eventually(DEADLINE, "the event is swept", async || {
        value(&aggregator, "aevon_aggregator_events_total").await == 1.0
    })
    .await;
    // The last spans leave when a service stops.
    for service in [&mut ingest, &mut projection, &mut aggregator] {
        assert_eq!(stop(service).await, Some(0));
    }

    let requests = collector.named("POST /v1/events");
    let [request] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    assert_eq!(request.trace_id, trace_id);
    assert_eq!(
        request.parent_span_id,
        0xb7ad_6b71_6920_3331_u64.to_be_bytes()
    );
    let appends = collector.named("append");
    let [append] = appends.as_slice() else {
        panic!("{appends:?}");
    };
    // A group may serve many requests, so neither is the other's parent.
    assert_eq!(append.links[0].trace_id, trace_id);
    assert_eq!(append.links[0].span_id, request.span_id);
    assert_eq!(request.links[0].span_id, append.span_id);
    let state = collector.named("GET /v1/state/{tenant}/{principal}");
    let read = collector.named("read");
    assert_eq!(read[0].trace_id, trace_id);
    assert_eq!(read[0].parent_span_id, state[0].span_id);
    assert!(!collector.named("sweep").is_empty());
}

/// A service that logs into a file.
fn logging(
    name: &str,
    url: &str,
    level: &str,
    folder: &tempfile::TempDir,
) -> (Service, std::path::PathBuf) {
    let path = folder.path().join(name);
    let settings = [
        ("AEVON_LOG__LEVEL", level),
        ("AEVON_AGGREGATION__APPLY_ON_START", "false"),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "10ms"),
    ];
    let log = File::create(&path).unwrap();
    (Service::spawn_with_log(name, url, &settings, log), path)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payload_is_logged_whatever_the_level() {
    let db = TestDatabase::create().await;
    apply(&db, &[SUM]);
    let folder = tempfile::tempdir().unwrap();
    let level = "trace,tokio_postgres=trace,actix_http=trace,actix_web=trace,diesel=trace,\
                 hyper=trace,mio=trace";
    let names = ["ingest-svc", "aggregator-svc", "projection-svc"];
    let services = names.map(|name| logging(name, db.url(), level, &folder));
    for (service, _) in &services {
        service.ready().await;
    }
    let [(ingest, _), (aggregator, _), (projection, _)] = &services;
    let secret = r#"{"n":1,"pass":"xyzzy-data","key-xyzzy":[true]}"#;
    let with_metadata = |id: &str, data: &str| {
        let event = event("p", id, data);
        event.replace("\"data\"", r#""metadata":{"m":"xyzzy-metadata"},"data""#)
    };
    assert_eq!(ingest.post(with_metadata("a", secret)).await.status, 202);
    // A duplicate, a conflict, refusals, and what is no event at all.
    let others = array(&[
        with_metadata("a", secret),
        with_metadata("a", r#"{"pass":"xyzzy-other"}"#),
        with_metadata("b", r#"{"n":1e999,"pass":"xyzzy-refused"}"#),
        r#""xyzzy-text""#.to_owned(),
    ]);
    assert_eq!(ingest.post(others).await.status, 207);
    assert_eq!(ingest.post("xyzzy-broken").await.status, 400);
    eventually(DEADLINE, "the event is swept", async || {
        value(aggregator, "aevon_aggregator_events_total").await == 1.0
    })
    .await;
    assert_eq!(projection.get("/v1/state/acme/p").await.status, 200);
    for (_, path) in &services {
        let log = std::fs::read_to_string(path).unwrap();
        assert!(log.contains("TRACE"), "nothing is held back: {log}");
        // As text, and as the bytes that a statement's parameters are written down in.
        let bytes = format!("{:?}", b"xyzzy");
        let bytes = bytes.trim_matches(['[', ']']);
        let is_payload = |line: &&str| line.contains("xyzzy") || line.contains(bytes);
        assert_eq!(log.lines().find(is_payload), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_5xx_is_one_line_of_json_with_its_request_id() {
    let db = TestDatabase::create().await;
    let (proxy, url) = Proxy::in_front_of(db.url()).await;
    let folder = tempfile::tempdir().unwrap();
    let (ingest, path) = logging("ingest-svc", &url, "info", &folder);
    ingest.ready().await;
    proxy.cut();
    let headers = [("x-request-id", "look-for-me")];
    let answer = ingest
        .send(Method::POST, "/v1/events", &headers, event("p", "a", "{}"))
        .await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let log = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found: Vec<&Value> = lines
        .iter()
        .filter(|line| line["id"] == "look-for-me")
        .collect();
    let [line] = found.as_slice() else {
        panic!("{log}");
    };
    assert_eq!(
        (&line["level"], &line["status"]),
        (&"WARN".into(), &503.into())
    );
    assert!(
        line["error"].as_str().unwrap().contains("Postgres"),
        "{line}"
    );
}
