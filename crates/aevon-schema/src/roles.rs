//! A role of Postgres's for each kind of program, with what its statements need and nothing else.
//!
//! Invariant: what is granted is what the programs ask for when they look whether they may work
//! ([`crate::access`]): one list each.
//! Invariant: granting takes back whatever else the roles were granted here, in one transaction, so
//! that programs that run meanwhile never lack anything.

use crate::access::{Access, LOCK};
use crate::error::StoreError;
use crate::migrate::{MigrateError, MigrateOptions, Session};
use crate::{api_keys, append, migrate, rules, state, sweep, verify};
use diesel::QueryableByName;
use diesel::sql_types::{Array, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use std::collections::{BTreeMap, BTreeSet};

/// Before the name of each role where nobody chose another.
pub const DEFAULT_PREFIX: &str = "aevon";
/// Longest prefix, in bytes: a name of Postgres's has 63.
const MAX_PREFIX_BYTES: usize = 40;

/// The sequence of [`migrate::CITUS`].
const RULE_NUMBERS: &str = "rule_numbers";

/// A kind of program.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// What stands behind the prefix in its name.
    pub name: &'static str,
    /// Who connects as a member of it.
    pub serves: &'static str,
    access: &'static [&'static Access],
}

/// All of them.
pub const ROLES: [Role; 6] = [
    Role {
        name: "ingest",
        serves: "ingest-svc",
        access: &[&append::ACCESS],
    },
    Role {
        name: "aggregator",
        serves: "aggregator-svc, aevon rebuild",
        access: &[&sweep::ACCESS, &rules::ACCESS],
    },
    Role {
        name: "projection",
        serves: "projection-svc",
        access: &[&state::ACCESS],
    },
    Role {
        name: "rules",
        serves: "aevon rules apply",
        access: &[&rules::ACCESS],
    },
    Role {
        name: "keys",
        serves: "aevon key",
        access: &[&api_keys::ACCESS],
    },
    Role {
        name: "verify",
        serves: "aevon verify, aevon rules preview, aevon rules status",
        access: &[&verify::ACCESS],
    },
];

impl Role {
    /// Its name in Postgres.
    #[must_use]
    pub fn name_of(&self, prefix: &str) -> String {
        format!("{prefix}_{}", self.name)
    }

    fn registers_rules(&self) -> bool {
        let rules = self.privileges().remove("rules");
        rules.is_some_and(|rights| rights.contains("INSERT"))
    }

    /// Relations, and what it does with each. Everybody looks at the schema first.
    pub(crate) fn privileges(&self) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
        let mut relations: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for access in self.access.iter().chain([&&migrate::ACCESS]) {
            for (relation, privilege) in access.privileges {
                relations.entry(*relation).or_default().insert(*privilege);
            }
        }
        relations
    }
}

/// What is granted to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The roles by their names in Postgres, and who connects as a member of each.
    pub roles: Vec<(String, &'static str)>,
    /// What is run, or what ran, one statement each.
    pub statements: Vec<String>,
}

#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = Text)]
    schema: String,
    #[diesel(sql_type = Text)]
    database: String,
    #[diesel(sql_type = Bool)]
    may_create: bool,
    #[diesel(sql_type = Array<Text>)]
    missing: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    relations: Vec<String>,
}

/// What [`apply`] would run.
///
/// # Errors
/// See [`MigrateError`].
pub async fn plan(
    url: &str,
    prefix: &str,
    options: &MigrateOptions,
    tell: impl Fn(String),
) -> Result<Granted, MigrateError> {
    check_prefix(prefix)?;
    let mut pg = migrate::reach(url, options, &tell).await?;
    Ok(granted(prefix, &place(&mut pg, prefix).await?))
}

/// Makes the roles that are missing, and grants to each exactly what it needs. Safe to run again,
/// and by several at once.
///
/// # Errors
/// See [`MigrateError`]; nothing was changed then.
pub async fn apply(
    url: &str,
    prefix: &str,
    options: &MigrateOptions,
    tell: impl Fn(String),
) -> Result<Granted, MigrateError> {
    check_prefix(prefix)?;
    let mut session = Session::begin(url, options, &tell).await?;
    migrate::check_current(&mut session.pg).await?;
    let place = place(&mut session.pg, prefix).await?;
    let granted = granted(prefix, &place);
    if !place.missing.is_empty() && !place.may_create {
        return Err(MigrateError::RolesAreMissing(create(&place).join("; ")));
    }
    let all = format!("BEGIN; {}; COMMIT", granted.statements.join("; "));
    let done = session.pg.batch_execute(&all).await;
    done.map_err(StoreError::from)?;
    migrate::unlock(&mut session.pg).await?;
    Ok(granted)
}

/// It stands in statements as it is.
fn check_prefix(prefix: &str) -> Result<(), MigrateError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins = prefix.starts_with(|first: char| first.is_ascii_lowercase());
    match begins && prefix.bytes().all(is_plain) && prefix.len() <= MAX_PREFIX_BYTES {
        true => Ok(()),
        false => Err(MigrateError::InvalidPrefix(prefix.to_owned())),
    }
}

