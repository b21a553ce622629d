//! Programs started as an operator would start them, and a client that reads what they say.

use aevon_testkit::template::make_users;
use aevon_testkit::{TestDatabase, eventually, user_of, with_user};
use reqwest::{Client, Method};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The path of one of our programs; `make test` builds all of them.
fn program(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_aevon")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is not built: run `make test`",
        path.display()
    );
    path
}

/// The variable with the database.
const DATABASE: &str = "AEVON_DATABASE__URL";

/// The owner of every test's database.
const OWNER: &str = aevon_postgres::USER;

/// The user for a program, or for verbs of `aevon`: each works with what its role is granted and no
/// more. None: the owner.
fn user(program: &str, verbs: &[&str]) -> Option<&'static str> {
    match (program, verbs) {
        ("ingest-svc", _) => Some("ingest"),
        ("aggregator-svc", _) | ("aevon", ["rebuild", ..]) => Some("aggregator"),
        ("projection-svc", _) => Some("projection"),
        ("aevon", ["key", ..]) => Some("keys"),
        ("aevon", ["rules", "apply", ..]) => Some("rules"),
        ("aevon", ["rules" | "verify", ..]) => Some("verify"),
        _ => None,
    }
}

/// Has a command connect as the user that its program is for, unless somebody chose another.
fn connect_as_its_user(command: &mut Command) {
    let url = command.get_envs().find(|(name, _)| *name == DATABASE);
    let url = url
        .and_then(|(_, url)| url?.to_str())
        .unwrap_or_default()
        .to_owned();
    let program = Path::new(command.get_program()).file_name();
    let program = program.and_then(|name| name.to_str()).unwrap_or_default();
    let verbs: Vec<&str> = command
        .get_args()
        .filter_map(|verb| verb.to_str())
        .collect();
    if let (Some(user), Some(OWNER)) = (user(program, &verbs), user_of(&url)) {
        command.env(DATABASE, with_user(&url, user));
    }
}

/// Brings a database that is not a copy of the template to the current schema, with the users.
pub(crate) async fn migrate(url: &str) {
    let migrated = finish(command("aevon", url).arg("migrate"));
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    make_users(url).await.unwrap();
}

/// A command of ours with the environment of an operator who has set a database.
pub(crate) fn command(name: &str, database_url: &str) -> Command {
    let mut command = Command::new(program(name));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AEVON_")) {
        command.env_remove(name);
    }
    command
        .env(DATABASE, database_url)
        .env("AEVON_AUTH__MODE", "disabled")
        .env("AEVON_LOG__LEVEL", "error")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Output {
    connect_as_its_user(command);
    command.output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running service. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) child: Child,
    name: String,
    target: Target,
}

/// Where a service is asked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    base: String,
    client: Client,
}

/// What a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Service {
    /// Starts a service with more settings.
    pub(crate) fn spawn(name: &str, database_url: &str, settings: &[(&str, &str)]) -> Self {
        Self::spawn_with_log(name, database_url, settings, Stdio::inherit())
    }

    /// The same, with its log somewhere.
    pub(crate) fn spawn_with_log(
        name: &str,
        database_url: &str,
        settings: &[(&str, &str)],
        log: impl Into<Stdio>,
    ) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut command = command(name, database_url);
        command
            .env("AEVON_SERVER__PORT", port.to_string())
            .envs(settings.iter().copied())
            .stderr(log);
        connect_as_its_user(&mut command);
        let child = command.spawn().unwrap();
        let client = Client::builder().timeout(DEADLINE).build().unwrap();
        let base = format!("http://127.0.0.1:{port}");
        let target = Target { base, client };
        let name = name.to_owned();
        Self {
            child,
            name,
            target,
        }
    }

    /// Starts a service and waits until it is ready.
    pub(crate) async fn start(name: &str, url: &str, settings: &[(&str, &str)]) -> Self {
        let service = Self::spawn(name, url, settings);
        service.ready().await;
        service
    }

    /// The program's own question, as a container's health check asks it.
    pub(crate) fn check_ready(&self) -> Output {
        let port = self.base().rsplit_once(':').unwrap().1;
        let mut command = command(&self.name, "postgres://nobody@nowhere/nothing");
        finish(command.arg("--check-ready").env("AEVON_SERVER__PORT", port))
    }

    /// Asks it to stop, as an operator or Kubernetes would.
    pub(crate) fn terminate(&self) {
        let process = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &process]).status();
        assert!(told.unwrap().success());
    }

    /// For asking while the service is being stopped.
    pub(crate) fn target(&self) -> Target {
        self.target.clone()
    }
}

impl std::ops::Deref for Service {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}

impl Target {
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn ready(&self) {
        eventually(DEADLINE, "the service is ready", async || {
            self.try_get("/readyz")
                .await
                .is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    pub(crate) async fn try_get(&self, path: &str) -> Option<Answer> {
        let sent = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .ok()?;
        read(sent).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.unwrap()
    }

    pub(crate) async fn post(&self, body: impl Into<reqwest::Body>) -> Answer {
        self.send(
            Method::POST,
            "/v1/events",
            &[("content-type", "application/json")],
            body,
        )
        .await
    }

    /// Posts events; none where the service did not answer.
    pub(crate) async fn try_post(&self, body: String) -> Option<Answer> {
        let request = self.client.post(format!("{}/v1/events", self.base));
        let request = request.header("content-type", "application/json");
        read(request.body(body).send().await.ok()?).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send().await.unwrap()).await.unwrap()
    }
}

/// The whole of an answer; none where it broke off.
async fn read(response: reqwest::Response) -> Option<Answer> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.text().await.ok()?;
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    Some(Answer {
        status,
        headers,
        body,
    })
}

/// Tells a service to stop and waits until it has: its exit code.
pub(crate) async fn stop(service: &mut Service) -> Option<i32> {
    service.terminate();
    let mut status = None;
    eventually(DEADLINE, "the service stops", async || {
        status = service.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    status.and_then(|status| status.code())
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of rules.
pub(crate) fn rules(texts: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in texts {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

pub(crate) const SUM: (&str, &str) = (
    "sum.yaml",
    "name: total\nsource_event: t\noperator: sum\nfield: n\nunit: tokens\n",
);

/// Applies these rules as an operator would.
pub(crate) fn apply(db: &TestDatabase, texts: &[(&str, &str)]) {
    apply_folder(db, rules(texts).path());
}

/// Applies a folder of rules as an operator would.
pub(crate) fn apply_folder(db: &TestDatabase, folder: &Path) {
    apply_to(db.url(), folder);
}

/// The same, to the database of a url.
pub(crate) fn apply_to(url: &str, folder: &Path) {
    let output = finish(command("aevon", url).args(["rules", "apply"]).arg(folder));
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// One event as JSON text.
pub(crate) fn event(principal: &str, id: &str, data: &str) -> String {
    let (principal, id) = (Value::from(principal), Value::from(id));
    format!(
        r#"{{"tenant_id":"acme","principal_id":{principal},"id":{id},"type":"t",
            "occurred_at":"2026-01-01T10:30:20.5+01:00","data":{data}}}"#
    )
}

pub(crate) fn array(events: &[String]) -> String {
    format!("[{}]", events.join(","))
}
