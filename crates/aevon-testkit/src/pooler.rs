//! A real `PgBouncer` between a test's programs and its Postgres.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aevon_postgres::{Account, debian_program};
use aevon_schema::roles::ROLES;
use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::url::{address_of, with_address};

const START_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A running `PgBouncer` that gives each session a connection of its own. Dropping it stops it.
#[derive(Debug)]
pub struct Pooler {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Pooler {
    /// Starts one in front of the server of `url`, for the owner and the users of the template. Where
    /// there is no `PgBouncer`, Debian's package is installed.
    ///
    /// # Errors
    /// It can't be installed, or did not start; in one line that says why.
    pub fn in_front_of(url: &str) -> Result<(Self, String)> {
        let program = debian_program("pgbouncer", "pgbouncer")?;
        let server = address_of(url).context("the url has no port")?;
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let users = folder.path().join("users.txt");
        let names = ROLES
            .iter()
            .map(|role| role.name)
            .chain([aevon_postgres::USER]);
        fs::write(
            &users,
            names
                .map(|name| format!("\"{name}\" \"\"\n"))
                .collect::<String>(),
        )?;
        let settings = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\npool_mode = session\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\n",
            server.ip(),
            server.port(),
            users.display(),
        );
        fs::write(&settings, text)?;
        let mut command = Command::new(program);
        if let Some(account) = Account::for_server()? {
            // It refuses to run as root.
            command.args(["-u", &account.name]);
        }
        let log = fs::File::create(folder.path().join("log"))?;
        let child = command
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("PgBouncer cannot be run")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut pooler = Self {
            child,
            address,
            folder,
        };
        pooler.wait_ready()?;
        Ok((pooler, with_address(url, address)))
    }

    fn wait_ready(&mut self) -> Result<()> {
        let end = Instant::now() + START_DEADLINE;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let log = fs::read_to_string(self.folder.path().join("log"));
                let log = log.unwrap_or_default();
                let last = log.lines().last().unwrap_or("it said nothing");
                bail!("PgBouncer did not start: {last}");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