async fn place(pg: &mut AsyncPgConnection, prefix: &str) -> Result<Place, MigrateError> {
    let names: Vec<String> = ROLES.iter().map(|role| role.name_of(prefix)).collect();
    let found = diesel::sql_query(include_str!("sql/roles_place.sql"))
        .bind::<Array<Text>, _>(names)
        .get_result(pg)
        .await;
    Ok(found.map_err(StoreError::from)?)
}

fn create(place: &Place) -> Vec<String> {
    let create = |name: &String| format!("CREATE ROLE {name} NOLOGIN");
    place.missing.iter().map(create).collect()
}

/// Nobody but the owner may make anything in the database.
fn granted(prefix: &str, place: &Place) -> Granted {
    let (schema, database) = (&place.schema, &place.database);
    let relations = place.relations.join(", ");
    let names = ROLES.map(|role| role.name_of(prefix));
    let everybody = names.join(", ");
    let mut statements = create(place);
    statements.extend([
        format!("REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC"),
        format!("REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC"),
        format!("REVOKE ALL ON {relations} FROM PUBLIC, {everybody}"),
        format!(
            "REVOKE ALL ON FUNCTION {schema}.erase_principal, {schema}.blanked FROM PUBLIC, {everybody}"
        ),
        format!("REVOKE ALL ON SCHEMA {schema} FROM {everybody}"),
        format!("REVOKE ALL ON DATABASE {database} FROM {everybody}"),
        format!("GRANT CONNECT ON DATABASE {database} TO {everybody}"),
        format!("GRANT USAGE ON SCHEMA {schema} TO {everybody}"),
    ]);
    for (role, name) in ROLES.iter().zip(&names) {
        for (relation, privileges) in role.privileges() {
            let privileges: Vec<&str> = privileges.into_iter().map(granted_as).collect();
            let kind = match privileges.contains(&"USAGE") {
                true => "SEQUENCE ",
                false => "",
            };
            let privileges = privileges.join(", ");
            statements.push(format!(
                "GRANT {privileges} ON {kind}{schema}.{relation} TO {name}"
            ));
        }
    }
    // Where rules were distributed, a sequence numbers them.
    if place.relations.iter().any(|name| name == RULE_NUMBERS) {
        let who = ROLES
            .iter()
            .zip(&names)
            .filter(|(role, _)| role.registers_rules());
        statements.extend(
            who.map(|(_, name)| {
                format!("GRANT USAGE ON SEQUENCE {schema}.{RULE_NUMBERS} TO {name}")
            }),
        );
    }
    let serves = ROLES.iter().map(|role| role.serves);
    Granted {
        roles: names.into_iter().zip(serves).collect(),
        statements,
    }
}

fn granted_as(privilege: &'static str) -> &'static str {
    match privilege {
        LOCK => "UPDATE (row_lock)",
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter of the matrix in docs/data-model.md.
    fn letter(privileges: &BTreeSet<&str>) -> &'static str {
        let has = |name: &str| privileges.contains(name);
        match (has("INSERT") || has("UPDATE") || has("DELETE"), has(LOCK)) {
            (true, false) => "W",
            (false, true) => "L",
            (false, false) => "r",
            (true, true) => "both",
        }
    }

    #[test]
    fn the_matrix_of_the_documents_is_what_is_granted() {
        let page = include_str!("../../../docs/data-model.md");
        let rows: Vec<Vec<&str>> = page
            .lines()
            .skip_while(|line| !line.starts_with("| table |"))
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.split('|').skip(1).map(str::trim).collect())
            .collect();
        let (titles, rows) = (&rows[0], &rows[2..]);
        for role in ROLES {
            let privileges = role.privileges();
            let title = format!("`{}`", role.name);
            let column = titles.iter().position(|at| at.ends_with(&title));
            let column = column.unwrap_or_else(|| panic!("{title} has no column: {titles:?}"));
            let said: BTreeMap<&str, &str> = rows
                .iter()
                .map(|row| (row[0].trim_matches('`'), row[column]))
                .filter(|(_, letter)| !letter.is_empty())
                .map(|(table, said)| (table, said.split(' ').next().unwrap_or_default()))
                .collect();
            let is_table = |name: &&str| !privileges[*name].contains("USAGE");
            // Views show what their tables do.
            let is_view = |name: &&str| ["answering_rules", "swept_generations"].contains(name);
            let real: BTreeMap<&str, &str> = privileges
                .iter()
                .filter(|(name, _)| is_table(name) && !is_view(name))
                .map(|(name, privileges)| (*name, letter(privileges)))
                .collect();
            assert_eq!(said, real, "{}", role.name);
        }
    }

    #[test]
    fn a_prefix_that_would_need_quotes_is_refused() {
        for prefix in ["", "1a", "A", "a-b", "a b", "a\"b", "_a", &"a".repeat(41)] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
        assert!(check_prefix("team_7").is_ok());
    }
}
