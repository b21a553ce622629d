//! Where files go that PostgreSQL has to reach: as wanted, or, when the account it runs as cannot
//! get there (a checkout below root's home), in a folder below the system's temporary directory.
//!
//! Invariant: every folder made elsewhere is printed and listed in the record, for `make clean`.
//! Invariant: the same wanted path leads to the same folder in every run, so data is found again.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail, ensure};

use crate::Account;

/// The record of folders that had to be made elsewhere, one absolute path a line, relative to the
/// current directory.
pub const ELSEWHERE: &str = ".aevon/elsewhere";

/// `wanted` as an absolute path if `account` can enter the folder that holds it (always, when
/// `account` is `None`), else a path of the same file name in a folder below the system's temporary
/// directory, which is printed and added to `record`. The folder that holds the returned path
/// exists; the path itself need not.
///
/// # Errors
/// A folder cannot be made, no temporary directory is reachable, or the folder there belongs to
/// somebody else.
pub fn reachable(wanted: &Path, account: Option<&Account>, record: &Path) -> Result<PathBuf> {
    let wanted = absolute(wanted).with_context(|| format!("bad path {}", wanted.display()))?;
    let (Some(holder), Some(name)) = (wanted.parent(), wanted.file_name()) else {
        bail!("{} names no folder to make", wanted.display());
    };
    fs::create_dir_all(holder).with_context(|| format!("cannot make {}", holder.display()))?;
    let Some(account) = account else {
        return Ok(wanted);
    };
    if account.can_enter(holder) {
        return Ok(wanted);
    }
    let elsewhere = temporary(Some(account))?.join(folder_name(holder));
    claim(&elsewhere, account)?;
    if note(record, &elsewhere)? {
        eprintln!(
            "aevon: {} is closed to the account {}, so PostgreSQL's files are in {} \
             (make clean removes them)",
            holder.display(),
            account.name,
            elsewhere.display()
        );
    }
    Ok(elsewhere.join(name))
}

/// The first temporary directory that `account` can enter: the environment's, `/tmp`, `/var/tmp`.
pub(crate) fn temporary(account: Option<&Account>) -> Result<PathBuf> {
    let Some(account) = account else {
        return Ok(std::env::temp_dir());
    };
    [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()]
        .into_iter()
        .find(|dir| account.can_enter(dir))
        .with_context(|| {
            format!(
                "the account {} can enter no temporary directory",
                account.name
            )
        })
}

/// `aevon-` and a hash of the path (64-bit FNV-1a, fixed so that later runs find the folder).
fn folder_name(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("aevon-{hash:016x}")
}

/// Makes `dir`, or accepts one that is ours. The name can be guessed and the directory above is
/// writable by all, so a link or another user's folder is refused.
fn claim(dir: &Path, account: &Account) -> Result<()> {
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e).with_context(|| format!("cannot make {}", dir.display())),
    }
    let found = fs::symlink_metadata(dir)?;
    ensure!(
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw(),
        "{} is not a folder of this user; remove it",
        dir.display()
    );
    if !account.can_enter(dir) {
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

/// Adds `dir` to the record unless it is there; whether it was added.
fn note(record: &Path, dir: &Path) -> Result<bool> {
    let line = dir.display().to_string();
    if fs::read_to_string(record).is_ok_and(|known| known.lines().any(|known| known == line)) {
        return Ok(false);
    }
    if let Some(holder) = record.parent() {
        fs::create_dir_all(holder)?;
    }
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(record)
        .with_context(|| format!("cannot write {}", record.display()))?;
    writeln!(file, "{line}")?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(mode: u32) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        dir
    }

    #[test]
    fn a_path_that_the_account_can_reach_is_taken_as_wanted() {
        let dir = folder(0o755);
        let account = Account::for_server().unwrap();
        let record = dir.path().join("elsewhere");
        let wanted = dir.path().join("state/pg");
        assert_eq!(
            reachable(&wanted, account.as_ref(), &record).unwrap(),
            wanted
        );
        assert!(!record.exists());
    }

    #[test]
    fn a_path_closed_to_the_account_is_replaced_by_one_that_is_recorded_once_and_found_again() {
        // Only root has to lend an account, so only root can meet a closed path.
        let Some(account) = Account::for_server().unwrap() else {
            return;
        };
        let dir = folder(0o700);
        let record = dir.path().join("elsewhere");
        let wanted = dir.path().join("state/pg");

        let first = reachable(&wanted, Some(&account), &record).unwrap();
        let second = reachable(&wanted, Some(&account), &record).unwrap();

        let made = first.parent().unwrap();
        assert_eq!(first, second);
        assert!(account.can_enter(made) && first.ends_with("pg"));
        assert_eq!(
            fs::read_to_string(&record).unwrap(),
            format!("{}\n", made.display())
        );
        fs::remove_dir_all(made).unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_elsewhere_is_refused() {
        let Some(account) = Account::for_server().unwrap() else {
            return;
        };
        let dir = folder(0o700);
        let wanted = dir.path().join("pg");
        let place = temporary(Some(&account))
            .unwrap()
            .join(folder_name(dir.path()));
        std::os::unix::fs::symlink("/tmp", &place).unwrap();
        let refused = reachable(&wanted, Some(&account), &dir.path().join("elsewhere"));
        fs::remove_file(&place).unwrap();
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("not a folder of this user")
        );
    }

    #[test]
    fn different_folders_get_different_names_elsewhere() {
        assert_ne!(
            folder_name(Path::new("/a/b")),
            folder_name(Path::new("/a/c"))
        );
        assert_eq!(folder_name(Path::new("")), "aevon-cbf29ce484222325");
    }
}
