//! The migrated database that every test's database is a copy of.

use aevon_schema::migrate::{self, MigrateOptions};
use aevon_schema::roles::{self, ROLES};
use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls};

use crate::url::with_database;

/// Name of the template.
pub const TEMPLATE: &str = "aevon_template";

/// Makes the template anew in the server at `url` (its database `postgres`), and the extension
/// `pg_stat_statements` in that database where the server has it.
///
/// # Errors
/// The server cannot be reached, or a migration failed.
pub async fn prepare(url: &str) -> Result<()> {
    let client = connect(url).await?;
    let known = "SELECT 1 FROM pg_database WHERE datname = $1";
    if client.query_opt(known, &[&TEMPLATE]).await?.is_some() {
        client
            .batch_execute(&format!("ALTER DATABASE {TEMPLATE} WITH is_template false"))
            .await?;
        client
            .batch_execute(&format!("DROP DATABASE {TEMPLATE} WITH (FORCE)"))
            .await?;
    }
    client
        .batch_execute(&format!("CREATE DATABASE {TEMPLATE} TEMPLATE template0"))
        .await?;
    let template = with_database(url, TEMPLATE);
    let (options, tell) = (MigrateOptions::default(), |news| eprintln!("{news}"));
    Box::pin(migrate::run(&template, &options, tell))
        .await
        .context("cannot migrate the template")?;
    Box::pin(make_users(&template)).await?;
    client
        .batch_execute(&format!("ALTER DATABASE {TEMPLATE} WITH is_template true"))
        .await?;

    let available = "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_stat_statements'";
    if client.query_opt(available, &[]).await?.is_some() {
        client
            .batch_execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            .await?;
    }
    Ok(())
}

/// Makes a role for each service in a migrated database, with what it needs there, and a user as a
/// member of each, by the name of the service: `ingest`, `aggregator` and so on.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub async fn make_users(url: &str) -> Result<()> {
    let (options, tell) = (MigrateOptions::default(), |news| eprintln!("{news}"));
    Box::pin(roles::apply(url, roles::DEFAULT_PREFIX, &options, tell))
        .await
        .context("cannot make the roles")?;
    let client = connect(url).await?;
    for role in ROLES {
        let (user, group) = (role.name, role.name_of(roles::DEFAULT_PREFIX));
        let known = "SELECT FROM pg_roles WHERE rolname = $1";
        if client.query_opt(known, &[&user]).await?.is_none() {
            let make = format!("CREATE ROLE {user} LOGIN IN ROLE {group}");
            client.batch_execute(&make).await?;
        }
    }
    Ok(())
}

/// A connection, whose driver runs as a task until the client is dropped.
///
/// # Errors
/// The server does not answer.
pub async fn connect(url: &str) -> Result<Client> {
    let (client, driver) = tokio_postgres::connect(url, NoTls)
        .await
        .with_context(|| format!("no answer at {url}"))?;
    // How a connection ends is the client's to notice.
    tokio::spawn(driver);
    Ok(client)
}
