//! The whole `main` of a service: command line, settings, telemetry, runtime, signals, exit code.
//!
//! Invariant: a process that fails prints one line to standard error and exits 1; wrong usage
//! exits 2; a process that was told to stop and stopped in time exits 0.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Command, FromArgMatches};

use crate::ready;
use crate::settings::{Settings, SettingsError, environment_help};
use crate::shutdown::Shutdown;
use crate::telemetry;

/// What a service may take beyond `shutdown.grace`, to close what is not a request.
const AFTER_GRACE: Duration = Duration::from_secs(5);
/// How long blocking tasks are waited for at the very end.
const LEFTOVERS: Duration = Duration::from_secs(1);
/// How long `--check-ready` waits for the answer.
const READY_PATIENCE: Duration = Duration::from_secs(3);

/// The flags that every program has.
#[derive(Args, Clone, Debug, Default)]
pub struct ServiceArgs {
    /// Reads settings from this YAML file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one setting, over file and environment; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = pair)]
    pub sets: Vec<(String, String)>,
    /// Checks the settings and exits.
    #[arg(long)]
    pub check_config: bool,
    /// Prints the settings as YAML, without secrets, and exits.
    #[arg(long)]
    pub print_config: bool,
    /// Asks the process that runs here with these settings whether it is ready, and exits.
    #[arg(long)]
    pub check_ready: bool,
}

impl ServiceArgs {
    /// The settings that these flags lead to.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load(&self) -> Result<Settings, SettingsError> {
        Settings::load(self.config.as_deref(), &self.sets)
    }
}

/// Which program this is.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// As it is called, e.g. `ingest-svc`.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Where it listens when `server.port` is 0.
    pub default_port: u16,
    /// What else must hold of the settings before it starts; `--check-config` asks too.
    pub check: fn(&Settings) -> anyhow::Result<()>,
}

