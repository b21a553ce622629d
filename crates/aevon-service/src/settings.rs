//! Every setting that any program of ours has, with its default. A program ignores those that it
//! has no use for, so that one file and one environment serve all of them.
//!
//! Ordering: embedded defaults < YAML file < environment (`AEVON_SECTION__KEY`) < flags.
//! Invariant: a name that is not a setting is an error that says so.
//! Invariant: a secret never shows in `Debug`, in `Serialize` or in an error.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod bounds;
mod load;
mod reach;
mod reference;
mod value;

pub use load::SettingsError;
pub use reference::{Reference, environment_help, markdown_reference, reference};
pub use value::{HumanDuration, Secret};

/// All settings, by section.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to listen.
    pub server: ServerSettings,
    /// PostgreSQL.
    pub database: DatabaseSettings,
    /// Folding events into state.
    pub aggregation: AggregationSettings,
    /// Schemas of events.
    pub schema: SchemaSettings,
    /// Who may do what.
    pub auth: AuthSettings,
    /// Taking events in.
    pub ingest: IngestSettings,
    /// Answering questions.
    pub projection: ProjectionSettings,
    /// The page that shows states.
    pub explorer: ExplorerSettings,
    /// Stopping.
    pub shutdown: ShutdownSettings,
    /// The log on standard error.
    pub log: LogSettings,
    /// Traces.
    pub telemetry: TelemetrySettings,
}

impl Settings {
    /// The settings of this process: defaults, then the file, then the environment, then `sets`
    /// (pairs of `section.key` and a value, from flags).
    ///
    /// # Errors
    /// A file that cannot be read, a name that is not a setting, a value that does not fit; each
    /// in one line that names the setting and where it came from.
    pub fn load(config: Option<&Path>, sets: &[(String, String)]) -> Result<Self, SettingsError> {
        load::load(config, std::env::vars_os(), sets)
    }
}

/// Where to listen.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// The address; see [`Settings::bind_host`] for what becomes of it.
    pub host: IpAddr,
    /// The port; 0 is the program's own default.
    pub port: u16,
    /// Whether somebody chose the host, even if it is the default one.
    #[serde(skip)]
    pub host_given: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 0,
            host_given: false,
        }
    }
}

/// PostgreSQL.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// Where it is, with user and password; see [`Settings::database_url`].
    pub url: Option<Secret>,
    /// Most connections that one process opens.
    pub max_connections: usize,
    /// How many processes of this service there are, as far as the budget of connections goes that is
    /// said at the start.
    pub replicas: usize,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            max_connections: 16,
            replicas: 1,
        }
    }
}

/// Folding events into state.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AggregationSettings {
    /// The folder of rules.
    pub config_dir: PathBuf,
    /// How often to sweep at least: a duration or a cron expression.
    pub cron_interval: String,
    /// Events not folded yet above which the backlog is too long.
    pub max_backlog: i64,
    /// Whether to apply the folder of rules at the start.
    pub apply_on_start: bool,
    /// How long the buckets of a retired rule version stay; none is for ever.
    pub keep_retired: Option<HumanDuration>,
    /// Most events that one transaction folds: enough that hours and days are rewritten rarely, few
    /// enough that a lease is held for well under a second.
    pub slice_events: i64,
}

impl Default for AggregationSettings {
    fn default() -> Self {
        Self {
            config_dir: PathBuf::from("rules"),
            cron_interval: "2m".to_owned(),
            max_backlog: 50_000,
            apply_on_start: true,
            keep_retired: None,
            slice_events: 60_000,
        }
    }
}

/// Schemas of events.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaSettings {
    /// The folder of schemas; none is no schemas.
    pub path: Option<PathBuf>,
}

/// Who may do what.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// How callers show who they are.
    pub mode: AuthMode,
    /// Whether `disabled` may listen on more than loopback.
    pub allow_disabled_on_network: bool,
}

/// How callers show who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// By a key.
    #[default]
    ApiKey,
    /// Not at all: everybody is the platform.
    Disabled,
}

/// Taking events in.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    /// How far ahead of the clock `occurred_at` may be.
    pub max_future_skew: HumanDuration,
    /// Tasks that write to the database side by side.
    pub writers: usize,
    /// Most events that wait to be written.
    pub queue_events: usize,
    /// Most bytes that wait to be written.
    pub queue_bytes: usize,
    /// Most partitions that one commit touches; 0 is all.
    pub partitions_per_commit: usize,
    /// How long a request waits for its commit before it is told 503.
    pub request_timeout: HumanDuration,
    /// Events a second that a tenant may send to this process; 0 is as many as there is room for.
    pub tenant_events_per_second: u32,
    /// Events that a tenant may send at once, where its rate is bounded; 0 is those of a second.
    pub tenant_burst_events: u32,
    /// How long refused events are kept.
    pub rejected_keep: HumanDuration,
    /// Most bytes of refused events that are kept.
    pub rejected_max_bytes: usize,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            max_future_skew: HumanDuration::from_secs(5 * 60),
            writers: 2,
            queue_events: 50_000,
            queue_bytes: 64 << 20,
            partitions_per_commit: 0,
            request_timeout: HumanDuration::from_secs(10),
            tenant_events_per_second: 0,
            tenant_burst_events: 0,
            rejected_keep: HumanDuration::from_secs(7 * 24 * 60 * 60),
            rejected_max_bytes: 256 << 20,
        }
    }
}

/// Answering questions.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionSettings {
    /// How long one question may take.
    pub query_budget: HumanDuration,
}

impl Default for ProjectionSettings {
    fn default() -> Self {
        Self {
            query_budget: HumanDuration::from_secs(10),
        }
    }
}

/// The page that shows states.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExplorerSettings {
    /// Whether projection-svc serves it at `/`.
    pub enabled: bool,
}

impl Default for ExplorerSettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Stopping.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownSettings {
    /// How long work in flight may take to finish.
    pub grace: HumanDuration,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self {
            grace: HumanDuration::from_secs(30),
        }
    }
}

/// The log on standard error.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// A level, or levels by target: `info,ingest_svc=debug`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: "info".to_owned(),
        }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Traces.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// The collector, as `http://host:4318`; none is no traces.
    pub otlp_endpoint: Option<String>,
}
