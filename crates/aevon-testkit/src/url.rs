//! Addresses of databases: `postgres://user@host:port/database?parameters`, with one part changed.

use std::net::SocketAddr;

/// `url` with another database.
#[must_use]
pub fn with_database(url: &str, database: &str) -> String {
    let (before, _, after) = parts(url);
    let authority = authority(url);
    format!("{before}{authority}/{database}{after}")
}

/// `url` with another host and port.
#[must_use]
pub fn with_address(url: &str, address: SocketAddr) -> String {
    let (before, path, after) = parts(url);
    let user = authority(url).rsplit_once('@').map_or("", |(user, _)| user);
    let at = if user.is_empty() { "" } else { "@" };
    format!("{before}{user}{at}{address}{path}{after}")
}

/// `url` with another user, who has no password.
#[must_use]
pub fn with_user(url: &str, user: &str) -> String {
    let (before, path, after) = parts(url);
    let authority = authority(url);
    let address = authority.rsplit_once('@').map_or(authority, |(_, at)| at);
    format!("{before}{user}@{address}{path}{after}")
}

/// The address of `url`, where it names one by numbers.
#[must_use]
pub(crate) fn address_of(url: &str) -> Option<SocketAddr> {
    let authority = authority(url);
    let address = authority.rsplit_once('@').map_or(authority, |(_, at)| at);
    address.parse().ok()
}

/// The user of `url`, where it names one.
#[must_use]
pub fn user_of(url: &str) -> Option<&str> {
    let (user, _) = authority(url).rsplit_once('@')?;
    Some(user.split(':').next().unwrap_or(user))
}

/// The scheme with its slashes, the path, and the parameters with their question mark.
fn parts(url: &str) -> (&str, &str, &str) {
    let start = authority_start(url);
    let rest = start + authority(url).len();
    let query = url[rest..].find('?').map_or(url.len(), |at| rest + at);
    (&url[..start], &url[rest..query], &url[query..])
}

fn authority(url: &str) -> &str {
    let rest = &url[authority_start(url)..];
    &rest[..rest.find(['/', '?']).unwrap_or(rest.len())]
}

fn authority_start(url: &str) -> usize {
    url.find("://").map_or(0, |at| at + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_replaced_and_the_rest_is_kept() {
        let url = "postgres://me:pass@db:5432/one?sslmode=disable";
        assert_eq!(
            with_database(url, "two"),
            "postgres://me:pass@db:5432/two?sslmode=disable"
        );
        assert_eq!(with_database("postgres://db", "two"), "postgres://db/two");
    }

    #[test]
    fn the_user_is_replaced_with_its_password_and_the_rest_is_kept() {
        let url = "postgres://me:pass@db:5432/one?sslmode=disable";
        assert_eq!(
            with_user(url, "you"),
            "postgres://you@db:5432/one?sslmode=disable"
        );
        assert_eq!(with_user("postgres://db", "you"), "postgres://you@db");
        assert_eq!((user_of(url), user_of("postgres://db")), (Some("me"), None));
    }

    #[test]
    fn host_and_port_are_replaced_and_the_rest_is_kept() {
        let address = "127.0.0.1:99".parse().unwrap();
        let url = "postgres://me:pass@db:5432/one?sslmode=disable";
        let expected = "postgres://me:pass@127.0.0.1:99/one?sslmode=disable";
        assert_eq!(with_address(url, address), expected);
        assert_eq!(
            with_address("postgres://db/one", address),
            "postgres://127.0.0.1:99/one"
        );
    }
}
