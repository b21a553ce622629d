//! How many connections a service opens, and how many Postgres lets it have: said once, at the start.

use super::{CONNECT_TIMEOUT, Database};
use crate::error::{StoreError, with_causes};
use crate::statement::Statement;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

/// The connections of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most that one process opens.
    pub of_process: usize,
    /// Processes side by side, as far as the settings say.
    pub replicas: usize,
}

impl Budget {
    const fn wanted(self) -> usize {
        self.of_process.saturating_mul(self.replicas)
    }

    /// Says what is wanted beside what there is; a warning where it can't fit. Others need some, too:
    /// that it fits does not say that all fit together.
    pub async fn tell(self, database: &Database) {
        let (of_process, replicas, wanted) = (self.of_process, self.replicas, self.wanted());
        let asked = tokio::time::timeout(CONNECT_TIMEOUT, allowed(database)).await;
        let late = |_| Err(StoreError::DeadlineExceeded("asking for max_connections"));
        match asked.unwrap_or_else(late) {
            Ok(allowed) if wanted > allowed => tracing::warn!(
                of_process,
                replicas,
                wanted,
                allowed,
                "more connections than Postgres allows: raise its max_connections (or the limit of the \
                 role or database), or lower database.max_connections or the number of replicas"
            ),
            Ok(allowed) => tracing::info!(
                of_process,
                replicas,
                wanted,
                allowed,
                "connections of this service"
            ),
            Err(error) => tracing::info!(
                error = with_causes(&error),
                of_process,
                replicas,
                wanted,
                "how many connections Postgres allows is not known"
            ),
        }
    }
}

/// How many Postgres lets this user have.
async fn allowed(database: &Database) -> Result<usize, StoreError> {
    let mut connection = database.get().await?;
    connection.begin_use();
    let query = diesel::sql_query(include_str!("../sql/database_budget.sql"));
    let allowed: i64 = Statement::<_, BigInt>::new(query)
        .get_result(&mut connection.pg)
        .await?;
    connection.end_use();
    Ok(usize::try_from(allowed).unwrap_or(0))
}
