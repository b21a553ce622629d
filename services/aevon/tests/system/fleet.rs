//! Several processes of each service on one database, started again where they are killed, as
//! Kubernetes would; and a durable Postgres that can be killed too.

use crate::support::{DEADLINE, Service, Target, apply_to, array, event, text};
use aevon_postgres::{Account, Server, ServerOptions};
use aevon_testkit::eventually;
use aevon_testkit::template::connect;
use fastrand::Rng;
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// How soon everything serves again once Postgres does, as it is promised to operators. On a machine
/// of two processors that also carries the load it took up to 1.8 s.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);

/// Rules of every kind of fold: by addition, by comparison, by time, by set.
pub(crate) const RULES: [(&str, &str); 4] = [
    (
        "total.yaml",
        "name: total\nsource_event: t\noperator: sum\nfield: n\ngroup_by: [model]\n",
    ),
    (
        "peak.yaml",
        "name: peak\nsource_event: t\noperator: max\nfield: n\ngroup_by: [model]\n",
    ),
    (
        "last.yaml",
        "name: last\nsource_event: t\noperator: latest\nfield: n\n",
    ),
    (
        "models.yaml",
        "name: models\nsource_event: t\noperator: unique_count\nfield: model\n",
    ),
];

/// A process that is started again whenever it is killed.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) name: &'static str,
    /// Whether it reads a standby.
    is_replica: bool,
    /// The database, as this process reaches it.
    url: String,
    settings: Vec<(String, String)>,
    service: Mutex<Service>,
    /// When it was started, the last time.
    started: Mutex<Instant>,
}

