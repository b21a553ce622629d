//! Where services are and who asks, for the commands that speak HTTP.

use aevon_client::{Client, Error};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// The flags of every command that asks services.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Services")]
pub(crate) struct RemoteArgs {
    /// Where the services are
    #[arg(
        long,
        env = "AEVON_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        hide_env_values = true
    )]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Who asks, and how patiently.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Services")]
pub(crate) struct AccessArgs {
    /// The key; rather in the environment than on the command line, which others see
    #[arg(
        long,
        env = "AEVON_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    api_key: Option<String>,
    /// Authorities to trust with https (PEM), in place of those of the machine
    #[arg(
        long,
        env = "AEVON_CA_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    ca_file: Option<PathBuf>,
    /// How long to try
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) patience: aevon_service::settings::HumanDuration,
}

impl RemoteArgs {
    /// A client of these services.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        self.access.client_of(&self.url, self.patience())
    }

    pub(crate) fn patience(&self) -> Duration {
        self.access.patience.get()
    }
}

impl AccessArgs {
    /// A client of the service at a place, with a patience of its own.
    pub(crate) fn client_of(&self, url: &str, patience: Duration) -> Result<Client, Error> {
        let mut builder = Client::builder(url).patience(patience);
        if let Some(key) = self.api_key.as_deref().filter(|key| !key.is_empty()) {
            builder = builder.api_key(key);
        }
        if let Some(path) = &self.ca_file {
            builder = builder.ca_file(path);
        }
        builder.build()
    }
}
