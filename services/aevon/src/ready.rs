//! `aevon ready`: asks services whether they are ready.

use crate::output::{Format, OutputArg, say, verdict};
use aevon_service::ready::{NotReady, ask};
use aevon_service::settings::HumanDuration;
use clap::Args;
use serde_json::{Value, json};
use std::process::ExitCode;
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
    #[command(flatten)]
    output: OutputArg,
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

/// Asks each until it is ready, or the time is over.
pub(crate) fn run(args: &ReadyArgs) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + args.wait.get();
    let mut shown = Vec::new();
    let mut is_well = true;
    for service in &args.services {
        let refused = until(service, deadline)
            .err()
            .map(|error| error.to_string());
        is_well &= refused.is_none();
        match (&refused, args.output.format) {
            (Some(reason), _) => eprintln!("{service}: {reason}"),
            (None, Format::Table) => say!("{service} is ready"),
            (None, Format::Json) => {}
        }
        shown.push(json!({"service": service, "is_ready": refused.is_none(), "reason": refused}));
    }
    if args.output.format == Format::Json {
        say!("{:#}", Value::from(shown));
    }
    Ok(verdict(is_well))
}

fn until(service: &str, deadline: Instant) -> Result<(), NotReady> {
    loop {
        match ask(service, PATIENCE) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            answer => return answer,
        }
    }
}