impl Pod {
    fn start(name: &'static str, url: &str, settings: &[(&str, &str)]) -> Self {
        Self {
            name,
            is_replica: false,
            url: url.to_owned(),
            settings: (settings.iter())
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            service: Mutex::new(Service::spawn(name, url, settings)),
            started: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn target(&self) -> Target {
        self.service.lock().unwrap().target()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.service.lock().unwrap().child.id()
    }

    /// Ends it at once and starts another one in its place.
    pub(crate) fn kill(&self) {
        let mut service = self.service.lock().unwrap();
        service.child.kill().unwrap();
        service.child.wait().unwrap();
        let settings: Vec<_> = (self.settings.iter())
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        *service = Service::spawn(self.name, &self.url, &settings);
        *self.started.lock().unwrap() = Instant::now();
    }

    /// Waits until it does its work again: new events of all partitions are stored by it, or it answers, or it
    /// sweeps. It has
    /// [`RECOVERY`] from the moment on at which Postgres was back, or at which it was started itself,
    /// if that was later, however long ago either was; how long it took.
    async fn serves(&self, back: Instant) -> Duration {
        let since = back.max(*self.started.lock().unwrap());
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let mut swept = None;
        let what = format!("{} serves within {RECOVERY:?} of Postgres", self.name);
        eventually(
            RECOVERY.saturating_sub(since.elapsed()),
            &what,
            async || {
                let target = self.target();
                let works = match self.name {
                    "ingest-svc" => {
                        let sent = target.try_post(probe()).await;
                        sent.is_some_and(|answer| answer.body["accepted"] == PROBES)
                    }
                    "projection-svc" => {
                        let state = target.try_get("/v1/state/acme/probe?rule=total").await;
                        state.is_some_and(|answer| answer.status == 200)
                    }
                    _ => {
                        let Some(metrics) = target.try_get("/metrics").await else {
                            return false;
                        };
                        // It has swept another slice, or has seen that others leave nothing to do.
                        let slices = metric(&metrics.body, "aevon_aggregator_sweeps_total");
                        let before = *swept.get_or_insert(slices);
                        let name = "aevon_aggregator_last_success_timestamp_seconds";
                        slices > before || metric(&metrics.body, name) > since_epoch.as_secs_f64()
                    }
                };
                let ready = target.try_get("/readyz").await;
                works && ready.is_some_and(|answer| answer.status == 200)
            },
        )
        .await;
        since.elapsed()
    }
}

/// Principals of a probe: so many that each partition has some.
const PROBES: usize = 64;

/// Events that were never sent before, of principals of all partitions.
fn probe() -> String {
    static SENT: AtomicU64 = AtomicU64::new(0);
    let id = format!("probe-{}", SENT.fetch_add(1, Ordering::Relaxed));
    let events = (0..PROBES).map(|n| event(&format!("probe_{n}"), &id, r#"{"n":1}"#));
    array(&events.collect::<Vec<_>>())
}

/// The value of a metric without labels.
fn metric(metrics: &Value, name: &str) -> f64 {
    let mut lines = metrics.as_str().unwrap_or_default().lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

/// The processes of a system.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) pods: Vec<Pod>,
    /// Read by every aggregator that starts.
    _rules: TempDir,
}

impl Fleet {
    /// Migrates a database, applies the rules, and starts two processes of each service, of which the
    /// first reaches the database by the first address and the other by the other.
    pub(crate) async fn start(url: &str, by: [&str; 2], settings: &[(&str, &str)]) -> Self {
        crate::support::migrate(url).await;
        let rules = crate::support::rules(&RULES);
        apply_to(url, rules.path());
        let mut settings = settings.to_vec();
        settings.push((
            "AEVON_AGGREGATION__CONFIG_DIR",
            rules.path().to_str().unwrap(),
        ));
        settings.push(("AEVON_AGGREGATION__CRON_INTERVAL", "100ms"));
        let names = ["ingest-svc", "aggregator-svc", "projection-svc"];
        let pods = names
            .iter()
            .flat_map(|name| by.map(|url| Pod::start(name, url, &settings)));
        let fleet = Self {
            pods: pods.collect(),
            _rules: rules,
        };
        for pod in &fleet.pods {
            pod.target().ready().await;
        }
        fleet
    }

    /// One of the processes of a service, as a load balancer picks one.
    pub(crate) fn any(&self, name: &str, rng: &mut Rng) -> Target {
        let pods: Vec<&Pod> = self.all(name).collect();
        rng.choice(pods).unwrap().target()
    }

    /// One of those that answer questions, and whether it reads a standby.
    pub(crate) fn any_reader(&self, rng: &mut Rng) -> (Target, bool) {
        let pods: Vec<&Pod> = self.all("projection-svc").collect();
        let pod = rng.choice(pods).unwrap();
        (pod.target(), pod.is_replica)
    }

    /// Adds a process that reads a standby.
    pub(crate) async fn read_from(&mut self, url: &str) {
        let pod = Pod::start("projection-svc", url, &[]);
        pod.target().ready().await;
        self.pods.push(Pod {
            is_replica: true,
            ..pod
        });
    }

    /// Waits until the buckets hold the whole log.
    pub(crate) async fn is_swept(&self) {
        let projection = self.all("projection-svc").next().unwrap().target();
        eventually(DEADLINE, "everything is swept", async || {
            let rules = projection.get("/v1/rules").await.body;
            let mut rules = rules["rules"].as_array().unwrap().iter();
            rules.all(|rule| rule["lag_events"] == 0)
        })
        .await;
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| pod.name == name)
    }

    /// Waits until every process does its work again, each in its time since Postgres was back; the
    /// longest that one took. How soon the buckets hold everything is a matter of the load.
    pub(crate) async fn serves(&self, back: Instant) -> Duration {
        let pods = self.pods.iter().map(|pod| pod.serves(back));
        let took = futures_util::future::join_all(pods).await;
        took.into_iter().max().unwrap_or_default()
    }
}

/// How Postgres ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With all its processes, as a machine does.
    Whole,
    /// The first process alone; the others notice, or finish what they are doing.
    First,
    /// One of its processes; it begins anew by itself.
    One,
}

/// A Postgres that keeps what it has acknowledged, whatever becomes of its processes.
#[derive(Debug)]
pub(crate) struct Durable {
    server: Server,
    options: ServerOptions,
    _folder: Option<TempDir>,
}

/// A folder that the account passes through to which a cluster belongs.
pub(crate) fn folder() -> TempDir {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o711))
        .tempdir()
        .unwrap()
}

