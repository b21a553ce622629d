//! The routes, one file each, and what they share.

use aevon_schema::{StoreError, with_causes};
use aevon_service::problem::{Code, Problem};
use std::time::Duration;

pub(crate) mod request;
pub(crate) mod rules;
pub(crate) mod state;

/// When to come back after a 503.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a caller is told where the database failed.
pub(crate) fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) | StoreError::DeadlineExceeded(_) | StoreError::Refused(_) => {
            unavailable(with_causes(error))
        }
        StoreError::Corrupt(_) | StoreError::InvalidUrl(_) => {
            Problem::new(Code::Internal, error.to_string())
        }
    }
}

/// What a caller is told before the database was ever reached.
pub(crate) fn not_ready() -> Problem {
    unavailable("the database was not reached yet".to_owned())
}

fn unavailable(detail: String) -> Problem {
    Problem::new(Code::DatabaseUnavailable, detail).with_retry_after(RETRY_AFTER)
}
