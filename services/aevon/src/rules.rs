//! `aevon rules`: what a folder of rules holds, what it would answer, what became of it.

use crate::output::{Format, OutputArg, say};
use crate::reach;
use crate::table::plain;
use aevon_core::rule::Rule;
use aevon_schema::rules;
use aevon_service::settings::Settings;
use aggregator_svc::rule_files::{self, RuleFilesError};
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod check;
mod preview;
mod sample;
mod status;

/// How long one statement of `apply` and `status` may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Names every fault of every file of a folder, or lists its rules; needs no database
    #[command(after_help = "Examples:\n  \
        aevon rules check rules/\n  \
        aevon rules check rules/ --event event.json   what each rule reads of it\n  \
        tail -n 5 events.ndjson | aevon rules check rules/ --event -\n\n\
        Exit codes: 0 no faults, 1 faults (one a line on standard error), 2 wrong usage.")]
    Check {
        /// The folder
        dir: PathBuf,
        /// Shows what each rule would read of these events: one, an array, or one a line, as they
        /// are sent to POST /v1/events; - is standard input
        #[arg(long, value_name = "FILE|-")]
        event: Option<PathBuf>,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Makes a folder the set of rules of the database of AEVON_DATABASE__URL, all of it or nothing
    #[command(after_help = "Example:\n  aevon rules apply rules/\n\n\
        A rule that says something else becomes the next version, a rule whose file is gone is \
        retired.\nA set with faults changes nothing.\n\n\
        Exit codes: 0 applied, 1 failed, or faults (one a line on standard error), 2 wrong usage.")]
    Apply {
        /// The folder
        dir: PathBuf,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Answers by a rule that nobody has registered, from the raw log
    #[command(after_help = preview::EXAMPLES)]
    Preview(preview::PreviewArgs),
    /// Shows every version of every rule: where it is in its life, how far its buckets are behind
    #[command(after_help = status::EXAMPLES)]
    Status(status::StatusArgs),
}

/// Does it.
pub(crate) async fn run(settings: &Settings, command: RulesCommand) -> anyhow::Result<()> {
    match command {
        RulesCommand::Check { dir, event, output } => {
            check::run(&load(&dir)?, event.as_deref(), output.format)
        }
        RulesCommand::Apply { dir, output } => apply(settings, &dir, output.format).await,
        RulesCommand::Preview(args) => preview::run(settings, args).await,
        RulesCommand::Status(args) => status::run(settings, args).await,
    }
}

/// The rules of a folder; its faults go to standard error, one a line.
fn load(dir: &Path) -> anyhow::Result<Vec<Rule>> {
    rule_files::load(dir).map_err(|error| faults(error, "the folder"))
}

/// Lists faults where there are several, and says how many.
fn faults(error: RuleFilesError, of_what: &str) -> anyhow::Error {
    let listed = match error {
        RuleFilesError::Faulty(faults) => faults,
        RuleFilesError::Folder { folder, error } => {
            return anyhow::anyhow!("{}: {error}", folder.display());
        }
    };
    for (file, fault) in &listed {
        eprintln!("{}: {}", file.display(), plain(&fault.to_string()));
    }
    let (count, plural) = (listed.len(), if listed.len() == 1 { "" } else { "s" });
    anyhow::anyhow!("{of_what} has {count} fault{plural}; nothing of it was used")
}

async fn apply(settings: &Settings, dir: &Path, format: Format) -> anyhow::Result<()> {
    let set = load(dir)?;
    let (database, _) = reach(settings, "aevon rules apply", STATEMENT_TIMEOUT).await?;
    let applied = rules::apply(&mut *database.get().await?, &set).await?;
    if format == Format::Json {
        let registered = applied.registered.iter();
        let registered =
            registered.map(|(name, version)| json!({"name": name, "version": version}));
        say!(
            "{:#}",
            json!({
                "registered": registered.collect::<Vec<_>>(),
                "retired": applied.retired,
                "unchanged": applied.unchanged,
            })
        );
        return Ok(());
    }
    for (name, version) in &applied.registered {
        say!("registered {name}, version {version}");
    }
    for name in &applied.retired {
        say!("retired {name}");
    }
    for name in &applied.unchanged {
        say!("unchanged {name}");
    }
    say!(
        "{} registered, {} retired, {} unchanged",
        applied.registered.len(),
        applied.retired.len(),
        applied.unchanged.len()
    );
    Ok(())
}