impl Durable {
    pub(crate) fn start() -> Self {
        let folder = folder();
        let started = Self::start_in(folder.path(), &[]);
        Self {
            _folder: Some(folder),
            ..started
        }
    }

    /// With its cluster in a folder that is there, and with more settings.
    pub(crate) fn start_in(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter();
        let options = ServerOptions {
            data_dir: Some(folder.join("data")),
            port: None,
            durable: true,
            settings: settings
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let server = Server::start(&options).unwrap();
        let options = ServerOptions {
            port: Some(server.port()),
            ..options
        };
        Self {
            server,
            options,
            _folder: None,
        }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("postgres")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn standby(&mut self) -> Server {
        self.server.standby().unwrap()
    }

    /// Kills it, for good.
    pub(crate) fn ends(&mut self) {
        self.server.kill().unwrap();
    }

    /// Kills it, and starts it again where it does not do so by itself; when it took connections again.
    pub(crate) async fn kill(&mut self, end: End, rng: &mut Rng) -> Instant {
        match end {
            End::Whole => self.server.kill().unwrap(),
            End::First => {
                signal("KILL", self.server.pid());
                eventually(RECOVERY, "it is gone", async || {
                    self.server.exited().unwrap().is_some()
                })
                .await;
            }
            End::One => self.kill_one(rng).await,
        }
        self.start_where_ended();
        Instant::now()
    }

    /// Kills it, and starts it again some time later; when it took connections again.
    pub(crate) async fn is_away(&mut self, outage: Duration) -> Instant {
        self.server.kill().unwrap();
        tokio::time::sleep(outage).await;
        self.start_where_ended();
        Instant::now()
    }

    /// Starts it again whenever it has ended, as it does without room for its own log. Never returns.
    pub(crate) async fn is_looked_after(&mut self) {
        loop {
            self.start_where_ended();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Starts it again where it has ended, as whoever looks after it would.
    pub(crate) fn start_where_ended(&mut self) {
        if self.server.exited().unwrap().is_some() {
            // Lets go of the one that has ended.
            self.server.kill().unwrap();
            self.server = tokio::task::block_in_place(|| Server::start(&self.options).unwrap());
        }
    }

    async fn kill_one(&self, rng: &mut Rng) {
        let client = connect(&self.url()).await.unwrap();
        let all = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
        let pids = client.query(all, &[]).await.unwrap();
        let pid: i32 = rng.choice(&pids).unwrap().get(0);
        signal("KILL", u32::try_from(pid).unwrap());
        // All others are told to end: what was in their memory can't be trusted.
        eventually(RECOVERY, "it begins anew", async || client.is_closed()).await;
        eventually(DEADLINE, "it has recovered", async || {
            connect(&self.url()).await.is_ok()
        })
        .await;
    }
}

/// Bounds how large a file a process may make, and those that it begins.
pub(crate) fn limit_files(pid: u32, most: Option<u64>) {
    let most = most.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let mut limit = Command::new("prlimit");
    // Only its own account may do that, unless root has all its powers.
    if let Some(account) = Account::for_server().unwrap() {
        limit.uid(account.uid).gid(account.gid).current_dir("/");
    }
    limit.arg(format!("--pid={pid}"));
    // The soft one, which may be raised again.
    let set = limit.arg(format!("--fsize={most}:")).output().unwrap();
    assert!(set.status.success(), "{}", text(&set.stderr));
}

/// Sends a signal to a process.
pub(crate) fn signal(name: &str, pid: u32) {
    let mut kill = Command::new("kill");
    let sent = kill.arg(format!("-{name}")).arg(pid.to_string()).output();
    assert!(sent.unwrap().status.success(), "kill -{name} {pid}");
}
