//! Starting, stopping and killing a real server.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use aevon_postgres::{Programs, Server, ServerOptions};

/// A folder that an unprivileged account can pass through.
fn folder() -> tempfile::TempDir {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    tempfile::Builder::new()
        .permissions(mode)
        .tempdir()
        .expect("a folder")
}

fn on(data_dir: PathBuf) -> ServerOptions {
    ServerOptions {
        data_dir: Some(data_dir),
        ..ServerOptions::default()
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_temporary_server_listens_and_is_gone_with_its_data_when_dropped() {
    let server = Server::start(&ServerOptions::default()).unwrap();
    let (port, data_dir) = (server.port(), server.data_dir().to_owned());
    assert!(listens(port));
    assert_eq!(
        server.url("x"),
        format!("postgres://aevon@127.0.0.1:{port}/x")
    );
    drop(server);
    assert!(!listens(port));
    assert!(!data_dir.parent().unwrap().exists());
}

#[test]
fn a_killed_server_starts_again_on_its_data_and_port() {
    let dir = folder();
    let options = on(dir.path().join("pg"));
    let mut server = Server::start(&options).unwrap();
    let port = server.port();
    server.kill().unwrap();
    assert!(!listens(port));
    assert!(
        server.data_dir().join("postmaster.pid").exists(),
        "a kill leaves the file"
    );

    let mut again = Server::start(&ServerOptions {
        port: Some(port),
        ..options
    })
    .unwrap();
    assert!(listens(port));
    assert!(again.exited().unwrap().is_none());
    again.stop().unwrap();
    assert!(again.exited().unwrap().is_some());
    assert!(!again.data_dir().join("postmaster.pid").exists());
}

#[test]
fn a_second_server_on_the_same_data_is_refused_with_the_process_of_the_first() {
    let dir = folder();
    let options = on(dir.path().join("pg"));
    let server = Server::start(&options).unwrap();
    let refused = Server::start(&options).unwrap_err().to_string();
    assert!(
        refused.contains(&format!("(process {})", server.pid())),
        "{refused}"
    );
    assert!(!refused.contains('\n'));
}

#[test]
fn a_server_that_does_not_start_is_an_error_with_its_log() {
    let settings = vec![("no_such_setting".to_owned(), "1".to_owned())];
    let options = ServerOptions {
        settings,
        ..ServerOptions::default()
    };
    let error = Server::start(&options).unwrap_err().to_string();
    assert!(
        error.contains("unrecognized configuration parameter"),
        "{error}"
    );
}

#[test]
fn a_taken_port_that_was_asked_for_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = Some(listener.local_addr().unwrap().port());
    let error = Server::start(&ServerOptions {
        port,
        ..ServerOptions::default()
    })
    .unwrap_err();
    assert!(error.to_string().contains("could not bind"), "{error}");
}

#[test]
fn data_of_another_version_is_refused_in_one_line() {
    let dir = folder();
    let data_dir = dir.path().join("pg");
    fs::create_dir(&data_dir).unwrap();
    fs::write(data_dir.join("PG_VERSION"), "9\n").unwrap();
    let error = Server::start(&on(data_dir)).unwrap_err().to_string();
    assert!(
        error.contains("is of PostgreSQL 9") && !error.contains('\n'),
        "{error}"
    );
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let dir = folder();
    let data_dir = dir.path().join("pg");
    fs::create_dir(&data_dir).unwrap();
    fs::write(data_dir.join("letter.txt"), "dear").unwrap();
    let error = Server::start(&on(data_dir.clone()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("holds files, but no PostgreSQL cluster"),
        "{error}"
    );
    assert!(data_dir.join("letter.txt").exists());
}

/// Not a test of its own: the body of the process that the next test kills.
#[test]
fn a_server_that_is_started_only_to_be_orphaned() {
    let Ok(note) = std::env::var("AEVON_ORPHAN_NOTE") else {
        return;
    };
    let server = Server::start(&ServerOptions::default()).unwrap();
    let line = format!("{} {}", server.port(), server.data_dir().display());
    fs::write(format!("{note}.part"), line).unwrap();
    fs::rename(format!("{note}.part"), note).unwrap();
    std::thread::park();
}

#[test]
fn a_server_and_its_temporary_data_are_gone_after_its_starter_was_killed() {
    let dir = folder();
    let note = dir.path().join("note");
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_that_is_started_only_to_be_orphaned"])
        .env("AEVON_ORPHAN_NOTE", &note)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait("the server", || note.exists());
    let text = fs::read_to_string(&note).unwrap();
    let (port, data_dir) = text.split_once(' ').unwrap();
    let port = port.parse().unwrap();
    assert!(listens(port));
    starter.kill().unwrap();
    starter.wait().unwrap();
    wait("the end of the server", || !listens(port));
    wait("the end of its data", || !PathBuf::from(data_dir).exists());
}

#[test]
fn the_programs_found_are_new_enough() {
    let programs = Programs::find_or_install().unwrap();
    assert!(programs.major >= aevon_postgres::MIN_MAJOR);
    assert!(programs.bin.join("initdb").is_file());
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
