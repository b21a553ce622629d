//! `aevon doctor`: looks at an installation from here, and says of each thing whether it is well, and what to
//! do where it is not.
//!
//! Invariant: changes nothing; a check that can't be made because of an earlier one says so and fails.

use crate::output::{Colour, Format, OutputArg, is_coloured, painted, print, verdict};
use crate::remote::AccessArgs;
use crate::table::plain;
use aevon_service::settings::Settings;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

mod database;
mod services;
mod settings;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon doctor                                  settings, files, database, clock, schema, lag\n  \
    aevon doctor --config aevon.yaml http://ingest:8081 http://projection:8082\n  \
    aevon doctor -o json | jq '.checks[] | select(.ok | not)'\n\n\
    Changes nothing, and needs SELECT alone. Exit codes: 0 everything is well, 1 something is not (its line \
    says what to do),\n2 wrong usage.";

/// What to look at.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Services to look at, besides the database; AEVON_URL where none is named
    #[arg(value_name = "URL", env = "AEVON_URL", hide_env = true)]
    services: Vec<String>,
    /// The file of settings that the services have
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    access: AccessArgs,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    what: String,
    is_well: bool,
    found: String,
    /// Where it is not well.
    to_do: String,
}

impl Check {
    fn well(what: &str, found: impl Into<String>) -> Self {
        Self {
            what: what.to_owned(),
            is_well: true,
            found: found.into(),
            to_do: String::new(),
        }
    }

    fn bad(what: &str, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self {
            what: what.to_owned(),
            is_well: false,
            found: found.into(),
            to_do: to_do.into(),
        }
    }

    fn line(&self, is_coloured: bool) -> String {
        let found = plain(&self.found);
        match self.is_well {
            true => {
                let mark = painted("✓", Colour::Green, is_coloured);
                format!("{mark} {}: {found}\n", self.what)
            }
            false => {
                let mark = painted("✗", Colour::Red, is_coloured);
                format!("{mark} {}: {found} → {}\n", self.what, plain(&self.to_do))
            }
        }
    }
}

/// What was looked at so far; on a table each check is printed when it is made.
struct Report {
    format: Format,
    is_coloured: bool,
    checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, check: Check) -> anyhow::Result<()> {
        if self.format == Format::Table {
            print(&check.line(self.is_coloured))?;
        }
        self.checks.push(check);
        Ok(())
    }

    fn is_well(&self) -> bool {
        self.checks.iter().all(|check| check.is_well)
    }

    fn as_json(&self) -> String {
        let item = |check: &Check| {
            let to_do = (!check.is_well).then_some(&check.to_do);
            json!({"check": check.what, "ok": check.is_well, "found": check.found, "do": to_do})
        };
        let checks: Vec<_> = self.checks.iter().map(item).collect();
        format!("{:#}\n", json!({"ok": self.is_well(), "checks": checks}))
    }
}

/// Looks at everything.
pub(crate) async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut report = Report {
        format: args.output.format,
        is_coloured: is_coloured(),
        checks: Vec::new(),
    };
    match Settings::load(args.config.as_deref(), &[]) {
        Err(error) => report.add(settings::unreadable(&error))?,
        Ok(settings) => {
            for check in settings::checks(&settings, args.config.as_deref()) {
                report.add(check)?;
            }
            database::look(&settings, &mut report).await?;
        }
    }
    for url in &args.services {
        for check in services::checks(&args.access, url).await {
            report.add(check)?;
        }
    }
    if report.format == Format::Json {
        print(&report.as_json())?;
    }
    Ok(verdict(report.is_well()))
}
