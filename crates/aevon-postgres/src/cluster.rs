//! The directory of a cluster: where it is, and making it.
//!
//! Invariant: a directory with a `PG_VERSION` is whole: it is made beside and renamed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::account::{Account, command};
use crate::server::USER;
use crate::{Programs, place};

/// The directory to use for `wanted`, or a new temporary one with the folder that holds it.
pub(crate) fn place(
    wanted: Option<&Path>,
    account: Option<&Account>,
) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(wanted) = wanted {
        return Ok((
            place::reachable(wanted, account, Path::new(place::ELSEWHERE))?,
            None,
        ));
    }
    let temporary = tempfile::Builder::new()
        .prefix("aevon-postgres-")
        // To be passed through by the account that the cluster belongs to; the cluster is closed.
        .permissions(fs::Permissions::from_mode(0o711))
        .tempdir_in(place::temporary(account)?)
        .context("cannot make a temporary folder for the cluster")?;
    // Other names of the same folder (macOS has /tmp as a link) would look like another cluster.
    let data_dir = fs::canonicalize(temporary.path())?.join("data");
    Ok((data_dir, Some(temporary)))
}

/// Makes the cluster unless it is there, and checks that these programs can run it.
pub(crate) fn prepare(
    programs: &Programs,
    data_dir: &Path,
    account: Option<&Account>,
    durable: bool,
) -> Result<()> {
    let shown = data_dir.display();
    if let Ok(version) = fs::read_to_string(data_dir.join("PG_VERSION")) {
        let version = version.trim();
        ensure!(
            version == programs.major.to_string(),
            "the data in {shown} is of PostgreSQL {version} and the programs in {} are version {}: \
             set AEVON_PG_BIN to a PostgreSQL {version}, or remove the data (make clean)",
            programs.bin.display(),
            programs.major
        );
        return Ok(());
    }
    if fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{shown} holds files, but no PostgreSQL cluster");
    }
    let unfinished = data_dir.with_extension("new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    fs::create_dir(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    give(&unfinished, account)?;
    initdb(programs, &unfinished, account, durable)?;
    fs::rename(&unfinished, data_dir).with_context(|| format!("cannot make {shown}"))
}

fn initdb(programs: &Programs, dir: &Path, account: Option<&Account>, durable: bool) -> Result<()> {
    let mut initdb = command(programs.bin.join("initdb"), account);
    initdb
        .arg("-D")
        .arg(dir)
        .args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"]);
    if !durable {
        initdb.arg("--no-sync");
    }
    let done = initdb
        .stdin(Stdio::null())
        .output()
        .context("cannot run initdb")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success(),
        "initdb failed ({}): {}",
        done.status,
        said.trim()
    );
    Ok(())
}

/// Copies the cluster of a server that was stopped.
pub(crate) fn copy(from: &Path, to: &Path, account: Option<&Account>) -> Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir(to).with_context(failed)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions()).with_context(failed)?;
    give(to, account)?;
    for entry in fs::read_dir(from).with_context(failed)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, account)?;
        } else {
            fs::copy(entry.path(), &target).with_context(failed)?;
            give(&target, account)?;
        }
    }
    Ok(())
}

/// Has whoever starts on this cluster follow a primary.
pub(crate) fn mark_standby(data_dir: &Path, account: Option<&Account>) -> Result<()> {
    let signal = data_dir.join("standby.signal");
    fs::write(&signal, "").with_context(|| format!("cannot write {}", signal.display()))?;
    give(&signal, account)
}

/// Makes `account` the owner of `path`.
pub(crate) fn give(path: &Path, account: Option<&Account>) -> Result<()> {
    let Some(account) = account else {
        return Ok(());
    };
    chown(path, Some(account.uid), Some(account.gid))
        .with_context(|| format!("cannot give {} to {}", path.display(), account.name))
}
