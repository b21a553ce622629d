//! What an operator meets: migrations, wrong settings, a database that is away, kill -9.

use crate::support::{DEADLINE, Service, command, event, finish, rules, stop, text};
use aevon_testkit::{Proxy, TestDatabase, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_is_migrated_by_one_command_and_without_it_services_say_so() {
    let db = TestDatabase::empty().await;
    for service in ["ingest-svc", "projection-svc", "aggregator-svc"] {
        let folder = rules(&[]);
        let output = finish(
            command(service, db.url())
                .env("AEVON_AGGREGATION__CONFIG_DIR", folder.path())
                .env("AEVON_SERVER__PORT", "0")
                .env("AEVON_SERVER__HOST", "127.0.0.1"),
        );
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{service}: {said}");
        assert_eq!(said.trim().lines().count(), 1, "{service}: {said}");
        assert!(said.contains("run `aevon migrate`"), "{service}: {said}");
    }
    let migrate = |more: &[&str]| finish(command("aevon", db.url()).arg("migrate").args(more));
    let output = migrate(&["--partitions", "4", "--roles"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("4 partitions"),
        "{}",
        text(&output.stdout)
    );
    assert!(migrate(&[]).status.success(), "again");
    let other = migrate(&["--partitions", "8"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(
        text(&other.stderr).contains("has 4 partitions"),
        "{}",
        text(&other.stderr)
    );
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    assert_eq!(ingest.post(event("p", "e", "{}")).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_rule_file_stops_the_start_with_file_field_and_reason() {
    let db = TestDatabase::create().await;
    let folder = rules(&[
        (
            "good.yaml",
            "name: good\nsource_event: t\noperator: count\n",
        ),
        ("bad.yaml", "name: bad\nsource_event: t\noperator: sum\n"),
    ]);
    let start = || {
        let mut command = command("aggregator-svc", db.url());
        command.env("AEVON_AGGREGATION__CONFIG_DIR", folder.path());
        command
    };
    let output = finish(&mut start());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("bad.yaml: field: "), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    let checked = finish(
        command("aevon", db.url())
            .args(["rules", "check"])
            .arg(folder.path()),
    );
    assert_eq!(checked.status.code(), Some(1));
    let checked = finish(start().arg("--check-config"));
    assert_eq!(checked.status.code(), Some(1), "--check-config says so too");
    let registered: i64 = db
        .client()
        .await
        .query_one("SELECT count(*) FROM rules", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(registered, 0, "not even the good one");
    std::fs::remove_file(folder.path().join("bad.yaml")).unwrap();
    let checked = finish(
        command("aevon", db.url())
            .args(["rules", "check"])
            .arg(folder.path()),
    );
    assert!(checked.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_work_are_one_line() {
    let db = TestDatabase::create().await;
    let cases = [
        ("AEVON_AUTH__MODE", "none", "api_key, disabled"),
        ("AEVON_INGEST__WRITERS", "many", "ingest.writers"),
        ("AEVON_INGEST__COLOUR", "red", "AEVON_INGEST__COLOUR"),
        ("AEVON_DATABASE__URL", "nonsense", "database.url"),
    ];
    for (name, value, wanted) in cases {
        let output = finish(command("ingest-svc", db.url()).env(name, value));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(
            said.contains(wanted) && said.trim().lines().count() == 1,
            "{name}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_waited_for_and_comes_back_by_itself() {
    let db = TestDatabase::create().await;
    let (proxy, url) = Proxy::in_front_of(db.url()).await;
    proxy.cut();
    let folder = rules(&[]);
    let folder = [(
        "AEVON_AGGREGATION__CONFIG_DIR",
        folder.path().to_str().unwrap(),
    )];
    let services = ["ingest-svc", "projection-svc", "aggregator-svc"]
        .map(|name| Service::spawn(name, &url, &folder));
    for service in &services {
        eventually(
            DEADLINE,
            "it runs and says that it is not ready",
            async || {
                service.try_get("/readyz").await.is_some_and(|answer| {
                    answer.status == 503 && answer.body["reasons"]["database"].is_string()
                })
            },
        )
        .await;
        assert_eq!(service.get("/healthz").await.status, 200);
        let asked = service.check_ready();
        assert_eq!(asked.status.code(), Some(1));
        let said = text(&asked.stderr);
        assert!(said.contains("error: not ready: database: "), "{said}");
    }
    let [ingest, projection, _aggregator] = &services;
    let early = ingest.post(event("p", "e", "{}")).await;
    assert_eq!(early.status, 503, "{early:?}");
    assert_eq!(early.body["type"], "urn:aevon:problem:database-unavailable");
    assert!(early.headers.contains_key("retry-after"));
    assert_eq!(projection.get("/v1/state/acme/p").await.status, 503);
    proxy.heal();
    for service in &services {
        service.ready().await;
        assert!(service.check_ready().status.success());
    }
    let urls = services.each_ref().map(|service| service.base());
    let all = finish(command("aevon", &url).arg("ready").args(urls));
    assert!(all.status.success(), "{all:?}");
    assert_eq!(ingest.post(event("p", "e", "{}")).await.status, 202);
    proxy.cut();
    for service in &services {
        eventually(DEADLINE, "it notices", async || {
            service.get("/readyz").await.status == 503
        })
        .await;
    }
    proxy.heal();
    for service in &services {
        service.ready().await;
    }
    assert_eq!(ingest.post(event("p", "e", "{}")).await.status, 200);
    assert_eq!(projection.get("/v1/state/acme/p").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_told_to_stop_stops_cleanly() {
    let db = TestDatabase::create().await;
    for name in ["ingest-svc", "projection-svc"] {
        let mut service = Service::start(name, db.url(), &[]).await;
        assert_eq!(stop(&mut service).await, Some(0), "{name}");
    }
}
