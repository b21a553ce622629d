//! A test's database and the proxy in front of it, on a real server.

use std::time::Duration;

use aevon_testkit::{Proxy, TestDatabase, eventually, with_database};
use tokio_postgres::{Client, NoTls};

const DEADLINE: Duration = Duration::from_secs(10);

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, driver) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(driver);
    Ok(client)
}

async fn count(client: &Client) -> i64 {
    client
        .query_one("SELECT count(*) FROM t", &[])
        .await
        .expect("a count")
        .get(0)
}

async fn table(database: &TestDatabase) -> Client {
    let client = database.client().await;
    client
        .batch_execute("CREATE TABLE t (n int)")
        .await
        .expect("a table");
    client
}

#[tokio::test]
async fn a_copy_of_the_template_has_its_tables_and_nobody_elses_rows() {
    let one = TestDatabase::create().await;
    let two = TestDatabase::create().await;
    assert_ne!(one.url(), two.url());
    table(&one).await;
    let known = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    let tables = async |database: &TestDatabase| -> i64 {
        database
            .client()
            .await
            .query_one(known, &[])
            .await
            .unwrap()
            .get(0)
    };
    let (one, two) = (tables(&one).await, tables(&two).await);
    assert!(two > 0, "the template is migrated");
    assert_eq!(one, two + 1);
}

#[tokio::test]
async fn a_dropped_database_is_gone_though_it_had_connections() {
    let database = TestDatabase::empty().await;
    let name = database.name().to_owned();
    let postgres = connect(&with_database(database.url(), "postgres"))
        .await
        .unwrap();
    let _open = database.client().await;
    drop(database);
    let known = "SELECT 1 FROM pg_database WHERE datname = $1";
    assert!(postgres.query_opt(known, &[&name]).await.unwrap().is_none());
}

#[tokio::test]
async fn many_copies_at_once_all_succeed() {
    let making: Vec<_> = (0..8)
        .map(|_| tokio::spawn(TestDatabase::create()))
        .collect();
    for one in making {
        one.await.unwrap();
    }
}

#[tokio::test]
async fn a_cut_ends_connections_and_refuses_new_ones_until_healed() {
    let database = TestDatabase::empty().await;
    let (proxy, url) = Proxy::in_front_of(database.url()).await;
    let client = connect(&url).await.unwrap();
    proxy.cut();
    eventually(DEADLINE, "the end of the connection", async || {
        client.is_closed()
    })
    .await;
    assert!(connect(&url).await.is_err());
    proxy.heal();
    connect(&url)
        .await
        .unwrap()
        .batch_execute("SELECT 1")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_swallowed_commit_happened_though_the_client_saw_an_error() {
    let database = TestDatabase::empty().await;
    let direct = table(&database).await;
    let (proxy, url) = Proxy::in_front_of(database.url()).await;
    let client = connect(&url).await.unwrap();
    proxy.swallow_after(b"COMMIT");
    client
        .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    assert!(client.batch_execute("COMMIT").await.is_err());
    assert_eq!(count(&direct).await, 1);
    assert_eq!(proxy.sprung(), 1);

    let again = connect(&url).await.unwrap();
    again
        .batch_execute("BEGIN; INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    again.batch_execute("COMMIT").await.unwrap();
    assert_eq!(count(&direct).await, 2);
}

#[tokio::test]
async fn a_commit_that_was_cut_off_did_not_happen() {
    let database = TestDatabase::empty().await;
    let direct = table(&database).await;
    let (proxy, url) = Proxy::in_front_of(database.url()).await;
    let mut client = connect(&url).await.unwrap();
    proxy.cut_before(b"COMMIT");
    let transaction = client.transaction().await.unwrap();
    transaction
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    assert!(transaction.commit().await.is_err());
    assert_eq!(count(&direct).await, 0);
    assert_eq!(proxy.sprung(), 1);
}

#[tokio::test]
async fn what_is_said_on_a_stalled_line_arrives_when_it_is_healed_and_late_on_a_slow_one() {
    let database = TestDatabase::empty().await;
    let (proxy, url) = Proxy::in_front_of(database.url()).await;
    let client = connect(&url).await.unwrap();
    proxy.stall();
    let mut asked = std::pin::pin!(client.query_one("SELECT 1", &[]));
    let wait = Duration::from_millis(100);
    assert!(tokio::time::timeout(wait, &mut asked).await.is_err());
    proxy.heal();
    assert_eq!(asked.await.unwrap().get::<_, i32>(0), 1);

    proxy.slow_down(wait);
    let begun = std::time::Instant::now();
    client.batch_execute("SELECT 1").await.unwrap();
    assert!(begun.elapsed() >= 2 * wait, "both ways");
}

#[tokio::test]
async fn a_forgotten_connection_is_reset_when_something_is_said() {
    let database = TestDatabase::empty().await;
    let (proxy, url) = Proxy::in_front_of(database.url()).await;
    let client = connect(&url).await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    proxy.forget();
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
    let direct = database.client().await;
    eventually(DEADLINE, "the server has forgotten it", async || {
        direct.query_one(gone, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    assert!(!client.is_closed(), "nobody has told the client");
    assert!(client.batch_execute("SELECT 1").await.is_err());
    connect(&url).await.unwrap();
}

#[tokio::test]
async fn a_torn_answer_is_of_something_that_happened() {
    let database = TestDatabase::empty().await;
    let direct = table(&database).await;
    let (proxy, url) = Proxy::in_front_of(database.url()).await;
    let client = connect(&url).await.unwrap();
    proxy.reset_within_answer(b"INSERT");
    let torn = client.batch_execute("INSERT INTO t VALUES (1)").await;
    assert!(torn.is_err(), "the answer is not whole");
    assert_eq!(count(&direct).await, 1);
    assert_eq!(proxy.sprung(), 1);
}

#[tokio::test]
async fn each_statement_is_one_round_trip() {
    let database = TestDatabase::empty().await;
    let (proxy, url) = Proxy::in_front_of(database.url()).await;
    let client = connect(&url).await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    proxy.reset_round_trips();
    for _ in 0..3 {
        client.batch_execute("SELECT 1").await.unwrap();
    }
    assert_eq!(proxy.round_trips(), 3);
}
