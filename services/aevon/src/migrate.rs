//! `aevon migrate`: the schema and the roles, brought up to date, planned, or shown as they are.

use crate::output::{Format, OutputArg, print, say};
use crate::table::{aligned, titles};
use aevon_core::time::Timestamp;
use aevon_schema::migrate::{self, MigrateOptions, MigrateReport, SchemaStatus, State};
use aevon_schema::roles::{self, Granted};
use aevon_service::settings::{HumanDuration, Settings};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon migrate --partitions 16   a new database; again after each upgrade\n  \
    aevon migrate --roles           the same, and a role for each service\n  \
    aevon migrate plan              what it would run\n  \
    aevon migrate status            what ran, and when\n  \
    aevon migrate roles --dry-run   what each role is granted\n  \
    aevon migrate --distribute citus --dry-run\n\n\
    It connects as the owner, to Postgres itself: a lock of its session keeps others out, so a pooler \
    between has to\npool sessions. Each migration is one transaction. One that waits longer than \
    --lock-timeout for a lock gives up and\nhas changed nothing.";

/// What to do with the schema.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    apply: ApplyArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Brings the database to the current schema, as no verb at all does
    Apply(ApplyArgs),
    /// Prints the statements that would run now; changes nothing
    #[command(after_help = "Examples:\n  \
        aevon migrate plan\n  \
        aevon migrate plan -o json\n\n\
        Exit codes: 0 printed, 1 the database can't be reached or is none of ours, 2 wrong usage.")]
    Plan(ShowArgs),
    /// Shows which migrations ran and when, which are pending, and which programs the schema serves
    #[command(after_help = "Example:\n  aevon migrate status --wait 5s\n\n\
        Exit codes: 0 shown, whatever is pending, 1 the database can't be reached or is none of ours, \
        2 wrong usage.")]
    Status(ShowArgs),
    /// Makes a role for each service, or brings it up to date: what its statements need, nothing else
    Roles(RolesArgs),
}

#[derive(Args, Debug)]
struct ApplyArgs {
    /// Partitions of a new log; chosen once, never changed
    #[arg(long, value_name = "N")]
    partitions: Option<i32>,
    /// Makes a role for each service as well, and grants it what it needs
    #[arg(long)]
    roles: bool,
    #[command(flatten)]
    prefix: PrefixArg,
    /// Distributes the tables by partition over the nodes of a Postgres that has this extension
    #[arg(long, value_enum, value_name = "EXTENSION")]
    distribute: Option<Extension>,
    /// Prints the statements that distribute, and runs none
    #[arg(long, requires = "distribute")]
    dry_run: bool,
    #[command(flatten)]
    waits: WaitArgs,
    #[command(flatten)]
    output: OutputArg,
}

/// What distributes tables.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Extension {
    Citus,
}

#[derive(Args, Debug)]
struct ShowArgs {
    #[command(flatten)]
    waits: WaitArgs,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Args, Debug)]
struct RolesArgs {
    #[command(flatten)]
    prefix: PrefixArg,
    /// Prints the statements and runs none
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waits: WaitArgs,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Args, Debug)]
struct PrefixArg {
    /// What the names of roles begin with; roles are the server's, so two installations on one take two
    #[arg(long, value_name = "NAME", default_value = roles::DEFAULT_PREFIX)]
    role_prefix: String,
}

#[derive(Args, Clone, Copy, Debug)]
struct WaitArgs {
    /// How long to wait for Postgres, and for another migration
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    wait: HumanDuration,
    /// How long a statement may wait for a lock; others wait behind it meanwhile
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    lock_timeout: HumanDuration,
}

impl WaitArgs {
    fn options(self, partitions: Option<i32>) -> MigrateOptions {
        MigrateOptions {
            partitions,
            wait: self.wait.get(),
            lock_timeout: self.lock_timeout.get(),
        }
    }
}

/// Does it.
pub(crate) async fn run(settings: &Settings, args: MigrateArgs) -> anyhow::Result<()> {
    let url = settings.database_url()?;
    match args.verb.unwrap_or(Verb::Apply(args.apply)) {
        Verb::Apply(args) => apply(url, &args).await,
        Verb::Plan(args) => {
            let status = migrate::status(url, &args.waits.options(None), tell).await?;
            plan(&status, args.output.format)
        }
        Verb::Status(args) => {
            let found = migrate::status(url, &args.waits.options(None), tell).await?;
            status(&found, args.output.format)
        }
        Verb::Roles(args) => {
            let (prefix, options) = (&args.prefix.role_prefix, args.waits.options(None));
            let granted = match args.dry_run {
                true => roles::plan(url, prefix, &options, tell).await?,
                false => roles::apply(url, prefix, &options, tell).await?,
            };
            print_roles(&granted, &args)
        }
    }
}

/// What is waited for, for whoever watches.
fn tell(news: String) {
    eprintln!("{news}");
}

