//! For tests only: a private Postgres for a test run, a database for each test, a proxy that loses
//! connections at chosen moments, waiting on conditions, and the oracle that answers are held to.
//!
//! A test run is started by `with-postgres` (see `make test`), which sets [`DATABASE_URL`]. A test
//! then takes a [`TestDatabase`], which is a copy of a migrated template and nobody else's.

mod database;
mod eventually;
pub mod oracle;
pub mod places;
mod pooler;
mod proxy;
pub mod template;
mod url;

pub use database::TestDatabase;
pub use eventually::eventually;
pub use pooler::Pooler;
pub use proxy::Proxy;
pub use url::{user_of, with_address, with_database, with_user};

/// The environment variable with the address of the server's database `postgres`.
pub const DATABASE_URL: &str = "AEVON_TEST_DATABASE_URL";
