//! Queries that nobody should send: each parameter of each route of the OpenAPI documents, with its
//! example spoilt in every place and with rubbish instead. An answer, or a refusal that names it.

use crate::openapi::{EXAMPLES, operations};
use crate::support::{Answer, Service, apply_folder};
use aevon_testkit::TestDatabase;
use reqwest::Method;
use std::fmt::Write as _;
use std::path::Path;

/// What a refusal may be: of a request, of what it names, of what will not be there in time.
const REFUSALS: [u16; 3] = [400, 404, 504];

/// What means nothing, or too much, wherever it stands.
fn rubbish() -> Vec<String> {
    let long = "x".repeat(3_000);
    let nested = "[".repeat(1_000);
    let texts = [
        "",
        " ",
        "\0",
        "p\0q",
        "\u{feff}",
        "é\u{301}",
        "-",
        "-1",
        "0",
        "1e308",
        "NaN",
        "null",
        "true",
        "99999999999999999999",
        "9223372036854775807",
        "-9223372036854775808",
        "0:-1",
        "0:9223372036854775807",
        "99:1",
        "1:1,1:2",
        ":",
        ",",
        "..",
        "/",
        "//a",
        "~",
        "a[",
        "]",
        "{}",
        "{\"a\":{\"$in\":[]}}",
        "%",
        "%zz",
        "2026-02-30T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "-0001-01-01T00:00:00Z",
        "2026-01-01T00:00:00+99:99",
        "10s",
        "-1s",
        "1000000h",
        "Mars/Olympus",
        "UTC0",
        "tenant",
        "value",
        "-occurred_at",
        &long,
        &nested,
    ];
    texts.map(str::to_owned).to_vec()
}

/// An example with each of its characters left out, doubled, and made another one.
fn spoilt(value: &str) -> Vec<String> {
    let characters: Vec<char> = value.chars().collect();
    let mut spoilt = Vec::new();
    for at in 0..characters.len() {
        for middle in [vec![], vec![characters[at]; 2], vec!['~']] {
            let (before, behind) = (&characters[..at], &characters[at + 1..]);
            spoilt.push([before, &middle, behind].concat().into_iter().collect());
        }
    }
    spoilt
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let _ = match byte.is_ascii_alphanumeric() {
            true => write!(encoded, "{}", char::from(byte)),
            false => write!(encoded, "%{byte:02X}"),
        };
    }
    encoded
}

/// What is wrong with an answer to a request of which this parameter was spoilt.
fn wrong(name: &str, answer: &Answer) -> Option<&'static str> {
    if answer.status == 200 {
        return None;
    }
    let text = |field: &str| answer.body[field].as_str().unwrap_or_default();
    let is_told = text("type").starts_with("urn:aevon:problem:") && !text("detail").is_empty();
    let names_it = text("detail").contains(name);
    match text("type") {
        _ if !REFUSALS.contains(&answer.status) => Some("neither an answer nor a refusal"),
        _ if !is_told => Some("no problem"),
        "urn:aevon:problem:invalid-parameter" if !names_it => Some("does not name the parameter"),
        _ => None,
    }
}

/// Spoils each parameter of a request; how many requests were made, and how many refused.
async fn try_all(service: &Service, path: &str, found: &mut Vec<String>) -> (usize, usize) {
    let Some((place, query)) = path.split_once('?') else {
        return (0, 0);
    };
    let pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    let (mut made, mut refused) = (0, 0);
    for (at, pair) in pairs.iter().enumerate() {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // What is nearly the example of a time to wait is one, and would be waited for.
        let spoilt = (name != "wait").then(|| spoilt(value));
        for value in rubbish().into_iter().chain(spoilt.into_iter().flatten()) {
            let spoilt = format!("{name}={}", encoded(&value));
            let mut pairs = pairs.clone();
            pairs[at] = &spoilt;
            let query = pairs.join("&");
            let answer = service.get(&format!("{place}?{query}")).await;
            made += 1;
            refused += usize::from(answer.status != 200);
            let base = name.split('[').next().unwrap_or(name);
            if let Some(wrong) = wrong(base, &answer) {
                found.push(format!("{wrong}: {place}?{query:.300}: {answer:?}"));
            }
        }
    }
    (made, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_was_spoilt_is_answered_or_refused_by_the_name_of_what_is_wrong() {
    let db = TestDatabase::create().await;
    apply_folder(&db, Path::new(&format!("{EXAMPLES}/rules")));
    let mut found = Vec::new();
    let (mut made, mut refused) = (0, 0);
    for name in ["ingest-svc", "projection-svc", "aggregator-svc"] {
        let service = Service::start(name, db.url(), &[("AEVON_SERVER__HOST", "127.0.0.1")]).await;
        let document = service.get("/openapi.json").await.body;
        let operations = operations(&document);
        for operation in operations.iter().filter(|one| one.method == Method::GET) {
            // Those with every parameter at once say nothing more of each.
            let examples = operation.examples().into_iter();
            let single = examples.filter(|one| one.path.matches('=').count() <= 3);
            for example in single {
                let (more, of_them) = try_all(&service, &example.path, &mut found).await;
                made += more;
                refused += of_them;
            }
        }
    }
    found.truncate(20);
    assert!(found.is_empty(), "{found:#?}");
    assert!(
        made > 3_000 && refused > 1_000 && refused < made,
        "{refused} of {made} are refused"
    );
}