async fn apply(url: &str, args: &ApplyArgs) -> anyhow::Result<()> {
    if args.dry_run {
        print(&format!("BEGIN;\n{}COMMIT;\n", migrate::CITUS))?;
        return Ok(());
    }
    let options = args.waits.options(args.partitions);
    let report = migrate::run(url, &options, tell).await?;
    if args.distribute.is_some() {
        match migrate::distribute(url, &options, tell).await? {
            true => tell("distributed the tables by partition".to_owned()),
            false => tell("the tables are distributed already".to_owned()),
        }
    }
    let granted = match args.roles {
        true => {
            roles::apply(url, &args.prefix.role_prefix, &options, tell)
                .await?
                .roles
        }
        false => Vec::new(),
    };
    match args.output.format {
        Format::Json => {
            let names: Vec<&String> = granted.iter().map(|(name, _)| name).collect();
            let said = json!({
                "applied": report.applied,
                "partitions": report.partitions,
                "newer_schema": report.newer,
                "roles": names,
            });
            say!("{said:#}");
        }
        Format::Table => print_report(&report, &granted)?,
    }
    Ok(())
}

fn print_report(report: &MigrateReport, roles: &[(String, &str)]) -> anyhow::Result<()> {
    for migration in &report.applied {
        say!("applied {migration}");
    }
    for (name, serves) in roles {
        say!("granted {name} what {serves} needs");
    }
    match &report.newer {
        Some(newer) => say!(
            "the schema is {newer}, newer than this program, and serves it; the log has {} partitions",
            report.partitions
        ),
        None => say!(
            "the schema is current; the log has {} partitions",
            report.partitions
        ),
    }
    Ok(())
}

fn plan(status: &SchemaStatus, format: Format) -> anyhow::Result<()> {
    let pending: Vec<(&str, &str)> = status
        .pending()
        .map(|one| {
            (
                one.name.as_str(),
                migrate::text(&one.name).unwrap_or_default(),
            )
        })
        .collect();
    match format {
        Format::Json => {
            let one = |(name, sql): &(&str, &str)| json!({"name": name, "sql": sql});
            let pending: Vec<Value> = pending.iter().map(one).collect();
            say!("{:#}", json!({"pending": pending}));
        }
        Format::Table if pending.is_empty() => say!("-- nothing is pending"),
        Format::Table => {
            for (name, sql) in pending {
                say!("-- {name}\nBEGIN;\n{}\nCOMMIT;\n", sql.trim_end());
            }
        }
    }
    Ok(())
}

fn status(status: &SchemaStatus, format: Format) -> anyhow::Result<()> {
    let verdict = status.check().err().map(|error| error.to_string());
    if format == Format::Json {
        say!("{:#}", as_json(status, verdict.as_deref()));
        return Ok(());
    }
    let mut rows = vec![titles(&["migration", "state", "ran at"])];
    rows.extend(status.migrations.iter().map(|one| {
        let (state, at) = shown(one.state);
        vec![
            one.name.clone(),
            state.to_owned(),
            at.unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    print(&aligned(&rows)?)?;
    if let Some(oldest) = &status.oldest {
        say!("\nit serves programs that know schema {oldest} or newer");
    }
    match verdict {
        Some(why) => say!("\nthis program can't work with it: {why}"),
        None => say!(
            "\nthis program can work with it; the log has {} partitions",
            status.partitions
        ),
    }
    Ok(())
}

fn shown(state: State) -> (&'static str, Option<String>) {
    let at = |seconds: f64| Timestamp::from_micros((seconds * 1e6) as i64).to_string();
    match state {
        State::Applied(seconds) => ("applied", Some(at(seconds))),
        State::Pending => ("pending", None),
        State::Unknown(seconds) => ("applied, not known here", Some(at(seconds))),
    }
}

fn as_json(status: &SchemaStatus, verdict: Option<&str>) -> Value {
    let migrations = status.migrations.iter().map(|one| {
        let (_, at) = shown(one.state);
        json!({
            "version": one.version,
            "name": one.name,
            "is_applied": at.is_some(),
            "is_known": !matches!(one.state, State::Unknown(_)),
            "ran_at": at,
        })
    });
    json!({
        "schema": status.found(),
        "known": migrate::newest_known(),
        "oldest_served": status.oldest,
        "partitions": status.partitions,
        "trouble": verdict,
        "migrations": migrations.collect::<Vec<_>>(),
    })
}

fn print_roles(granted: &Granted, args: &RolesArgs) -> anyhow::Result<()> {
    if args.output.format == Format::Json {
        let roles = granted.roles.iter();
        let roles = roles.map(|(name, serves)| json!({"name": name, "serves": serves}));
        let said = json!({
            "roles": roles.collect::<Vec<_>>(),
            "statements": granted.statements,
            "is_applied": !args.dry_run,
        });
        say!("{said:#}");
        return Ok(());
    }
    if args.dry_run {
        say!("BEGIN;\n{};\nCOMMIT;", granted.statements.join(";\n"));
        return Ok(());
    }
    let mut rows = vec![titles(&["role", "for"])];
    let roles = granted.roles.iter();
    rows.extend(roles.map(|(name, serves)| vec![name.clone(), (*serves).to_owned()]));
    print(&aligned(&rows)?)?;
    say!("\nmake users as their members: CREATE ROLE … LOGIN PASSWORD … IN ROLE …");
    Ok(())
}
