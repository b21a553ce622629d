//! The migrated database that every test's database is a copy of.

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
    Box::pin(aevon_schema::migrate::run(
        &with_database(url, TEMPLATE),
        None,
    ))
    .await
    .context("cannot migrate the template")?;
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
