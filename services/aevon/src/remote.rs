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
    patience: aevon_service::settings::HumanDuration,
}

impl RemoteArgs {
    /// A client of these services.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        self.client_of(&self.url, self.patience())
    }

    /// The same, of the service at another place, and with a patience of its own.
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

    pub(crate) fn patience(&self) -> Duration {
        self.patience.get()
    }
}
