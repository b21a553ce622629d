//! TLS to Postgres: a real server with a certificate of its own, and what each `sslmode` makes of it.

use crate::support::{DEADLINE, Service, apply_to, command, event, finish, migrate, rules, text};
use aevon_postgres::{Account, Server, ServerOptions};
use aevon_testkit::eventually;
use aevon_testkit::template::connect;
use aevon_testkit::with_user;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// An authority, and what it has signed.
struct Authority {
    certificate: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = folder.join(format!("{name}.crt"));
        fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    /// A certificate and its key for hosts, readable by the server alone, as it demands.
    fn sign(&self, folder: &Path, name: &str, hosts: &[&str]) -> (PathBuf, PathBuf) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(hosts).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (
            folder.join(format!("{name}.crt")),
            folder.join(format!("{name}.key")),
        );
        fs::write(&paths.0, certificate.pem()).unwrap();
        fs::write(&paths.1, key.serialize_pem()).unwrap();
        fs::set_permissions(&paths.1, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some(account) = Account::for_server().unwrap() {
            chown(&paths.1, Some(account.uid), Some(account.gid)).unwrap();
        }
        paths
    }
}

/// A server with a certificate for 127.0.0.1 that talks to nobody without TLS, and a database with a
/// schema.
struct World {
    url: String,
    ours: Authority,
    others: Authority,
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let ours = Authority::new(folder.path(), "ours");
        let others = Authority::new(folder.path(), "others");
        let (certificate, key) = ours.sign(folder.path(), "server", &["127.0.0.1"]);
        let setting = |name: &str, value: &Path| (name.to_owned(), value.display().to_string());
        let options = ServerOptions {
            settings: vec![
                ("ssl".to_owned(), "on".to_owned()),
                setting("ssl_cert_file", &certificate),
                setting("ssl_key_file", &key),
            ],
            ..ServerOptions::default()
        };
        let server = Server::start(&options).unwrap();
        let url = server.url("postgres");
        migrate(&url).await;
        let world = Self {
            url,
            ours,
            others,
            server,
            folder,
        };
        world.refuse_what_is_plain().await;
        world
    }

    async fn refuse_what_is_plain(&self) {
        let file = self.server.data_dir().join("pg_hba.conf");
        // But for the owner, as whom the test looks.
        let rules = "hostssl all all 127.0.0.1/32 trust\nhost all aevon 127.0.0.1/32 trust\n";
        fs::write(&file, rules).unwrap();
        let client = connect(&self.url).await.unwrap();
        client
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .unwrap();
        eventually(DEADLINE, "plain connections are refused", async || {
            connect(&with_user(&self.url, "keys")).await.is_err()
        })
        .await;
    }

    /// Has the server show another certificate.
    async fn show(&self, name: &str, hosts: &[&str], by: &Authority) {
        let (certificate, key) = by.sign(self.folder.path(), name, hosts);
        let (now_certificate, now_key) = (
            self.folder.path().join("server.crt"),
            self.folder.path().join("server.key"),
        );
        fs::rename(certificate, now_certificate).unwrap();
        fs::rename(key, now_key).unwrap();
        let reloaded = std::process::Command::new("kill")
            .args(["-HUP", &self.server.pid().to_string()])
            .status();
        assert!(reloaded.unwrap().success());
    }

    fn with(&self, parameters: &str) -> String {
        format!("{}?{parameters}", self.url)
    }

    fn checked(&self, mode: &str, by: &Authority) -> String {
        self.with(&format!(
            "sslmode={mode}&sslrootcert={}",
            by.certificate.display()
        ))
    }
}

