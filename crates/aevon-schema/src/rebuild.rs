//! A rebuild: the buckets of a rule version made anew in a generation beside the one that answers,
//! compared with it, and put in its place.
//!
//! Sweeps fill it: whoever holds a lease moves it along with everything else, so that a rebuild needs
//! no aggregator and disturbs none, and goes on where it was broken off.
//! Invariant: the switch is one update, of a generation that is behind nowhere. Readers resolve the
//! generation in their own snapshot.

use crate::database::Connection;
use crate::error::StoreError;
use crate::rules::{lock, read_definition};
use crate::statement::Statement;
use crate::values::JsonString;
use aevon_core::rule::Rule;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

/// Most series that one comparing statement takes up.
const MAX_SERIES: i64 = 1_000;

/// A rebuild that was begun.
#[derive(Clone, Debug)]
pub struct Rebuild {
    rule_no: i32,
    /// The rule.
    pub rule: Rule,
    /// Its version, which stays.
    pub version: i32,
    /// The generation that answers.
    pub live: i32,
    /// The generation that is being built.
    pub built: i32,
}

/// How far a rebuild is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The partition.
    pub partition: i32,
    /// The checkpoint of the generation that answers.
    pub live: i64,
    /// The checkpoint of the one that is being built.
    pub built: i64,
    /// The newest seq.
    pub head: i64,
    /// Whether both keep totals of tenants there.
    pub both_keep_totals: bool,
}

/// What a comparison of a partition found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Buckets of all grains, of either generation.
    pub buckets: i64,
    /// How many of them differ, or stand in one generation only.
    pub different: i64,
    /// The first of them.
    pub first: Option<Difference>,
}

/// A bucket that differs: what stands in each generation, as JSON; none where there is no such row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In the generation that answered until now.
    pub live: Option<String>,
    /// In the one that was built from the log.
    pub built: Option<String>,
}

/// Begins to rebuild the active version of a rule, or goes on. `None` where no version is active.
///
/// # Errors
/// [`StoreError`].
pub async fn begin(connection: &mut Connection, name: &str) -> Result<Option<Rebuild>, StoreError> {
    connection.begin_use();
    let begun = connection
        .pg
        .transaction::<_, StoreError, _>(async |pg| {
            lock(pg).await?;
            let query =
                diesel::sql_query(include_str!("sql/rebuild_begin.sql")).bind::<Text, _>(name);
            let rows: Vec<(i32, i32, i32, i32, JsonString)> =
                Statement::<_, (Integer, Integer, Integer, Integer, Jsonb)>::new(query)
                    .load(pg)
                    .await?;
            Ok(rows.into_iter().next())
        })
        .await?;
    connection.end_use();
    let rebuild = |(rule_no, version, live, built, definition): (_, _, _, _, JsonString)| {
        Ok(Rebuild {
            rule_no,
            rule: read_definition(&definition.0)?,
            version,
            live,
            built,
        })
    };
    begun.map(rebuild).transpose()
}

/// Gives up the rebuild of a rule. False where none was begun.
///
/// # Errors
/// [`StoreError`].
pub async fn give_up(connection: &mut Connection, name: &str) -> Result<bool, StoreError> {
    use crate::schema::rules::dsl;
    connection.begin_use();
    let given_up = connection
        .pg
        .transaction::<_, StoreError, _>(async |pg| {
            lock(pg).await?;
            let begun = dsl::name.eq(name).and(dsl::next_generation.is_not_null());
            let query = diesel::update(dsl::rules.filter(begun));
            let query = query.set(dsl::next_generation.eq(None::<i32>));
            Ok(query.execute(pg).await? > 0)
        })
        .await?;
    connection.end_use();
    Ok(given_up)
}

