//! A service from outside: exit codes, the one line on standard error, signals. This program is
//! both the test and, told so by a variable, the service.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "runners read it")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Output, Stdio};

use aevon_service::{Program, Settings, Shutdown, cli};
use rustix::process::{Pid, Signal, kill_process};

const ROLE: &str = "SHELL_UNDER_TEST";
const COMPLETE: [&str; 4] = [
    "--set",
    "auth.mode=disabled",
    "--set",
    "database.url=postgres://u:hunter2@h/d",
];

fn main() -> ExitCode {
    let role = std::env::var(ROLE);
    let arguments: Vec<String> = std::env::args().collect();
    if role.is_err() && arguments.iter().any(|argument| argument == "--list") {
        // How a runner asks a test without the usual harness what it holds.
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("a_service_from_outside: test");
        }
        return ExitCode::SUCCESS;
    }
    if role.is_err() {
        told_to_stop_it_exits_0();
        failing_it_says_why_in_one_line_and_exits_1();
        incomplete_settings_are_refused_in_one_line();
        checked_and_printed_settings_start_nothing();
        wrong_usage_exits_2();
        return ExitCode::SUCCESS;
    }
    let program = Program {
        name: "some-svc",
        about: "Does things",
        version: "0.0.0",
        default_port: 8099,
        check: |_| Ok(()),
    };
    cli::main(program, |settings, shutdown| {
        service(role, settings, shutdown)
    })
}

async fn service(
    role: Result<String, std::env::VarError>,
    settings: Settings,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    assert_eq!(settings.server.port, 8099);
    if role.is_ok_and(|role| role == "fail") {
        let cause = anyhow::anyhow!("connection refused\n  at the other end");
        return Err(cause.context("cannot migrate"));
    }
    tracing::info!("at work");
    shutdown.triggered().await;
    Ok(())
}

fn start(role: &str, args: &[&str]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args).env_clear().env(ROLE, role);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(role: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = start(role, args).wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn told_to_stop_it_exits_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = start("serve", &COMPLETE);
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("at work") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended early");
        }
        assert!(
            line.starts_with('{') && line.contains(r#""level":"INFO""#),
            "{line}"
        );
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
        assert!(rest.contains("stopping"), "{rest}");
    }
}

fn failing_it_says_why_in_one_line_and_exits_1() {
    let (code, out, log) = run(
        "fail",
        &[&COMPLETE[..], &["--set", "log.level=error"]].concat(),
    );
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let line = "some-svc: error: cannot migrate: connection refused at the other end\n";
    assert_eq!(log, line);
}

fn incomplete_settings_are_refused_in_one_line() {
    for (args, says) in [
        (&[][..], "database.url is not set; set AEVON_DATABASE__URL"),
        (
            &["--config", "no-such.yaml"],
            "cannot read the settings file no-such.yaml: ",
        ),
        (
            &[
                "--set",
                "auth.mode=disabled",
                "--set",
                "server.host=0.0.0.0",
            ],
            "server.host = 0.0.0.0",
        ),
    ] {
        let (code, out, error) = run("serve", args);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{error}");
        assert!(
            error.starts_with(&format!("some-svc: error: {says}")),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

fn checked_and_printed_settings_start_nothing() {
    let (code, out, error) = run("fail", &[&COMPLETE[..], &["--check-config"]].concat());
    assert_eq!((code, out.as_str(), error.as_str()), (Some(0), "", ""));
    let (code, out, error) = run("fail", &[&COMPLETE[..], &["--print-config"]].concat());
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(
        out.starts_with("server:\n") && out.contains("port: 8099"),
        "{out}"
    );
    assert!(
        out.contains("[redacted]") && !out.contains("hunter2"),
        "{out}"
    );
}

fn wrong_usage_exits_2() {
    let (code, out, error) = run("serve", &["--wat"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(error.contains("--wat"), "{error}");
}
