//! Whom the server runs as. `initdb` and `postgres` refuse root, so root lends them another account.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// An unprivileged account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name in the password file.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

impl Account {
    /// The account to lend to PostgreSQL: `None` when this process is not root and needs none,
    /// else `postgres` if the machine has it, else `nobody`.
    ///
    /// # Errors
    /// This process is root and the machine has neither account.
    pub fn for_server() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        Self::pick(&passwd).map(Some).context(
            "PostgreSQL refuses to run as root, and this machine has neither the account \
             `postgres` nor `nobody` to run it as",
        )
    }

    fn pick(passwd: &str) -> Option<Self> {
        ["postgres", "nobody"].iter().find_map(|wanted| {
            passwd.lines().find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next().filter(|name| name == wanted)?.to_owned();
                let uid = fields.nth(1)?.parse().ok()?;
                let gid = fields.next()?.parse().ok()?;
                (uid != 0).then_some(Self { name, uid, gid })
            })
        })
    }

    /// Whether this account can change into `dir`, asked by doing it: mode bits alone would miss
    /// access lists and mount options.
    #[must_use]
    pub fn can_enter(&self, dir: &Path) -> bool {
        let mut cd = command("sh", Some(self));
        cd.args(["-c", "cd -- \"$1\"", "sh"]).arg(dir);
        cd.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        cd.status().is_ok_and(|status| status.success())
    }
}

/// A command that runs as `account` (as this process's own user when `None`), from `/`, since the
/// account may not be able to enter the current directory. The standard library clears the
/// supplementary groups when root changes the user id.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env("LC_ALL", "C");
    if let Some(account) = account {
        command.gid(account.gid).uid(account.uid);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n";

    #[test]
    fn nobody_is_picked_when_there_is_no_postgres() {
        let account = Account::pick(PASSWD).unwrap();
        assert_eq!(
            (account.name.as_str(), account.uid, account.gid),
            ("nobody", 65534, 65533)
        );
    }

    #[test]
    fn postgres_is_picked_before_nobody() {
        let passwd = format!("{PASSWD}postgres:x:101:104::/var/lib/postgresql:/bin/bash\n");
        let account = Account::pick(&passwd).unwrap();
        assert_eq!(
            (account.name.as_str(), account.uid, account.gid),
            ("postgres", 101, 104)
        );
    }

    #[test]
    fn an_account_with_the_id_of_root_is_never_picked() {
        assert_eq!(Account::pick("postgres:x:0:0::/:/bin/sh\n"), None);
    }
}