/// Runs a service from its command line to its exit code. `run` is given settings that are
/// complete (a port, a database, an auth mode that works) and must return soon after the
/// shutdown is triggered; past `shutdown.grace` and 5 s it is abandoned.
pub fn main<F, Fut>(program: Program, run: F) -> ExitCode
where
    F: FnOnce(Settings, Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let args = match parse(&program, std::env::args_os()) {
        Ok(args) => args,
        Err(error) => {
            // The one thing to print is this error (or the help); nobody hears if that fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match start(&program, &args, run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(program.name, &error),
    }
}

/// Prints `name: error: cause: cause` as one line to standard error; the exit code 1.
pub fn report(name: &str, error: &anyhow::Error) -> ExitCode {
    let line = format!("{error:#}")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    eprintln!("{name}: error: {line}");
    ExitCode::FAILURE
}

/// The settings as YAML, without secrets.
///
/// # Errors
/// Never in practice; the YAML writer reports its errors.
pub fn printed(settings: &Settings) -> anyhow::Result<String> {
    serde_yaml_ng::to_string(settings).context("cannot write the settings as YAML")
}

fn start<F, Fut>(program: &Program, args: &ServiceArgs, run: F) -> anyhow::Result<()>
where
    F: FnOnce(Settings, Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let settings = settings_for(program, args)?;
    if args.print_config {
        print(&printed(&settings)?);
        return Ok(());
    }
    if args.check_ready {
        return Ok(ready::ask(&own_address(&settings)?, READY_PATIENCE)?);
    }
    complete(&settings)?;
    (program.check)(&settings)?;
    if args.check_config {
        return Ok(());
    }
    // Outlives the runtime: the exporter's blocking client must not be dropped inside it.
    let _telemetry = telemetry::init(program.name, &settings.log, &settings.telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    tracing::info!(
        program = program.name,
        version = program.version,
        "starting"
    );
    let result = runtime.block_on(until_stopped(settings, run));
    runtime.shutdown_timeout(LEFTOVERS);
    if result.is_ok() {
        tracing::info!(program = program.name, "stopped");
    }
    result
}

async fn until_stopped<F, Fut>(settings: Settings, run: F) -> anyhow::Result<()>
where
    F: FnOnce(Settings, Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let shutdown = Shutdown::new();
    let patience = settings.shutdown.grace.get() + AFTER_GRACE;
    let watch = async {
        shutdown.signals().await.context("cannot handle signals")?;
        tokio::time::sleep(patience).await;
        anyhow::bail!(
            "did not stop within {}",
            humantime::format_duration(patience)
        )
    };
    let work = run(settings, shutdown.clone());
    // Ordering: the watch is polled first, so that its handlers stand before the work begins.
    tokio::select! {
        biased;
        result = watch => result,
        result = work => result,
    }
}

fn settings_for(program: &Program, args: &ServiceArgs) -> Result<Settings, SettingsError> {
    let mut settings = args.load()?;
    if settings.server.port == 0 {
        settings.server.port = program.default_port;
    }
    Ok(settings)
}

/// Where a process with these settings is reached from this machine.
fn own_address(settings: &Settings) -> Result<String, SettingsError> {
    let host = match settings.bind_host()? {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    Ok(SocketAddr::from((host, settings.server.port)).to_string())
}

/// What a service cannot start without.
fn complete(settings: &Settings) -> Result<(), SettingsError> {
    settings.bind_host()?;
    settings.database_url()?;
    Ok(())
}

fn command(program: &Program) -> Command {
    // The flags come first: their own description would stand in place of the program's.
    ServiceArgs::augment_args(Command::new(program.name))
        .about(program.about)
        .version(program.version)
        .after_help("Exit codes: 0 stopped or fine, 1 failed (one line says why), 2 wrong usage.")
        .after_long_help(format!(
            "{}\nExit codes:\n  0  stopped when told to, or the settings are fine\n  1  failed; \
             one line on standard error says why\n  2  wrong usage",
            environment_help()
        ))
}

fn parse(
    program: &Program,
    args: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<ServiceArgs, clap::Error> {
    ServiceArgs::from_arg_matches(&command(program).try_get_matches_from(args)?)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key.contains('.') => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not of the form section.key=value".to_owned()),
    }
}

#[expect(
    clippy::print_stdout,
    reason = "what was asked for goes to standard output"
)]
fn print(text: &str) {
    print!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "some-svc",
        about: "Does things",
        version: "1.2.3",
        default_port: 8099,
        check: |_| Ok(()),
    };

    fn args(list: &[&str]) -> Result<ServiceArgs, clap::Error> {
        parse(&PROGRAM, list.iter().map(Into::into))
    }

    #[test]
    fn the_long_help_lists_every_variable_and_the_exit_codes() {
        let help = args(&["some-svc", "--help"]).unwrap_err();
        assert_eq!(help.exit_code(), 0);
        let help = help.to_string();
        for setting in crate::settings::reference() {
            assert!(
                help.contains(&setting.variable),
                "{} in {help}",
                setting.variable
            );
        }
        assert!(
            help.starts_with("Does things") && help.contains("2  wrong usage"),
            "{help}"
        );
    }

    #[test]
    fn flags_set_settings_and_the_port_falls_back_to_the_programs() {
        let none = args(&["some-svc"]).unwrap();
        assert_eq!(settings_for(&PROGRAM, &none).unwrap().server.port, 8099);
        let set = args(&[
            "some-svc",
            "--set",
            "server.port=1",
            "--set",
            "database.url=a=b",
        ]);
        let settings = settings_for(&PROGRAM, &set.unwrap()).unwrap();
        assert_eq!(settings.server.port, 1);
        assert_eq!(settings.database_url().unwrap(), "a=b");
    }

    #[test]
    fn a_process_is_asked_where_it_listens() {
        let asked = |host: &str| {
            let host = format!("server.host={host}");
            let args = args(&["some-svc", "--check-ready", "--set", &host]).unwrap();
            own_address(&settings_for(&PROGRAM, &args).unwrap()).unwrap()
        };
        assert_eq!(asked("0.0.0.0"), "127.0.0.1:8099");
        assert_eq!(asked("::"), "[::1]:8099");
        assert_eq!(asked("10.1.2.3"), "10.1.2.3:8099");
    }

    #[test]
    fn wrong_usage_exits_2() {
        for wrong in [
            &["some-svc", "--set", "port"][..],
            &["some-svc", "--wat"],
            &["x", "more"],
        ] {
            assert_eq!(args(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn the_printed_settings_hide_the_database() {
        let set = args(&["some-svc", "--set", "database.url=postgres://u:hunter2@h/d"]).unwrap();
        let yaml = printed(&settings_for(&PROGRAM, &set).unwrap()).unwrap();
        assert!(
            yaml.contains("port: 8099") && !yaml.contains("hunter2"),
            "{yaml}"
        );
    }

    #[tokio::test]
    async fn work_that_ends_by_itself_ends_the_program_with_its_result() {
        let settings = Settings::default();
        let result = until_stopped(settings, |_, _| async { anyhow::bail!("no schema") }).await;
        assert_eq!(result.unwrap_err().to_string(), "no schema");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_stop_is_abandoned_after_the_grace() {
        let result = until_stopped(Settings::default(), |_, shutdown| async move {
            shutdown.trigger();
            std::future::pending().await
        })
        .await;
        assert_eq!(result.unwrap_err().to_string(), "did not stop within 35s");
    }
}