impl Rebuild {
    /// How far it is, in each partition that has events.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn standing(&self, connection: &mut Connection) -> Result<Vec<Standing>, StoreError> {
        self.load_standing(&mut connection.pg).await
    }

    async fn load_standing(&self, pg: &mut AsyncPgConnection) -> Result<Vec<Standing>, StoreError> {
        let query = diesel::sql_query(include_str!("sql/rebuild_standing.sql"))
            .bind::<Integer, _>(self.rule_no)
            .bind::<Integer, _>(self.live)
            .bind::<Integer, _>(self.built);
        let rows: Vec<(i32, i64, i64, i64, bool)> =
            Statement::<_, (Integer, BigInt, BigInt, BigInt, Bool)>::new(query)
                .load(pg)
                .await?;
        let standing = |(partition, live, built, head, both_keep_totals)| Standing {
            partition,
            live,
            built,
            head,
            both_keep_totals,
        };
        Ok(rows.into_iter().map(standing).collect())
    }

    /// Compares the two generations in a partition, in one snapshot. `None` where they stand at
    /// different checkpoints.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compare(
        &self,
        connection: &mut Connection,
        partition: i32,
    ) -> Result<Option<Compared>, StoreError> {
        connection.begin_use();
        let pg = &mut connection.pg;
        pg.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let standing = self.load_standing(pg).await?;
        let ours = standing.iter().find(|s| s.partition == partition);
        let compared = match ours.filter(|s| s.live == s.built) {
            Some(standing) => Some(self.compare_all(pg, standing).await?),
            None => None,
        };
        pg.batch_execute("COMMIT").await?;
        connection.end_use();
        Ok(compared)
    }

    async fn compare_all(
        &self,
        pg: &mut AsyncPgConnection,
        standing: &Standing,
    ) -> Result<Compared, StoreError> {
        let (mut all, mut after) = (Compared::default(), 0);
        loop {
            let principals = self.principals(pg, standing, after).await?;
            let Some((last, _)) = principals.last() else {
                return Ok(all);
            };
            after = *last;
            let compared = principals.iter().filter(|(_, is_compared)| *is_compared);
            let compared: Vec<i64> = compared.map(|(principal_no, _)| *principal_no).collect();
            let some = self.compare_some(pg, standing.partition, &compared).await?;
            all.buckets += some.buckets;
            all.different += some.different;
            all.first = all.first.or(some.first);
        }
    }

    /// The next principals, and tenants, each with whether it is to be compared: totals of tenants are
    /// not, where the generation that answers is older than they are.
    async fn principals(
        &self,
        pg: &mut AsyncPgConnection,
        standing: &Standing,
        after: i64,
    ) -> Result<Vec<(i64, bool)>, StoreError> {
        let query = diesel::sql_query(include_str!("sql/rebuild_principals.sql"))
            .bind::<Integer, _>(standing.partition)
            .bind::<Integer, _>(self.rule_no)
            .bind::<Integer, _>(self.live)
            .bind::<Integer, _>(self.built)
            .bind::<BigInt, _>(after)
            .bind::<BigInt, _>(MAX_SERIES)
            .bind::<Bool, _>(standing.both_keep_totals);
        Ok(Statement::<_, (BigInt, Bool)>::new(query).load(pg).await?)
    }

    async fn compare_some(
        &self,
        pg: &mut AsyncPgConnection,
        partition: i32,
        principals: &[i64],
    ) -> Result<Compared, StoreError> {
        let query = diesel::sql_query(include_str!("sql/rebuild_compare.sql"))
            .bind::<Integer, _>(partition)
            .bind::<Integer, _>(self.rule_no)
            .bind::<Integer, _>(self.live)
            .bind::<Integer, _>(self.built)
            .bind::<Array<BigInt>, _>(principals);
        type Columns = (BigInt, BigInt, Nullable<Jsonb>, Nullable<Jsonb>);
        let row: (i64, i64, Option<JsonString>, Option<JsonString>) =
            Statement::<_, Columns>::new(query).get_result(pg).await?;
        let (buckets, different, live, built) = row;
        let text = |json: Option<JsonString>| json.map(|JsonString(text)| text);
        let first = (different > 0).then(|| Difference {
            live: text(live),
            built: text(built),
        });
        Ok(Compared {
            buckets,
            different,
            first,
        })
    }

    /// Lets the generation that was built answer. False where it is behind, or was given up: the
    /// rule was retired.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn switch(&self, connection: &mut Connection) -> Result<bool, StoreError> {
        connection.begin_use();
        let switched = connection
            .pg
            .transaction::<_, StoreError, _>(async |pg| {
                lock(pg).await?;
                let query = diesel::sql_query(include_str!("sql/rebuild_switch.sql"))
                    .bind::<Integer, _>(self.rule_no)
                    .bind::<Integer, _>(self.live)
                    .bind::<Integer, _>(self.built);
                Ok(Statement::<_, ()>::new(query).execute(pg).await? == 1)
            })
            .await?;
        connection.end_use();
        Ok(switched)
    }
}
