//! Hot statements: SQL of a file of its own, prepared once a connection.
//!
//! diesel prepares what `sql_query` gives anew each time, as it can't know whether the text varies.
//! Ours is a constant, so [`Statement`] says that it may be cached, and names the types of a row so
//! that rows load into tuples by position.

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use std::marker::PhantomData;

/// A constant statement with its parameters; `Row` are the SQL types of the columns.
pub(crate) struct Statement<Q, Row> {
    query: Q,
    row: PhantomData<Row>,
}

impl<Q, Row> Statement<Q, Row> {
    /// `query` is `sql_query(a constant).bind(..)..`.
    pub(crate) fn new(query: Q) -> Self {
        Self {
            query,
            row: PhantomData,
        }
    }
}

impl<Q: QueryFragment<Pg>, Row> QueryFragment<Pg> for Statement<Q, Row> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.query.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, _: &Pg) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<Q, Row> QueryId for Statement<Q, Row> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q, Row> Query for Statement<Q, Row> {
    type SqlType = Row;
}
