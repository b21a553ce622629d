//! What can go wrong between a program and its Postgres.

/// Trouble with the database. Nothing in it is for clients: it may hold SQL.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address of the database is none.
    #[error("database.url: {0}")]
    InvalidUrl(String),
    /// Postgres can't be reached, lets nobody in by this name, or the connection was lost.
    #[error("no connection to Postgres: {0}")]
    Unavailable(String),
    /// A wait reached its deadline.
    #[error("{0} took too long")]
    DeadlineExceeded(&'static str),
    /// Postgres refused a statement.
    #[error("Postgres refused a statement")]
    Refused(#[source] diesel::result::Error),
    /// Something stands in the tables that can't be there.
    #[error("the tables are inconsistent: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Which kind of trouble, in a word, for counting.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::InvalidUrl(_) => "invalid_url",
            Self::Unavailable(_) => "unavailable",
            Self::DeadlineExceeded(_) => "deadline",
            Self::Refused(_) => "refused",
            Self::Corrupt(_) => "inconsistent",
        }
    }
}

/// An error with its causes, for a log: what Postgres itself said stands in a cause.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl From<diesel::result::Error> for StoreError {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::DatabaseErrorKind::{ClosedConnection, UnableToSendCommand};
        match error {
            diesel::result::Error::DatabaseError(ClosedConnection | UnableToSendCommand, info) => {
                Self::Unavailable(info.message().to_owned())
            }
            other => Self::Refused(other),
        }
    }
}

impl From<diesel::result::ConnectionError> for StoreError {
    fn from(error: diesel::result::ConnectionError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
