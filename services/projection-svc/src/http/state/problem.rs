//! What a caller is told where there is no answer.

use crate::http::request::invalid;
use crate::http::store_problem;
use aevon_core::state::TooLarge;
use aevon_schema::state::StateError;
use aevon_service::problem::{Code, Problem};

pub(crate) fn problem(error: &StateError) -> Problem {
    let detail = error.to_string();
    match error {
        StateError::Store(error) => store_problem(error),
        StateError::UnknownRule(_) => Problem::new(Code::UnknownRule, detail),
        StateError::IncompleteVersion { .. } => Problem::new(Code::IncompleteVersion, detail),
        StateError::UnknownVersion { .. } => Problem::new(Code::UnknownVersion, detail),
        StateError::NotVisible { .. } => {
            let detail = format!("{detail}; ask again, or wait longer for it with `wait`");
            Problem::new(Code::VersionNotVisible, detail)
        }
        StateError::UnknownDimension { .. } | StateError::NotLatest(_) => {
            Problem::new(Code::InvalidParameter, detail)
        }
        StateError::FromAbove { .. } => invalid("from_version", detail),
        StateError::TooLarge(TooLarge::Groups) => Problem::new(Code::TooManyGroups, detail),
        StateError::TooLarge(_) => Problem::new(Code::TooManyWindows, detail),
        StateError::BudgetExceeded(_) | StateError::TooManyUnswept(_) => {
            let what_to_do = "ask for a shorter range or fewer rules, or ask again when the \
                              aggregator has caught up (lag_events of /v1/rules); totals of a rule \
                              that is older than they are take an `aevon rebuild` of it";
            Problem::new(Code::QueryBudgetExceeded, format!("{detail}; {what_to_do}"))
        }
    }
}
