//! The operator's command line: `migrate`, `key`, `rules`, `rebuild`, and `dev`, the whole system in one
//! process.
//!
//! Invariant: a command exits 0 only on success; a failure is one line on standard error.
//! Invariant: what was asked for goes to standard output, everything else to standard error.

#![expect(
    clippy::print_stdout,
    reason = "what was asked for goes to standard output"
)]

use aevon_schema::{Database, DatabaseOptions, migrate, rules};
use aevon_service::settings::{Settings, markdown_reference};
use aevon_service::{cli, telemetry};
use aggregator_svc::rule_files;
use anyhow::Context;
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

mod dev;
mod key;
mod metrics;
mod openapi;
mod rebuild;

#[derive(Debug, Parser)]
#[command(
    name = "aevon",
    version,
    about = "Looks after an Aevon installation, or runs one here"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Brings the database of AEVON_DATABASE__URL to the current schema
    Migrate {
        /// Partitions of a new log; chosen once, never changed
        #[arg(long, value_name = "N")]
        partitions: Option<i32>,
    },
    /// Makes, lists, revokes and rotates keys
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
    },
    /// Checks or applies a folder of rules
    Rules {
        #[command(subcommand)]
        command: RulesCommand,
    },
    /// Makes the buckets of a rule anew from the log, beside those that answer, and compares them
    ///
    /// Answers stay right all the while, and aggregators may go on. What was broken off goes on
    /// when it is asked for again.
    Rebuild {
        /// The rule, whose active version is rebuilt
        #[arg(long, value_name = "NAME")]
        rule: String,
    },
    /// Prints every setting with its default, as a document
    Settings,
    /// Prints every metric of every service, as a document
    Metrics,
    /// Prints what OpenAPI says of every route of every service
    Openapi,
    /// Runs the whole system here: Postgres, the three services, sample rules and data
    Dev(dev::DevArgs),
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Says whether every file of a folder is a rule; needs no database
    Check {
        /// The folder
        dir: PathBuf,
    },
    /// Makes a folder the set of rules of the database of AEVON_DATABASE__URL
    Apply {
        /// The folder
        dir: PathBuf,
    },
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::report("aevon", &error),
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let mut settings = Settings::load(None, &[])?;
    if matches!(command, Command::Dev(_)) {
        dev::adjust(&mut settings);
    }
    let _telemetry = telemetry::init("aevon", &settings.log, &settings.telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        match command {
            Command::Migrate { partitions } => run_migrate(&settings, partitions).await,
            Command::Rules {
                command: RulesCommand::Check { dir },
            } => check_rules(&dir),
            Command::Rules {
                command: RulesCommand::Apply { dir },
            } => apply_rules(&settings, &dir).await,
            Command::Key { command } => key::run(&settings, command).await,
            Command::Rebuild { rule } => rebuild::run(&settings, &rule).await,
            Command::Dev(args) => dev::run(settings, args).await,
            Command::Metrics => {
                print!("{}", metrics::reference()?);
                Ok(())
            }
            Command::Openapi => {
                print!("{}", openapi::reference()?);
                Ok(())
            }
            Command::Settings => {
                print!("{}", markdown_reference());
                Ok(())
            }
        }
    })
}

async fn run_migrate(settings: &Settings, partitions: Option<i32>) -> anyhow::Result<()> {
    let report = migrate::run(settings.database_url()?, partitions).await?;
    for migration in &report.applied {
        println!("applied {migration}");
    }
    println!(
        "the schema is current; the log has {} partitions",
        report.partitions
    );
    Ok(())
}

fn check_rules(dir: &Path) -> anyhow::Result<()> {
    let set = rule_files::load(dir)?;
    println!("{} rules, no faults", set.len());
    Ok(())
}

async fn apply_rules(settings: &Settings, dir: &Path) -> anyhow::Result<()> {
    let set = rule_files::load(dir)?;
    let database = Database::new(DatabaseOptions {
        url: settings.database_url()?.to_owned(),
        max_connections: 1,
        application_name: "aevon rules apply",
        statement_timeout: Duration::from_secs(30),
    })?;
    migrate::check(&database).await?;
    let applied = rules::apply(&mut *database.get().await?, &set).await?;
    for (name, version) in &applied.registered {
        println!("registered {name}, version {version}");
    }
    for name in &applied.retired {
        println!("retired {name}");
    }
    println!("{} unchanged", applied.unchanged.len());
    Ok(())
}
