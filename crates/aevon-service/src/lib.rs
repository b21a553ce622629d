//! The process shell that every program of ours shares: settings, command line, telemetry,
//! problems, health, shutdown and the HTTP server. No domain, no SQL.
//!
//! Invariant: nothing here names an event, a rule or a table.
//! Invariant: every setting has a default or a clear error that names it.

pub mod auth;
pub mod cli;
pub mod health;
pub mod http;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod ready;
pub mod request;
pub mod settings;
pub mod shutdown;
pub mod telemetry;

pub use auth::{Auth, Caller, Scope};
pub use cli::{Program, ServiceArgs};
pub use health::Readiness;
pub use http::HttpOptions;
pub use metrics::Metrics;
pub use problem::{Code, Problem, ProblemItem};
pub use settings::{Settings, SettingsError};
pub use shutdown::Shutdown;
