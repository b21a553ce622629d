//! The server from outside: ids, problems, health, metrics, draining. Requests are written by hand, so
//! that nothing between the test and the wire can smooth them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, web};
use aevon_service::openapi::Document;
use aevon_service::{HttpOptions, Metrics, Readiness, Shutdown, http};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

struct Served {
    address: SocketAddr,
    readiness: Readiness,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
}

#[derive(Deserialize)]
struct Limit {
    limit: u32,
}

fn routes(routes: &mut http::Routes<'_>) {
    routes
        .data(web::JsonConfig::default().limit(64))
        .get("/limit", |query: web::Query<Limit>| async move {
            query.limit.to_string()
        })
        .post("/limit", |body: web::Json<Limit>| async move {
            body.limit.to_string()
        })
        .get(
            "/number/{n}",
            |n: web::Path<u32>| async move { n.to_string() },
        )
        .get("/panic", |request: HttpRequest| async move {
            let text = request
                .headers()
                .get("not-there")
                .map(|value| value.len().to_string());
            text.expect("nothing is here")
        })
        .get("/slow/{ms}", |ms: web::Path<u64>| async move {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
            HttpResponse::Ok().body("slept")
        });
}

fn served(grace: Duration) -> Served {
    let options = HttpOptions {
        host: "127.0.0.1".parse().unwrap(),
        port: 0,
        grace,
        workers: 1,
    };
    let listener = http::bind(&options).unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, shutdown) = (Readiness::new(&["database"]), Shutdown::new());
    let serve = http::serve(
        listener,
        options,
        readiness.clone(),
        Metrics::new().unwrap(),
        shutdown.clone(),
        Document::of([]),
        routes,
    );
    Served {
        address,
        readiness,
        shutdown,
        task: tokio::spawn(serve),
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}",
            self.head
        );
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["status"], self.status, "{body}");
        let code = body["type"]
            .as_str()
            .unwrap()
            .strip_prefix("urn:aevon:problem:")
            .unwrap();
        format!("{} {code}", self.status)
    }
}

impl Served {
    async fn open(&self, request: &str, more: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!("{request} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n");
        stream
            .write_all(format!("{head}{more}\r\n{body}").as_bytes())
            .await
            .unwrap();
        stream
    }

    async fn ask(&self, request: &str, more: &str, body: &str) -> Answer {
        let more = format!("connection: close\r\n{more}");
        read(self.open(request, &more, body).await).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "", "").await
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        self.task.await.unwrap()
    }
}

