//! `aevon key`: keys are made, listed, revoked and rotated here, and nowhere else.
//!
//! Invariant: a key is printed once, when it is made: alone on standard output, or in the JSON that was asked for.

use crate::output::{Format, OutputArg, print, say};
use crate::table::{aligned, titles};
use aevon_core::identity;
use aevon_core::time::Timestamp;
use aevon_schema::api_keys::{self, ApiKey};
use aevon_schema::{Connection, Database, DatabaseOptions, migrate};
use aevon_service::auth::{self, Scope};
use aevon_service::settings::{HumanDuration, Settings};
use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::time::Duration;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key and prints it, once
    #[command(after_help = "Examples:\n  \
        aevon key create --tenant acme --scope ingest,read\n  \
        AEVON_API_KEY=$(aevon key create --platform --scope read)\n\n\
        Exit codes: 0 printed, 1 failed, 2 wrong usage.")]
    Create {
        /// The tenant that the key is for
        #[arg(long, value_name = "TENANT", required_unless_present = "platform")]
        tenant: Option<String>,
        /// A key for any tenant, for the platform's own services
        #[arg(long, conflicts_with = "tenant")]
        platform: bool,
        /// What the key allows: ingest, read, admin
        #[arg(long, value_delimiter = ',', required = true, value_parser = scope)]
        scope: Vec<Scope>,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Lists keys, without their secrets
    #[command(after_help = "Examples:\n  \
        aevon key list\n  \
        aevon key list -o json | jq '.[] | select(.is_revoked | not)'\n\n\
        Exit codes: 0 listed, 1 failed, 2 wrong usage.")]
    List {
        #[command(flatten)]
        output: OutputArg,
    },
    /// Refuses a key from now on; services notice within seconds
    #[command(after_help = "Example:\n  aevon key revoke 7\n\n\
        Exit codes: 0 revoked, 1 there is no such key that is still good, 2 wrong usage.")]
    Revoke {
        /// Its number, as `aevon key list` shows it, and as the key itself does
        number: i32,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Makes a key for the same tenant and scopes and prints it, once; the old one goes on for a while
    #[command(after_help = "Examples:\n  \
        aevon key rotate 7                    the old one goes on for a day\n  \
        aevon key rotate 7 --overlap 10m -o json\n\n\
        Exit codes: 0 printed, 1 there is no such key that is still good, 2 wrong usage.")]
    Rotate {
        /// The number of the old one
        number: i32,
        /// How long the old one goes on
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        overlap: HumanDuration,
        #[command(flatten)]
        output: OutputArg,
    },
}

fn scope(name: &str) -> Result<Scope, String> {
    Scope::parse(name).ok_or_else(|| {
        let known = Scope::ALL.map(Scope::as_str).join(", ");
        format!("{name:?} is not one of {known}")
    })
}

/// Does it.
pub(crate) async fn run(settings: &Settings, command: KeyCommand) -> anyhow::Result<()> {
    let database = Database::new(DatabaseOptions {
        url: settings.database_url()?.to_owned(),
        max_connections: 1,
        application_name: "aevon key",
        statement_timeout: Duration::from_secs(30),
    })?;
    migrate::check(&database).await?;
    let mut connection = database.connect().await?;
    match command {
        KeyCommand::Create {
            tenant,
            scope,
            output,
            ..
        } => {
            if let Some(tenant) = &tenant {
                identity::check(tenant).map_err(|fault| anyhow::anyhow!("--tenant {fault}"))?;
            }
            let scopes: Vec<&str> = Scope::ALL
                .into_iter()
                .filter(|known| scope.contains(known))
                .map(Scope::as_str)
                .collect();
            let made = create(&mut connection, tenant.as_deref(), &scopes).await?;
            match output.format {
                Format::Table => say!("{}", made.key),
                Format::Json => say!("{:#}", made.shown(tenant.as_deref(), &scopes)),
            }
        }
        KeyCommand::List { output } => {
            print(&list(
                &api_keys::list(&mut connection, None).await?,
                output.format,
            )?)?;
        }
        KeyCommand::Revoke { number, output } => {
            if !api_keys::revoke(&mut connection, number, None).await? {
                bail!("there is no key {number} that is still good");
            }
            match output.format {
                Format::Table => say!("revoked {number}; services refuse it within 10 s"),
                Format::Json => say!("{:#}", json!({"number": number, "is_revoked": true})),
            }
        }
        KeyCommand::Rotate {
            number,
            overlap,
            output,
        } => {
            let old = good(&mut connection, number).await?;
            let scopes: Vec<&str> = old.scopes.iter().map(String::as_str).collect();
            let until = in_future(overlap.get())?;
            let tenant = old.tenant_id.as_deref();
            let made = create(&mut connection, tenant, &scopes).await?;
            api_keys::revoke(&mut connection, number, Some(until)).await?;
            let ended = api_keys::list(&mut connection, Some(number)).await?;
            let ended = ended.first().and_then(|key| key.revoked_at);
            let until = ended.unwrap_or(until).to_string();
            match output.format {
                Format::Table => {
                    say!("{}", made.key);
                    eprintln!("key {number} goes on until {until}");
                }
                Format::Json => {
                    let mut shown = made.shown(tenant, &scopes);
                    shown["replaces"] = json!({"number": number, "revoked_at": until});
                    say!("{shown:#}");
                }
            }
        }
    }
    Ok(())
}

async fn good(connection: &mut Connection, number: i32) -> anyhow::Result<ApiKey> {
    let found = api_keys::list(connection, Some(number)).await?;
    let good = found.into_iter().find(|key| !key.is_revoked);
    good.with_context(|| format!("there is no key {number} that is still good"))
}

/// A key that was just made.
struct Made {
    number: i32,
    key: String,
}

impl Made {
    fn shown(&self, tenant: Option<&str>, scopes: &[&str]) -> Value {
        json!({"number": self.number, "key": self.key, "tenant_id": tenant, "scopes": scopes})
    }
}

async fn create(
    connection: &mut Connection,
    tenant: Option<&str>,
    scopes: &[&str],
) -> anyhow::Result<Made> {
    let (secret, hash) = auth::new_secret()?;
    let number = api_keys::create(connection, &hash, tenant, scopes).await?;
    let key = auth::key_text(number, &secret);
    Ok(Made { number, key })
}

fn in_future(wait: Duration) -> anyhow::Result<Timestamp> {
    let wait = i64::try_from(wait.as_micros()).context("--overlap is too long")?;
    let now = jiff::Timestamp::now().as_microsecond();
    let at = now.checked_add(wait).context("--overlap is too long")?;
    Ok(Timestamp::from_micros(at))
}

fn list(keys: &[ApiKey], format: Format) -> anyhow::Result<String> {
    if format == Format::Json {
        let item = |key: &ApiKey| {
            json!({
                "number": key.key_no,
                "tenant_id": key.tenant_id,
                "scopes": key.scopes,
                "created_at": key.created_at.to_string(),
                "revoked_at": key.revoked_at.map(|at| at.to_string()),
                "is_revoked": key.is_revoked,
            })
        };
        let keys: Vec<_> = keys.iter().map(item).collect();
        return Ok(format!("{:#}\n", json!({"keys": keys})));
    }
    let mut rows = vec![titles(&["number", "tenant", "scopes", "made", "state"])];
    rows.extend(keys.iter().map(|key| {
        let state = match (key.is_revoked, key.revoked_at) {
            (true, Some(at)) => format!("revoked {at}"),
            (false, Some(at)) => format!("good until {at}"),
            _ => "good".to_owned(),
        };
        let tenant = key.tenant_id.as_deref().unwrap_or("(platform)");
        vec![
            key.key_no.to_string(),
            tenant.to_owned(),
            key.scopes.join(","),
            key.created_at.to_string(),
            state,
        ]
    }));
    aligned(&rows)
}