/// Whether a command comes through; otherwise the line that it says.
fn tried(url: &str) -> Result<(), String> {
    let output = finish(command("aevon", url).args(["key", "list"]));
    let said = text(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(()),
        code => {
            assert_eq!(code, Some(1), "{said}");
            assert_eq!(said.trim().lines().count(), 1, "{said}");
            Err(said)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_believed_as_far_as_sslmode_says_and_no_further() {
    let world = World::start().await;
    let by_others = "signed by no authority of sslrootcert";
    let for_others = "for another host";
    // A certificate for this host, by our authority.
    for mode in ["verify-full", "verify-ca", "require"] {
        tried(&world.checked(mode, &world.ours)).unwrap();
        let said = tried(&world.checked(mode, &world.others)).unwrap_err();
        assert!(said.contains(by_others), "{mode}: {said}");
    }
    for parameters in ["sslmode=require", "sslmode=prefer", ""] {
        tried(&world.with(parameters)).unwrap();
    }
    let plain = tried(&world.with("sslmode=disable")).unwrap_err();
    assert!(plain.contains("no encryption"), "{plain}");
    let system = tried(&world.with("sslmode=verify-full&sslrootcert=system")).unwrap_err();
    assert!(
        system.contains(by_others) || system.contains("no certificate"),
        "{system}"
    );

    // For another host: the authority is ours all the same.
    world.show("elsewhere", &["db.example"], &world.ours).await;
    let full = world.checked("verify-full", &world.ours);
    eventually(DEADLINE, "the name is looked at", async || {
        tried(&full).is_err_and(|said| said.contains(for_others))
    })
    .await;
    tried(&world.checked("verify-ca", &world.ours)).unwrap();
    let said = tried(&world.checked("verify-ca", &world.others)).unwrap_err();
    assert!(said.contains(by_others), "{said}");

    // By an authority that nobody named: only whoever looks minds.
    world.show("stranger", &["127.0.0.1"], &world.others).await;
    eventually(DEADLINE, "the authority is looked at", async || {
        tried(&full).is_err_and(|said| said.contains(by_others))
    })
    .await;
    tried(&world.with("sslmode=require")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn services_work_over_tls_and_say_why_where_they_do_not_trust_the_server() {
    let world = World::start().await;
    let url = world.checked("verify-full", &world.ours);
    let sum = rules(&[crate::support::SUM]);
    apply_to(&url, sum.path());
    let none = [("AEVON_AGGREGATION__APPLY_ON_START", "false")];
    let ingest = Service::start("ingest-svc", &url, &[]).await;
    let projection = Service::start("projection-svc", &url, &[]).await;
    let _aggregator = Service::start("aggregator-svc", &url, &none).await;
    let sent = ingest.post(event("p", "e", "{\"n\":7}")).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let read = projection.get("/v1/state/acme/p?rule=total").await;
    assert_eq!(read.body["values"][0]["value"], json!("7"), "{read:?}");

    let distrust = world.checked("verify-full", &world.others);
    for name in ["ingest-svc", "projection-svc", "aggregator-svc"] {
        let service = Service::spawn(name, &distrust, &none);
        eventually(DEADLINE, "it says whom it does not trust", async || {
            service.try_get("/readyz").await.is_some_and(|answer| {
                let said = answer.body["reasons"]["database"].as_str();
                let why =
                    "no connection to Postgres: its certificate is signed by no authority of sslrootcert";
                answer.status == 503 && said == Some(why)
            })
        })
        .await;
    }

    // Nobody of ours spoke in plain text.
    let key = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
               WHERE a.application_name LIKE '%-svc' AND NOT s.ssl";
    let client = connect(&world.url).await.unwrap();
    let plain: i64 = client.query_one(key, &[]).await.unwrap().get(0);
    assert_eq!(plain, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_where_it_is_asked_for() {
    let db = aevon_testkit::TestDatabase::create().await;
    for mode in ["prefer", "disable"] {
        tried(&format!("{}?sslmode={mode}", db.url())).unwrap();
    }
    let said = tried(&format!("{}?sslmode=require", db.url())).unwrap_err();
    assert!(said.contains("server does not support TLS"), "{said}");
    for (parameters, wanted) in [
        ("sslmode=verify", "is none of disable, prefer, require"),
        ("sslmode=verify-full&sslrootcert=/no/such", "/no/such"),
        ("sslrootcert=/no/such", "no certificate is checked"),
    ] {
        let said = tried(&format!("{}?{parameters}", db.url())).unwrap_err();
        assert!(
            said.contains("database.url: ssl") && said.contains(wanted),
            "{said}"
        );
    }
}
