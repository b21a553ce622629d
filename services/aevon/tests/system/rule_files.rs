//! `aevon rules check`, `apply`, `preview` and `status` as an operator runs them.

use crate::support::{
    DEADLINE, SUM, Service, apply, array, command, event, finish, rules, stop, text,
};
use aevon_testkit::{TestDatabase, eventually};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Output, Stdio};

const LARGE: (&str, &str) = (
    "large.yaml",
    "name: large\nsource_event: t\noperator: avg\nfield: n\nfilter: data.n > 2\ngroup_by: [model, a.b]\n",
);
const OTHER: (&str, &str) = (
    "other.yaml",
    "name: other\nsource_event: other\noperator: count\n",
);

fn run(url: &str, verb: &[&str]) -> Output {
    finish(command("aevon", url).arg("rules").args(verb))
}

/// What a run that succeeded said.
fn said(url: &str, verb: &[&str]) -> String {
    let output = run(url, verb);
    assert!(
        output.status.success(),
        "{verb:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Tables, line by line, by single spaces.
fn lines(out: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    out.lines().map(words).collect()
}

#[test]
fn check_lists_rules_and_what_they_read_of_sample_events() {
    let folder = rules(&[SUM, LARGE, OTHER]);
    let dir = folder.path().to_str().unwrap();
    assert_eq!(
        lines(&said("", &["check", dir])),
        [
            "RULE SOURCE_EVENT OPERATOR FIELD GROUP_BY UNIT FILTER",
            "large t avg n a.b,model - data.n > 2",
            "other other count - - - -",
            "total t sum n - tokens -",
            "3 rules, no faults",
        ]
    );
    let file = folder.path().join("events.ndjson");
    let events = [
        event("p", "e1", r#"{"n":"4.50","model":"m1"}"#),
        event("p", "e2", r#"{"n":1,"a":{"b":true}}"#),
        event("p", "e3", r#"{"n":{}}"#),
    ];
    let one_line = |event: &String| event.split_whitespace().collect::<Vec<_>>().join(" ");
    let ndjson: Vec<String> = events.iter().map(one_line).collect();
    // Without the tenant, as a key of the tenant lets it.
    let ndjson = ndjson.join("\n").replace(r#""tenant_id":"acme","#, "");
    std::fs::write(&file, &ndjson).unwrap();
    let expected = [
        "event e1 (t, 2026-01-01T09:30:20.5Z)",
        "RULE SOURCE_EVENT FILTER VALUE GROUP",
        "large yes fails: types don't fit skipped a.b=(none), model=m1",
        "other no: other - - -",
        "total yes - 4.5 -",
        "",
        "event e2 (t, 2026-01-01T09:30:20.5Z)",
        "RULE SOURCE_EVENT FILTER VALUE GROUP",
        "large yes leaves out - -",
        "other no: other - - -",
        "total yes - 1 -",
        "",
        "event e3 (t, 2026-01-01T09:30:20.5Z)",
        "RULE SOURCE_EVENT FILTER VALUE GROUP",
        "large yes fails: types don't fit skipped a.b=(none), model=(none)",
        "other no: other - - -",
        "total yes - skipped: an object -",
        "3 rules, no faults",
    ];
    let from_file = said("", &["check", dir, "--event", file.to_str().unwrap()]);
    assert_eq!(lines(&from_file), expected);
    // The same as an array, by standard input.
    let mut child = command("aevon", "")
        .args(["rules", "check", dir, "--event", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(array(&events).as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), from_file);
}

#[test]
fn check_names_every_fault_of_rules_and_of_sample_events() {
    let folder = rules(&[
        (
            "a.yaml",
            "name: a\nsource_event: t\noperator: count\nfilter: 1 + 1\n",
        ),
        (
            "b.yaml",
            "name: b\ncolour: red\noperator: avg\ngroup_by: [/a~2b]\n",
        ),
    ]);
    let output = run("", &["check", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    let named: Vec<&str> = stderr.lines().collect();
    for (line, says) in named.iter().zip([
        "a.yaml: filter: must be true or false, and gives a sum",
        "b.yaml: colour: is no field of a rule",
        "b.yaml: source_event: is required",
        "b.yaml: field: is required by avg",
        "b.yaml: group_by: holds ~ without 0 or 1",
        "aevon: error: the folder has 5 faults; nothing of it was used",
    ]) {
        assert!(line.contains(says), "{says} in {stderr}");
    }
    assert_eq!(named.len(), 6, "{stderr}");
    let missing = run("", &["check", "/nowhere/at/all"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nowhere/at/all: No such file"));

    let good = rules(&[SUM]);
    let dir = good.path().to_str().unwrap();
    let file = good.path().join("event.json");
    for (body, says) in [
        ("", "holds no event"),
        ("[]", "holds no event"),
        ("{\"id\":", "is no JSON"),
        ("7", "is not a JSON object"),
        (
            r#"{"id":"e","type":"aevon.x","occurred_at":"soon","data":{},"principal_id":"p"}"#,
            "event 0: type: ",
        ),
    ] {
        std::fs::write(&file, body).unwrap();
        let output = run("", &["check", dir, "--event", file.to_str().unwrap()]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{body}: {stderr}");
        assert!(
            stderr.contains(says) && stderr.contains("event.json"),
            "{stderr}"
        );
        assert!(!stderr.contains("tenant_id"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_applied_as_a_whole_and_what_comes_back_is_a_new_version() {
    let db = TestDatabase::create().await;
    let apply = |texts: &[(&str, &str)]| {
        let folder = rules(texts);
        run(db.url(), &["apply", folder.path().to_str().unwrap()])
    };
    let applied = |texts: &[(&str, &str)]| {
        let output = apply(texts);
        assert!(output.status.success(), "{}", text(&output.stderr));
        lines(&text(&output.stdout))
    };
    let max = (SUM.0, &*SUM.1.replace("sum", "max"));
    assert_eq!(
        applied(&[SUM, OTHER]),
        [
            "registered other, version 1",
            "registered total, version 1",
            "2 registered, 0 retired, 0 unchanged"
        ]
    );
    assert_eq!(
        applied(&[max]),
        [
            "registered total, version 2",
            "retired other",
            "1 registered, 1 retired, 0 unchanged"
        ]
    );
    // A set with a fault changes nothing, not even by its good files.
    let output = apply(&[SUM, ("bad.yaml", "name: bad\n")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("bad.yaml: operator: is required"));
    // The old meaning is a new version: what it was is never revived.
    assert_eq!(
        applied(&[SUM]),
        [
            "registered total, version 3",
            "1 registered, 0 retired, 0 unchanged"
        ]
    );
    let described = (SUM.0, &*format!("{}description: other words\n", SUM.1));
    assert_eq!(
        applied(&[described]),
        ["unchanged total", "0 registered, 0 retired, 1 unchanged"]
    );
    let status = said(db.url(), &["status"]);
    assert_eq!(
        lines(&status),
        [
            "RULE VERSION STATUS LAG EVENTS LAG EVENTS/S LEFT",
            "other 1 retired - - - -",
            "total 1 retired - - - -",
            "total 2 retired - - - -",
            "total 3 building 0 - - -",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_applies_nothing_changes_nothing_whatever_files_it_has() {
    let db = TestDatabase::create().await;
    let old = rules(&[SUM]);
    let settings = [
        (
            "AEVON_AGGREGATION__CONFIG_DIR",
            old.path().to_str().unwrap(),
        ),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
        ("AEVON_AGGREGATION__APPLY_ON_START", "false"),
    ];
    apply(&db, &[SUM]);
    apply(&db, &[LARGE]);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    assert_eq!(ingest.post(event("p", "e", r#"{"n":3}"#)).await.status, 202);
    // Twice: a pod that is restarted with the files of yesterday.
    for _ in 0..2 {
        let mut aggregator = Service::start("aggregator-svc", db.url(), &settings).await;
        eventually(DEADLINE, "it sweeps what the table says", async || {
            lines(&said(db.url(), &["status", "--over", "1ms"]))[1..]
                == ["large 1 active 0 - - -", "total 1 retired - - - -"]
        })
        .await;
        assert_eq!(stop(&mut aggregator).await, Some(0));
    }
}

const QUESTIONS: [(&[&str], &str); 6] = [
    (&[], ""),
    (&["--granularity", "1h"], "granularity=1h"),
    (&["--group-by", "model,a.b"], "group_by=model,a.b"),
    (
        &[
            "--group-by",
            "model",
            "--filter",
            "model=m1",
            "--filter",
            "model",
        ],
        "group_by=model&filter[model]=m1&filter[model]",
    ),
    (
        &[
            "--start",
            "2026-01-01T09:30:20.5Z",
            "--end",
            "2026-01-01T09:30:20.500001Z",
        ],
        "start=2026-01-01T09:30:20.5Z&end=2026-01-01T09:30:20.500001Z",
    ),
    (
        &[
            "--start",
            "2026-01-01T10:00:00Z",
            "--end",
            "2026-01-01T12:00:00Z",
            "--granularity",
            "1h",
        ],
        "start=2026-01-01T10:00:00Z&end=2026-01-01T12:00:00Z&granularity=1h",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_the_answer_that_the_deployed_rule_then_gives() {
    let db = TestDatabase::create().await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let data = |n: i32| format!(r#"{{"n":{n},"model":"m{}","a":{{"b":{}}}}}"#, n % 3, n % 2);
    let mut events: Vec<String> = (0..40)
        .map(|n| event("p", &format!("e{n}"), &data(n)))
        .collect();
    events.push(event("p", "odd", r#"{"n":null}"#));
    events.push(event("q", "other", &data(1_000)));
    assert_eq!(ingest.post(array(&events)).await.status, 202);
    let level = LARGE
        .1
        .replace("avg", "weighted_sum")
        .replace("large", "level");
    let unique = LARGE
        .1
        .replace("avg", "unique_count")
        .replace("large", "users");
    let files = [LARGE, ("level.yaml", &*level), ("users.yaml", &*unique)];
    let folder = rules(&files);
    let preview = |file: &str, flags: &[&str]| -> Value {
        let file = folder.path().join(file);
        let who = ["--tenant", "acme", "--principal", "p", "--format", "json"];
        let verb = [&["preview", file.to_str().unwrap()], &who[..], flags].concat();
        serde_json::from_str(&said(db.url(), &verb)).unwrap()
    };
    let ask_all = || -> Vec<Value> {
        let of_file =
            |(file, _): &(&str, &str)| QUESTIONS.map(|(flags, _)| preview(file, flags)).to_vec();
        files.iter().flat_map(of_file).collect()
    };
    let before = ask_all();
    let [total, ..] = before.as_slice() else {
        panic!()
    };
    assert_eq!(
        (&total["rule"], &total["rule_version"]),
        (&json!("large"), &json!(1))
    );
    assert_eq!(
        total["values"][0]["event_count"], 37,
        "it folded something: {total}"
    );

    apply(&db, &files);
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let settings = [
        (
            "AEVON_AGGREGATION__CONFIG_DIR",
            folder.path().to_str().unwrap(),
        ),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
    ];
    let _aggregator = Service::start("aggregator-svc", db.url(), &settings).await;
    eventually(DEADLINE, "everything is swept", async || {
        let rules = projection.get("/v1/rules").await.body;
        let rules = rules["rules"].as_array().unwrap();
        rules
            .iter()
            .all(|r| r["lag_events"] == 0 && r["status"] == "active")
    })
    .await;
    let mut previewed = before.iter();
    for (name, _) in [("large", 0), ("level", 0), ("users", 0)] {
        for (_, query) in QUESTIONS {
            let path = format!("/v1/state/acme/p?rule={name}&{query}");
            let mut deployed = projection.get(&path).await.body;
            let mut preview = previewed.next().unwrap().clone();
            for answer in [&mut deployed, &mut preview] {
                answer.as_object_mut().unwrap().remove("meta");
            }
            assert_eq!(preview, deployed, "{path}");
        }
    }
    // The same rule again keeps its version, a changed one would get the next.
    assert_eq!(ask_all()[0]["rule_version"], 1);
    let changed = LARGE.1.replace("> 2", "> 30");
    std::fs::write(folder.path().join(LARGE.0), changed).unwrap();
    let changed = preview(LARGE.0, &[]);
    assert_eq!(changed["rule_version"], 2);
    assert_eq!(changed["values"][0]["event_count"], 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_for_people_is_a_table_and_wrong_questions_are_named() {
    let db = TestDatabase::create().await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let sent = [
        event("p", "e1", r#"{"n":3,"model":"m1"}"#),
        event("p", "e2", r#"{"n":4,"model":"\u001b[31m"}"#),
        event("p", "e3", r#"{"model":"m1"}"#),
    ];
    assert_eq!(ingest.post(array(&sent)).await.status, 202);
    let folder = rules(&[LARGE, SUM, ("bad.yaml", "name: bad\n")]);
    let preview = |file: &str, flags: &[&str]| {
        let file = folder.path().join(file);
        let who = ["--tenant", "acme", "--principal", "p"];
        run(
            db.url(),
            &[&["preview", file.to_str().unwrap()], &who[..], flags].concat(),
        )
    };
    let shown = preview(LARGE.0, &["--group-by", "model"]);
    let shown = text(&shown.stdout);
    let shown = lines(&shown);
    let position = shown[0].rsplit(' ').next().unwrap();
    assert_eq!(
        shown[0],
        format!("large (avg), version 1, of acme/p at {position}")
    );
    assert_eq!(
        shown[1..],
        [
            "START END model VALUE EVENTS SKIPPED",
            "- - \\u{1b}[31m 4 1 0",
            "- - m1 3 1 1",
            "3 events were read from the log",
        ]
    );
    for (file, flags, code, says) in [
        ("bad.yaml", &[][..], 1, "bad.yaml: operator: is required"),
        ("gone.yaml", &[], 1, "gone.yaml: -: No such file"),
        (
            SUM.0,
            &["--group-by", "model"],
            1,
            "has no dimension model; it is not grouped",
        ),
        (
            SUM.0,
            &["--granularity", "5m"],
            2,
            "is not one of total, 1m, 1h, 1d",
        ),
        (SUM.0, &["--start", "yesterday"], 2, "--start"),
        (
            SUM.0,
            &[
                "--start",
                "2026-01-02T00:00:00Z",
                "--end",
                "2026-01-01T00:00:00Z",
            ],
            1,
            "lies behind --end",
        ),
        (SUM.0, &["--deadline", "0s"], 1, "longer with --deadline"),
    ] {
        let output = preview(file, flags);
        let stderr = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{file} {flags:?}: {stderr}"
        );
        assert!(stderr.contains(says), "{file} {flags:?}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_lags_where_and_that_nothing_moves() {
    let db = TestDatabase::create().await;
    apply(&db, &[SUM]);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let sent = [
        event("p", "e1", r#"{"n":3}"#),
        event("p", "e2", r#"{"n":4}"#),
    ];
    assert_eq!(ingest.post(array(&sent)).await.status, 202);
    let partition = aevon_core::identity::partition_of("acme", "p", 16);
    let json: Value = serde_json::from_str(&said(
        db.url(),
        &["status", "total", "--over", "10ms", "--format", "json"],
    ))
    .unwrap();
    assert!(json["watched_seconds"].as_f64().unwrap() >= 0.01, "{json}");
    let [rule] = json["rules"].as_array().unwrap().as_slice() else {
        panic!("{json}")
    };
    for (field, expected) in [
        ("name", json!("total")),
        ("version", json!(1)),
        ("status", json!("building")),
        ("lag_events", json!(2)),
        ("events_per_second", json!(null)),
        ("eta_seconds", json!(null)),
    ] {
        assert_eq!(rule[field], expected, "{field}");
    }
    let lagging = &rule["partitions"][0];
    assert_eq!(lagging["partition"], json!(partition));
    assert_eq!(
        (&lagging["checkpoint"], &lagging["head"]),
        (&json!(0), &json!(2))
    );
    assert!(lagging["lag_seconds"].as_f64().unwrap() > 0.0);
    let table = lines(&said(db.url(), &["status", "--over", "10ms"]));
    assert!(table[1].starts_with("total 1 building 2 "), "{table:?}");
    assert!(table[1].ends_with(" unknown unknown"), "{table:?}");
    assert!(table[3].contains("measured over 0.0 s"), "{table:?}");
    assert!(
        table[5].starts_with(&format!("{partition} 0 2 2 ")) && table[5].ends_with(" total:1"),
        "{table:?}"
    );
    let unknown = run(db.url(), &["status", "nothing"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("there is no rule nothing"));
}
