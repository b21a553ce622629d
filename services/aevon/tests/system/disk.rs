//! A disk that is full, under load: callers are told to come later, nothing that was acknowledged is
//! lost or doubled, and when there is room again, everything serves again.

use crate::audit;
use crate::fleet::{Durable, Fleet, folder, limit_files};
use crate::load::Load;
use crate::support::{DEADLINE, array, event};
use aevon_testkit::eventually;
use aevon_testkit::template::connect;
use futures_util::future::join_all;
use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Callers at once.
const CALLERS: u64 = 4;
/// Events that callers get through before and after.
const PASSAGE: usize = 50;
/// An aggregator that has failed a few times waits a little.
const RECOVERED: Duration = Duration::from_secs(20);

/// A file system of its own, in memory, of 128 MiB: a cluster with its log, and little more.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None where this process may not mount.
    fn mount() -> Option<Self> {
        let folder = folder();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=128m,mode=0711", "tmpfs"]);
        let mounted = mount.arg(folder.path()).output().unwrap();
        mounted.status.success().then(|| Self(folder))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut ballast = File::create(self.0.path().join("ballast")).unwrap();
        let bytes = vec![1; 64 * 1024];
        while ballast.write_all(&bytes).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        let _ = unmount.arg("--lazy").arg(self.0.path()).status();
    }
}

/// Load before, while and after there is no room.
async fn without_room(
    postgres: &mut Durable,
    fill: impl AsyncFnOnce(&Fleet, &Durable),
    make_room: impl AsyncFnOnce(&Durable),
) {
    let url = postgres.url();
    let fleet = Fleet::start(&url, [&url, &url], &[]).await;
    let load = Load::new("d");
    let callers = (0..CALLERS).map(|seed| load.call(&fleet, seed));
    let trouble = async {
        load.goes_on(PASSAGE, DEADLINE, "the load runs").await;
        fill(&fleet, postgres).await;
        load.fault("there is no room");
        load.is_refused(DEADLINE, "there is no room").await;
        make_room(postgres).await;
        tokio::select! {
            () = load.goes_on(PASSAGE, RECOVERED, "callers are served again") => {}
            () = postgres.is_looked_after() => {}
        }
        load.end();
    };
    tokio::join!(join_all(callers), trouble);
    for pod in &fleet.pods {
        pod.target().ready().await;
    }
    let mut wrong = load.violations(&url).await;
    wrong.extend(audit::violations(&fleet, &url, &load.lists()).await);
    eprintln!("{}, {} violations", load.tally, wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    fleet.is_swept().await;
    assert_eq!(audit::verify(&url), None);
}

const ON_A_DISK: &str = "disk::a_disk_that_is_full_costs_refusals_and_no_event";
/// Set where the test runs in a namespace of its own.
const IN_NAMESPACE: &str = "AEVON_TEST_IN_NAMESPACE";

/// Runs a test once more, in a namespace in which this account may mount. None where that is not
/// allowed either; else whether it passed.
fn passes_in_namespace(test: &str) -> Option<bool> {
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-current-user", "--keep-caps", "--mount"]);
        unshare
    };
    let may_mount = unshare()
        .args(["mount", "-t", "tmpfs", "tmpfs", "/tmp"])
        .output();
    if std::env::var_os(IN_NAMESPACE).is_some() || !may_mount.is_ok_and(|it| it.status.success()) {
        return None;
    }
    let mut again = unshare();
    again.arg(std::env::current_exe().unwrap());
    again
        .args([test, "--exact", "--nocapture"])
        .env(IN_NAMESPACE, "1");
    Some(again.status().unwrap().success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_costs_refusals_and_no_event() {
    let Some(disk) = SmallDisk::mount() else {
        match tokio::task::block_in_place(|| passes_in_namespace(ON_A_DISK)) {
            Some(passed) => assert!(passed, "it failed in a namespace of its own; see above"),
            // Said by a run of tests at its end.
            None => eprintln!(
                "NOT TRIED: a full disk, because nobody may mount a small one here, not even in a \
                 namespace; only a table that may not grow was"
            ),
        }
        return;
    };
    let settings = [("max_wal_size", "32MB"), ("min_wal_size", "32MB")];
    let mut postgres = Durable::start_in(disk.0.path(), &settings);
    let fill = async |_: &Fleet, _: &Durable| disk.fill();
    let make_room = async |_: &Durable| disk.make_room();
    without_room(&mut postgres, fill, make_room).await;
}

/// Most bytes of a file: as many as a segment of Postgres' own log has.
const MOST: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn files_that_may_not_grow_cost_refusals_and_no_event() {
    let mut postgres = Durable::start();
    without_room(
        &mut postgres,
        async |fleet, postgres| {
            // The log of events is to be about to reach the limit.
            let client = connect(&postgres.url()).await.unwrap();
            // A vacuum would find room for the load between the padding.
            let unvacuumed = "ALTER TABLE events SET (autovacuum_enabled = off)";
            client.batch_execute(unvacuumed).await.unwrap();
            let size = "SELECT pg_relation_size('events')";
            let ingest = fleet.all("ingest-svc").next().unwrap().target();
            let mut n = 0;
            loop {
                let size: i64 = client.query_one(size, &[]).await.unwrap().get(0);
                let left = MOST.saturating_sub(u64::try_from(size).unwrap());
                // The load fills the rest, on a slow machine too.
                if left < 64 << 10 {
                    break;
                }
                let many = if left > 1 << 20 { 500 } else { 10 };
                let padding = |_| format!("{:016x}", fastrand::u64(..));
                let bodies: Vec<String> = (0..many)
                    .map(|_| {
                        n += 1;
                        let padding: String = (0..100).map(padding).collect();
                        event(
                            "padding",
                            &format!("e{n}"),
                            &format!(r#"{{"x":"{padding}"}}"#),
                        )
                    })
                    .collect();
                eventually(DEADLINE, "padding is stored", async || {
                    ingest.post(array(&bodies)).await.status == 202
                })
                .await;
            }
            limit_files(postgres.pid(), Some(MOST));
            end_sessions(&client).await;
        },
        async |postgres| {
            limit_files(postgres.pid(), None);
            let client = connect(&postgres.url()).await.unwrap();
            end_sessions(&client).await;
        },
    )
    .await;
}

/// What a process may do it learns from the one that began it.
async fn end_sessions(client: &tokio_postgres::Client) {
    let ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE application_name LIKE '%-svc'";
    client.batch_execute(ours).await.unwrap();
}
