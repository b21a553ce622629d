//! What follows from several settings at once: which database, who is let in, where to listen.
//!
//! Invariant: with auth disabled a process listens beyond loopback only if it was told to twice.

use std::net::{IpAddr, Ipv4Addr};

use super::{AuthMode, Settings, SettingsError};

impl Settings {
    /// The database, for a program that needs one.
    ///
    /// # Errors
    /// When it is not set.
    pub fn database_url(&self) -> Result<&str, SettingsError> {
        match &self.database.url {
            Some(url) => Ok(url.expose()),
            None => Err(SettingsError::Missing(
                "database.url",
                "AEVON_DATABASE__URL",
            )),
        }
    }

    /// The address to listen on: `server.host`, but with auth disabled 127.0.0.1 unless a host
    /// was chosen or the network is allowed.
    ///
    /// # Errors
    /// When auth is disabled, the network is not allowed, and the chosen host is not loopback.
    pub fn bind_host(&self) -> Result<IpAddr, SettingsError> {
        let host = self.server.host;
        let open = self.auth.mode == AuthMode::Disabled && !self.auth.allow_disabled_on_network;
        if !open || host.is_loopback() {
            return Ok(host);
        }
        if !self.server.host_given && host == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
            return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        Err(SettingsError::Refused(format!(
            "server.host = {host} would let everybody in, because auth.mode = \"disabled\"; use \
             127.0.0.1, or force it with AEVON_AUTH__ALLOW_DISABLED_ON_NETWORK=true"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    fn disabled() -> Settings {
        let mut settings = Settings::default();
        settings.auth.mode = AuthMode::Disabled;
        settings
    }

    #[test]
    fn a_missing_database_names_the_key_and_the_variable() {
        let mut settings = Settings::default();
        assert_eq!(
            settings.database_url().unwrap_err().to_string(),
            "database.url is not set; set AEVON_DATABASE__URL"
        );
        settings.database.url = Some(Secret::new("postgres://host/db"));
        assert_eq!(settings.database_url().unwrap(), "postgres://host/db");
    }

    #[test]
    fn without_auth_a_process_listens_on_loopback() {
        assert!(disabled().bind_host().unwrap().is_loopback());
        let mut settings = disabled();
        settings.server.host = "::1".parse().unwrap();
        settings.server.host_given = true;
        assert_eq!(settings.bind_host().unwrap(), settings.server.host);
    }

    #[test]
    fn without_auth_a_chosen_network_address_is_refused_unless_forced() {
        for host in ["0.0.0.0", "::", "10.0.0.5"] {
            let mut settings = disabled();
            settings.server.host = host.parse().unwrap();
            settings.server.host_given = true;
            let error = settings.bind_host().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("server.host = {host} would let")),
                "{error}"
            );
            settings.auth.allow_disabled_on_network = true;
            assert_eq!(settings.bind_host().unwrap(), settings.server.host);
        }
        let mut settings = disabled();
        settings.server.host = "10.0.0.5".parse().unwrap();
        assert!(settings.bind_host().is_err(), "chosen in code");
    }

    #[test]
    fn with_auth_the_host_is_what_it_is() {
        assert!(Settings::default().bind_host().unwrap().is_unspecified());
    }
}