async fn read(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("cut off: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_is_a_problem_with_a_request_id() {
    let served = served(Duration::from_secs(5));
    let json = "content-type: application/json\r\n";
    let large = format!("{{\"limit\": {}1}}", " ".repeat(100));
    for (request, more, body, problem) in [
        ("GET /nowhere", "", "", "404 not-found"),
        ("DELETE /limit", "", "", "405 method-not-allowed"),
        ("POST /healthz", "", "", "405 method-not-allowed"),
        ("GET /limit?limit=x", "", "", "400 invalid-parameter"),
        ("GET /number/x", "", "", "404 not-found"),
        ("POST /limit", json, "{", "400 malformed-body"),
        ("POST /limit", json, &large, "413 body-too-large"),
        ("GET /panic", "", "", "500 internal"),
    ] {
        let answer = served.ask(request, more, body).await;
        assert_eq!(answer.problem(), problem, "{request}");
        assert_eq!(
            answer.header("x-request-id").map(str::len),
            Some(32),
            "{request}"
        );
        assert!(!answer.body.contains("nothing is here"), "{}", answer.body);
    }
    assert_eq!(
        served.ask("DELETE /limit", "", "").await.header("allow"),
        Some("GET, POST")
    );
    assert_eq!(
        served.get("/limit?limit=7").await.body,
        "7",
        "a panic ends only its request"
    );
    served.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_request_id_comes_back() {
    let served = served(Duration::from_secs(5));
    for (path, status) in [
        ("GET /healthz", 200),
        ("GET /nowhere", 404),
        ("GET /panic", 500),
    ] {
        let answer = served
            .ask(path, "x-request-id: from-the-caller\r\n", "")
            .await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.header("x-request-id"),
            Some("from-the-caller"),
            "{path}"
        );
    }
    let answer = served
        .ask("GET /healthz", "x-request-id: two words\r\n", "")
        .await;
    assert_eq!(answer.header("x-request-id").map(str::len), Some(32));
    served.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_what_is_wrong() {
    let served = served(Duration::from_secs(5));
    let answer = served.get("/healthz").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"status":"ok"}"#)
    );
    let answer = served.get("/readyz").await;
    let body = r#"{"reasons":{"database":"starting"},"status":"not ready"}"#;
    assert_eq!((answer.status, answer.body.as_str()), (503, body));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    served.readiness.set_ready("database");
    let answer = served.get("/readyz").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"status":"ready"}"#)
    );
    served.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_route_and_never_by_path() {
    let served = served(Duration::from_millis(300));
    for path in ["/number/7", "/number/8", "/number/x", "/secret/9", "/panic"] {
        served.get(path).await;
    }
    served.ask("BREW /limit", "", "").await;
    let slow = served.open("GET /slow/60000", "", "").await;
    let metrics = served.get("/metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    let count = |line: &str| {
        let found = metrics.body.lines().find_map(|one| one.strip_prefix(line));
        found.map(str::trim).unwrap_or("absent")
    };
    let requests = |route: &str, method: &str, status: u16| {
        let series = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        count(&format!("aevon_http_requests_total{{{series}}}"))
    };
    assert_eq!(requests("/number/{n}", "GET", 200), "2", "{}", metrics.body);
    assert_eq!(requests("/number/{n}", "GET", 404), "1");
    assert_eq!(requests("none", "GET", 404), "1");
    assert_eq!(requests("none", "GET", 500), "1");
    assert_eq!(requests("/limit", "other", 405), "1");
    let seconds = "aevon_http_request_duration_seconds_count{method=\"GET\",route=\"/number/{n}\"}";
    assert_eq!(count(seconds), "3");
    assert_eq!(
        count("aevon_http_requests_in_flight"),
        "2",
        "the slow and this"
    );
    assert_eq!(count("aevon_http_requests_abandoned_total"), "0");
    assert!(!metrics.body.contains("secret") && !metrics.body.contains("BREW"));
    // A reset tells the server that nobody waits; a plain close may be that of one direction.
    socket2::SockRef::from(&slow)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(slow);
    let end = Instant::now() + Duration::from_secs(10);
    let abandoned = "aevon_http_requests_abandoned_total 1";
    while !served.get("/metrics").await.body.contains(abandoned) {
        assert!(Instant::now() < end, "it was not noticed");
    }
    served.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered_and_an_idle_connection_delays_nothing() {
    let served = served(Duration::from_secs(30));
    let mut idle = served.open("GET /healthz", "", "").await;
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    let slow = served.open("GET /slow/700", "", "").await;
    // The server has the slow request for sure once it answers one that came later.
    tokio::time::timeout(Duration::from_secs(5), served.get("/healthz"))
        .await
        .unwrap();
    served.shutdown.trigger();
    let answer = read(slow).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "slept"));
    let stopped = tokio::time::timeout(Duration::from_secs(10), served.task).await;
    stopped
        .expect("the idle connection held the server up")
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_cut_at_the_end_of_the_grace() {
    let served = served(Duration::from_millis(300));
    let _endless = served.open("GET /slow/3600000", "", "").await;
    served.get("/healthz").await;
    let begun = Instant::now();
    served.stop().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_the_address() {
    let mut options = HttpOptions {
        host: "127.0.0.1".parse().unwrap(),
        port: 0,
        grace: Duration::ZERO,
        workers: 1,
    };
    let first = http::bind(&options).unwrap();
    options.port = first.local_addr().unwrap().port();
    let error = http::bind(&options).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("cannot listen on 127.0.0.1:{}", options.port)
    );
}
