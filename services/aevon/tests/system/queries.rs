//! Parameters of every question in the OpenAPI documents, spoilt one at a time: each is refused by its name, or
//! answered as the document says.

use crate::openapi::{EXAMPLES, Operation, operations};
use crate::support::{Service, apply_folder};
use aevon_testkit::TestDatabase;
use reqwest::Method;
use std::path::Path;

/// What nobody would ask for, as it stands in an address.
const RUBBISH: [&str; 22] = [
    "",
    "%00",
    "a%00b",
    "%ff",
    "%F0%9F%98%80",
    "%20",
    "-1",
    "0",
    "00",
    "1e300",
    "NaN",
    "9223372036854775808",
    "99999999999999999999999999",
    "2026-02-30",
    "2026-02-11T10:30:00",
    "-9999-01-01T00:00:00Z",
    "99999-01-01T00:00:00Z",
    "0:-1,99:1",
    "x,,y",
    "[]",
    "%7B%7D",
    "';--",
];
/// A parameter that no route has.
const UNKNOWN: &str = "no_such_parameter=1";

/// What came of all questions.
#[derive(Default)]
struct Tried {
    refused: usize,
    answered: usize,
    wrong: Vec<String>,
}

impl Tried {
    /// Asks, and holds the answer to the document; a refusal has to name what is wrong.
    async fn ask(&mut self, service: &Service, operation: &Operation<'_>, path: &str, name: &str) {
        let answer = service.get(path).await;
        let body = answer.body.to_string();
        let is_named = body.contains(name) || body.contains("has no dimension");
        match answer.status {
            200 | 204 | 404 => self.answered += 1,
            400 if is_named => self.refused += 1,
            _ => return self.wrong.push(format!("{path}: {answer:?}")),
        }
        operation.check_answer(&answer);
    }
}

/// The address with what has to be there, and without what doesn't.
fn bare(operation: &Operation<'_>) -> String {
    let mut paths = operation.paths();
    // The last one has all parameters, the one before none.
    paths.swap_remove(paths.len() - 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoilt_parameter_is_refused_by_its_name_or_answered_as_the_document_says() {
    let db = TestDatabase::create().await;
    let rules = format!("{EXAMPLES}/rules");
    apply_folder(&db, Path::new(&rules));
    let folder = [("AEVON_AGGREGATION__CONFIG_DIR", rules.as_str())];
    let mut tried = Tried::default();
    let mut parameters = 0;
    for name in ["ingest-svc", "projection-svc", "aggregator-svc"] {
        let service = Service::start(name, db.url(), &folder).await;
        let document = service.get("/openapi.json").await.body;
        for operation in operations(&document) {
            if operation.method != Method::GET {
                continue;
            }
            let bare = bare(&operation);
            tried
                .ask(
                    &service,
                    &operation,
                    &format!("{bare}&{UNKNOWN}"),
                    "no_such_parameter",
                )
                .await;
            for name in operation.names_in_query() {
                parameters += 1;
                let before = tried.refused;
                for value in RUBBISH {
                    let path = format!("{bare}&{name}={value}");
                    tried.ask(&service, &operation, &path, name).await;
                }
                let is_any = tried.refused > before;
                assert!(is_any, "{}: nothing in {name} is refused", operation.path);
            }
        }
    }
    assert!(tried.wrong.is_empty(), "{:#?}", tried.wrong);
    let Tried {
        refused, answered, ..
    } = tried;
    assert!(
        parameters > 40 && refused > 10 * parameters,
        "{parameters}, {refused}"
    );
    eprintln!("{parameters} parameters, {refused} questions refused by name, {answered} answered");
}
