//! `aevon tail`: follows everything that comes in of a tenant.
//!
//! Retry safety: it ends by saying where it was; `--from` goes on there, and nothing is missed. Where whoever
//! reads has left in the middle of a page, that page comes again.

use crate::output::{Format, OutputArg, print};
use crate::remote::RemoteArgs;
use crate::table::plain;
use aevon_client::{Client, Feed};
use clap::Args;
use serde_json::Value;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon tail acme                                     what comes in from now on\n  \
    aevon tail acme --from beginning --once -o json     everything there is, one event a line\n  \
    aevon tail acme --from 3:17,7:90210 --type model.call\n\n\
    Ctrl-C ends it, and standard error says where to go on. Services that are away are waited for. Exit \
    codes: 0 ended,\n1 refused (standard error says why), 2 wrong usage.";

/// Between two attempts, where services are away for longer than the client's patience.
const PAUSE: Duration = Duration::from_secs(1);

/// Whose events, and from where.
#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// The tenant
    tenant: String,
    /// Where to begin: newest, beginning, or the place that the last run has named
    #[arg(long, value_name = "PLACE", default_value = "newest")]
    from: String,
    /// Only events of these types; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Ends when there is no more
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Follows.
pub(crate) async fn run(args: TailArgs) -> anyhow::Result<()> {
    let mut feed = feed(&args.remote.client()?, &args);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut place = None;
    let ended = tokio::select! {
        ended = follow(&mut feed, &args, &mut place) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
        _ = terminate.recv() => Ok(()),
    };
    if let Some(place) = place {
        eprintln!("to go on: --from {place}");
    }
    ended
}

fn feed(client: &Client, args: &TailArgs) -> Feed {
    let mut feed = client.feed(&args.tenant);
    if args.from != "beginning" {
        feed = feed.after(&args.from);
    }
    if args.once {
        feed = feed.wait(Duration::ZERO);
    }
    args.types.iter().fold(feed, Feed::event_type)
}

/// Keeps the place behind what was read: of a page that nobody read to its end, the one before.
async fn follow(
    feed: &mut Feed,
    args: &TailArgs,
    place: &mut Option<String>,
) -> anyhow::Result<()> {
    loop {
        let before = feed.place().map(str::to_owned);
        let items = match feed.next().await {
            Ok(items) => items,
            Err(error) if error.is_temporary() && !args.once => {
                eprintln!("{error}; trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let lines: String = items
            .iter()
            .map(|item| line(item, args.output.format))
            .collect();
        if !print(&lines)? {
            return Ok(());
        }
        *place = feed.place().map(str::to_owned);
        if args.once && items.is_empty() && *place == before {
            return Ok(());
        }
    }
}

fn line(item: &Value, format: Format) -> String {
    if format == Format::Json {
        return format!("{item}\n");
    }
    let text = |name: &str| plain(item[name].as_str().unwrap_or("-"));
    format!(
        "{:<12} {:<27} {}  {}  {}  {}\n",
        text("position"),
        text("occurred_at"),
        text("principal_id"),
        text("type"),
        text("id"),
        plain(&item["data"].to_string())
    )
}
