//! `aevon ready`: asks services whether they are ready.

use crate::output::say;
use aevon_service::ready::{NotReady, ask};
use aevon_service::settings::HumanDuration;
use anyhow::bail;
use clap::Args;
use std::time::{Duration, Instant};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions to the same service.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) const EXAMPLES: &str = "Example:\n  \
    aevon ready --wait 60s http://ingest:8081 http://projection:8082 http://aggregator:8083\n\n\
    Exit codes: 0 every one is ready, 1 one was not in time (standard error says why), 2 wrong usage.";

#[derive(Args, Debug)]
pub(crate) struct ReadyArgs {
    /// The services, as http://host:port
    #[arg(required = true, value_name = "URL", value_parser = address)]
    services: Vec<String>,
    /// Asks again for so long
    #[arg(long, default_value = "0s", value_name = "DURATION")]
    wait: HumanDuration,
}

/// `host:port` of a service's address.
fn address(url: &str) -> Result<String, String> {
    let address = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'));
    match address {
        Some(address) if address.contains(':') && !address.contains('/') => Ok(address.to_owned()),
        _ => Err("is not of the form http://host:port".to_owned()),
    }
}

/// Asks each until it is ready.
pub(crate) fn run(args: &ReadyArgs) -> anyhow::Result<()> {
    let deadline = Instant::now() + args.wait.get();
    for service in &args.services {
        if let Err(error) = until(service, deadline) {
            bail!("{service}: {error}");
        }
        say!("{service} is ready");
    }
    Ok(())
}

fn until(service: &str, deadline: Instant) -> Result<(), NotReady> {
    loop {
        match ask(service, PATIENCE) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            answer => return answer,
        }
    }
}
