//! The command line: for callers `send`, `state`, `explain` and `tail`; for operators `doctor`, `migrate`,
//! `key`, `rules`, `verify`, `rebuild`, `export`, `import`, `erase`; and `dev`, the whole system in one
//! process.
//!
//! Invariant: a command exits 0 only on success; a failure is one line on standard error, after the
//! faults of files, one a line.
//! Invariant: what was asked for goes to standard output, everything else to standard error.

use aevon_core::identity;
use aevon_core::time::Timestamp;
use aevon_schema::migrate::check;
use aevon_schema::{Database, DatabaseOptions};
use aevon_service::settings::{Settings, markdown_reference};
use aevon_service::{cli, telemetry};
use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use output::OutputArg;
use std::process::ExitCode;
use std::time::Duration;

mod completion;
mod dev;
mod doctor;
mod erase;
mod explain;
mod export;
mod help;
mod import;
mod key;
mod lines;
mod metrics;
mod migrate;
mod openapi;
mod output;
mod ready;
mod rebuild;
mod remote;
mod rules;
mod send;
mod state;
mod table;
mod tail;
mod verify;

#[derive(Debug, Parser)]
#[command(
    name = "aevon",
    version,
    about = "Sends events to Aevon, asks for states, looks after an installation, or runs one here"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends one event, or a file of them
    #[command(after_help = send::EXAMPLES)]
    Send(send::SendArgs),
    /// Asks what the events of a principal, or of a tenant, add up to
    #[command(after_help = state::EXAMPLES)]
    State(state::StateArgs),
    /// Asks what a value was made of, and for the events behind it
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// Follows everything that comes in of a tenant
    #[command(after_help = tail::EXAMPLES)]
    Tail(tail::TailArgs),
    /// Looks at settings, database, clocks, schema, lag and services, and says what to do
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// Prints what a shell completes
    #[command(after_help = completion::EXAMPLES)]
    Completion {
        /// Which shell
        shell: Shell,
    },
    /// Prints the help of every command, as a document
    Cli,
    /// Brings the database of AEVON_DATABASE__URL to the current schema
    #[command(after_help = migrate::EXAMPLES)]
    Migrate(migrate::MigrateArgs),
    /// Makes, lists, revokes and rotates keys
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
    },
    /// Checks, previews and applies rules, and shows where they are
    Rules {
        #[command(subcommand)]
        command: rules::RulesCommand,
    },
    /// Compares the buckets with the log, from which they can always be made anew
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Makes the buckets of a rule anew from the log, beside those that answer, and compares them
    ///
    /// Answers stay right all the while, and aggregators may go on. What was broken off goes on
    /// when it is asked for again.
    #[command(after_help = rebuild::EXAMPLES)]
    Rebuild {
        /// The rule, whose active version is rebuilt
        #[arg(long, value_name = "NAME", value_parser = rebuild::rule_name)]
        rule: String,
        /// Gives up a rebuild that was broken off, and deletes what there is of it
        #[arg(long)]
        give_up: bool,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Writes the log and its rules as lines of JSON, with which another database can begin
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Begins an empty database with an export
    #[command(after_help = import::EXAMPLES)]
    Import(import::ImportArgs),
    /// Erases a principal: its name and all that no rule reads of its events, for ever
    #[command(after_help = erase::EXAMPLES)]
    Erase(erase::EraseArgs),
    /// Asks services whether they are ready
    #[command(after_help = ready::EXAMPLES)]
    Ready(ready::ReadyArgs),
    /// Prints every setting with its default, as a document
    Settings,
    /// Prints every metric of every service, as a document
    Metrics,
    /// Prints what OpenAPI says of every route of every service
    Openapi,
    /// Runs the whole system here: Postgres, the three services, sample rules and data
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::DevArgs),
}

/// The command line, with its commands in groups.
fn command() -> clap::Command {
    help::grouped(Cli::command())
}

/// The program.
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let ran = Cli::from_arg_matches(&matches)
        .map_err(anyhow::Error::from)
        .and_then(|cli| run(cli.command));
    ran.unwrap_or_else(|error| cli::report("aevon", &error))
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = |done: anyhow::Result<()>| done.map(|()| ExitCode::SUCCESS);
    match command {
        // What asks services or nobody needs no settings, and works where they are wrong.
        Command::Send(args) => runtime.block_on(send::run(args)),
        Command::State(args) => done(runtime.block_on(state::run(args))),
        Command::Explain(args) => done(runtime.block_on(explain::run(args))),
        Command::Tail(args) => done(runtime.block_on(tail::run(args))),
        Command::Doctor(args) => runtime.block_on(doctor::run(args)),
        Command::Completion { shell } => done(completion::run(shell, self::command())),
        Command::Cli => done(output::print(&help::reference()).map(drop)),
        Command::Settings => done(output::print(&markdown_reference()).map(drop)),
        Command::Ready(args) => ready::run(&args),
        others => done(run_with_settings(&runtime, others)),
    }
}

fn run_with_settings(runtime: &tokio::runtime::Runtime, command: Command) -> anyhow::Result<()> {
    let mut settings = Settings::load(None, &[])?;
    if matches!(command, Command::Dev(_)) {
        dev::adjust(&mut settings);
    }
    let _telemetry = telemetry::init("aevon", &settings.log, &settings.telemetry)?;
    runtime.block_on(async {
        match command {
            Command::Migrate(args) => migrate::run(&settings, args).await,
            Command::Rules { command } => rules::run(&settings, command).await,
            Command::Verify(args) => verify::run(&settings, args).await,
            Command::Key { command } => key::run(&settings, command).await,
            Command::Rebuild {
                rule,
                give_up,
                output,
            } => match give_up {
                false => rebuild::run(&settings, &rule, output.format).await,
                true => rebuild::give_up(&settings, &rule, output.format).await,
            },
            Command::Export(args) => export::run(&settings, args).await,
            Command::Import(args) => import::run(&settings, args).await,
            Command::Erase(args) => erase::run(&settings, args).await,
            Command::Dev(args) => Box::pin(dev::run(settings, args)).await,
            Command::Metrics => output::print(&metrics::reference()?).map(drop),
            Command::Openapi => output::print(&openapi::reference()?).map(drop),
            _ => unreachable!("run without settings"),
        }
    })
}

/// A way into the database of the settings, whose schema is the one that this program knows; with
/// the number of its partitions.
async fn reach(
    settings: &Settings,
    application_name: &'static str,
    statement_timeout: Duration,
) -> anyhow::Result<(Database, i32)> {
    let database = Database::new(DatabaseOptions {
        url: settings.database_url()?.to_owned(),
        max_connections: 1,
        application_name,
        statement_timeout,
    })?;
    let partitions = check(&database).await?;
    Ok((database, partitions))
}

/// A flag that is an identifier.
fn identifier(text: &str) -> Result<String, String> {
    match identity::check(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(fault) => Err(fault.to_string()),
    }
}

/// A flag that is an instant.
fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text)
}
