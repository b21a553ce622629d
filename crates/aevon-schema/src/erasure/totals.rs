//! The share of an erased principal in its tenant's total: the minutes in which it had or has a part are
//! made anew of those of the tenant's principals, hours of minutes, days of hours.

use super::refold::{ErasedPrincipal, Numbers, rule_of};
use crate::error::StoreError;
use crate::pre_aggregates::{self, BucketDelta};
use crate::series;
use crate::statement::Statement;
use crate::values::{from_pg, to_pg};
use aevon_core::amount::Amount;
use aevon_core::erasure::Version;
use aevon_core::fold::BucketKey;
use aevon_core::labels::Labels;
use aevon_core::operator::{Columns, Kept, Operator, Partial};
use aevon_core::time::{Grain, Timestamp};
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{
    Array, BigInt, Binary, Integer, Nullable, Numeric, SmallInt, Text, Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use std::collections::{BTreeMap, BTreeSet};

/// A series, whosever it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) rule_no: i32,
    pub(super) generation: i32,
    /// As they are stored; none for the ungrouped series.
    pub(super) labels: Option<String>,
}

/// Which buckets of one grain: their windows and epochs.
type Windows = BTreeSet<(Timestamp, i32)>;

/// Minutes in which a principal had or has a part: some 16 bytes each.
#[derive(Debug, Default)]
pub(super) struct Minutes(BTreeMap<Key, Windows>);

impl Minutes {
    pub(super) fn push(&mut self, key: Key, window_start: Timestamp, epoch: i32) {
        self.0.entry(key).or_default().insert((window_start, epoch));
    }
}

/// Most buckets of one statement: a minute is looked up in every principal's, and a sketch of each may
/// take 16 KiB.
const MAX_WINDOWS: usize = 64;

/// The numbers of the series of an owner that these buckets belong to. Those that have none get one.
pub(super) async fn number(
    pg: &AsyncPgConnection,
    partition: i32,
    owner_no: i64,
    keys: &[&BucketKey],
    key_of: impl Fn(&BucketKey) -> Key,
) -> Result<Numbers, StoreError> {
    let mut identities = series::Identities::default();
    for key in keys {
        let Key {
            rule_no,
            generation,
            labels,
        } = key_of(key);
        identities.push(owner_no, rule_no, generation, labels);
    }
    if identities.is_empty() {
        return Ok(Numbers::default());
    }
    let numbers = series::number(pg, partition, &identities).await?;
    let places = keys.iter().map(|key| (key.rule, key.group));
    Ok(places.zip(numbers).collect())
}

/// Makes the tenant's buckets anew.
pub(super) async fn run(
    pg: &mut AsyncPgConnection,
    erased: &ErasedPrincipal<'_>,
    tenant_no: i64,
    versions: &[Version],
    minutes: Minutes,
) -> Result<(), StoreError> {
    for (key, windows) in minutes.0 {
        let mut identities = series::Identities::default();
        identities.push(tenant_no, key.rule_no, key.generation, key.labels.clone());
        let numbers = series::number(pg, erased.partition, &identities).await?;
        let total = Total {
            erased,
            key: &key,
            operator: rule_of(versions, key.rule_no)?.operator,
            series_no: numbers.into_iter().next().unwrap_or_default(),
        };
        total.run(pg, windows).await?;
    }
    Ok(())
}

/// The tenant's series of these rules that have no bucket go: their labels may be of whom is erased.
pub(super) async fn delete_empty(
    pg: &mut AsyncPgConnection,
    erased: &ErasedPrincipal<'_>,
    tenant_no: i64,
    rule_nos: &[i32],
) -> Result<(), StoreError> {
    let query = diesel::sql_query(include_str!("../sql/erasure_delete_empty.sql"))
        .bind::<Integer, _>(erased.partition)
        .bind::<BigInt, _>(tenant_no)
        .bind::<Array<Integer>, _>(rule_nos);
    Statement::<_, ()>::new(query).execute(pg).await?;
    Ok(())
}

/// A series of the tenant's.
struct Total<'a> {
    erased: &'a ErasedPrincipal<'a>,
    key: &'a Key,
    operator: Operator,
    series_no: i64,
}

/// What a bucket holds.
#[derive(Clone, Debug)]
struct Bucket {
    partial: Partial,
    first_seq: i64,
    last_seq: i64,
    last_void_seq: Option<i64>,
}

type PartColumns = (
    BigInt,
    BigInt,
    BigInt,
    BigInt,
    BigInt,
    Nullable<BigInt>,
    Nullable<Numeric>,
    Nullable<Timestamptz>,
    Nullable<BigInt>,
    Nullable<Numeric>,
    Nullable<Binary>,
);
type PartRow = (
    i64,
    i64,
    i64,
    i64,
    i64,
    Option<i64>,
    Option<BigDecimal>,
    Option<PgTimestamp>,
    Option<i64>,
    Option<BigDecimal>,
    Option<Vec<u8>>,
);

impl Total<'_> {
    async fn run(&self, pg: &mut AsyncPgConnection, minutes: Windows) -> Result<(), StoreError> {
        let hour = |(at, epoch): &(Timestamp, i32)| (Grain::Hour.floor(*at), *epoch);
        let hours: Windows = minutes.iter().map(hour).collect();
        let day = |(at, _): &(Timestamp, i32)| (Grain::Day.floor(*at), 0);
        let days: Windows = hours.iter().map(day).collect();
        for (grain, windows) in [
            (Grain::Minute, minutes),
            (Grain::Hour, hours),
            (Grain::Day, days),
        ] {
            let windows: Vec<(Timestamp, i32)> = windows.into_iter().collect();
            for windows in windows.chunks(MAX_WINDOWS) {
                let parts = match grain {
                    Grain::Minute => self.parts_of_principals(pg, windows).await?,
                    _ => self.parts(pg, grain, windows).await?,
                };
                let buckets = self.merged(windows, parts)?;
                self.replace(pg, grain, windows, buckets).await?;
            }
        }
        Ok(())
    }

    async fn parts_of_principals(
        &self,
        pg: &mut AsyncPgConnection,
        windows: &[(Timestamp, i32)],
    ) -> Result<Vec<PartRow>, StoreError> {
        let labels = self.key.labels.as_deref().map(Labels::hash);
        let (starts, epochs) = columns(windows);
        let query = diesel::sql_query(include_str!("../sql/erasure_parts_of_tenant.sql"))
            .bind::<Integer, _>(self.erased.partition)
            .bind::<Text, _>(self.erased.tenant_id)
            .bind::<Integer, _>(self.key.rule_no)
            .bind::<Integer, _>(self.key.generation)
            .bind::<Binary, _>(labels.map_or_else(Vec::new, |hash| hash.to_vec()))
            .bind::<Array<Timestamptz>, _>(starts)
            .bind::<Array<Integer>, _>(epochs);
        Ok(Statement::<_, PartColumns>::new(query).load(pg).await?)
    }

    async fn parts(
        &self,
        pg: &mut AsyncPgConnection,
        grain: Grain,
        windows: &[(Timestamp, i32)],
    ) -> Result<Vec<PartRow>, StoreError> {
        let finer = match grain {
            Grain::Day => Grain::Hour,
            _ => Grain::Minute,
        };
        let (starts, epochs) = columns(windows);
        let ends = windows
            .iter()
            .map(|(at, _)| to_pg(at.plus_micros(grain.width_us())));
        let epochs = epochs.into_iter();
        let epochs = epochs.map(|epoch| (grain != Grain::Day).then_some(epoch));
        let query = diesel::sql_query(include_str!("../sql/erasure_parts.sql"))
            .bind::<Integer, _>(self.erased.partition)
            .bind::<SmallInt, _>(finer.minutes())
            .bind::<BigInt, _>(self.series_no)
            .bind::<Array<Timestamptz>, _>(starts)
            .bind::<Array<Timestamptz>, _>(ends.collect::<Vec<_>>())
            .bind::<Array<Nullable<Integer>>, _>(epochs.collect::<Vec<_>>());
        Ok(Statement::<_, PartColumns>::new(query).load(pg).await?)
    }

    /// The bucket of each window; none where nothing lies in it.
    fn merged(
        &self,
        windows: &[(Timestamp, i32)],
        parts: Vec<PartRow>,
    ) -> Result<Vec<Option<Bucket>>, StoreError> {
        let mut buckets: Vec<Option<Bucket>> = vec![None; windows.len()];
        let unreadable = || StoreError::Corrupt("a bucket can't be read".to_owned());
        for part in parts {
            let place = usize::try_from(part.0 - 1).ok();
            let bucket = place.and_then(|place| buckets.get_mut(place));
            let (bucket, part) = bucket.zip(self.read(part)).ok_or_else(unreadable)?;
            match bucket {
                None => *bucket = Some(part),
                Some(bucket) => {
                    bucket.partial.merge(self.operator, &part.partial);
                    bucket.first_seq = bucket.first_seq.min(part.first_seq);
                    bucket.last_seq = bucket.last_seq.max(part.last_seq);
                    bucket.last_void_seq = bucket.last_void_seq.max(part.last_void_seq);
                }
            }
        }
        Ok(buckets)
    }

    fn read(&self, part: PartRow) -> Option<Bucket> {
        let (_, event_count, skipped_count, first_seq, last_seq, last_void_seq, ..) = part;
        let (.., value, latest_at, latest_seq, moment, sketch) = part;
        let columns = Columns {
            value: value.map(Amount::from_big),
            latest_at: latest_at.map(from_pg),
            latest_seq,
            moment: moment.map(Amount::from_big),
            sketch,
        };
        Some(Bucket {
            partial: Partial {
                event_count,
                skipped_count,
                kept: Kept::from_columns(self.operator, self.erased.partition, columns)?,
            },
            first_seq,
            last_seq,
            last_void_seq,
        })
    }

    async fn replace(
        &self,
        pg: &mut AsyncPgConnection,
        grain: Grain,
        windows: &[(Timestamp, i32)],
        buckets: Vec<Option<Bucket>>,
    ) -> Result<(), StoreError> {
        let (starts, epochs) = columns(windows);
        let query = diesel::sql_query(include_str!("../sql/erasure_delete_windows.sql"))
            .bind::<Integer, _>(self.erased.partition)
            .bind::<SmallInt, _>(grain.minutes())
            .bind::<BigInt, _>(self.series_no)
            .bind::<Array<Timestamptz>, _>(starts)
            .bind::<Array<Integer>, _>(epochs);
        Statement::<_, ()>::new(query).execute(pg).await?;
        let delta = |((window_start, epoch), bucket): (&(Timestamp, i32), Option<Bucket>)| {
            let bucket = bucket?;
            Some(BucketDelta {
                series_no: self.series_no,
                operator: self.operator,
                window_start: *window_start,
                epoch: *epoch,
                partial: bucket.partial,
                first_seq: bucket.first_seq,
                last_seq: bucket.last_seq,
                last_void_seq: bucket.last_void_seq,
                total_series_no: None,
            })
        };
        let deltas = windows.iter().zip(buckets).filter_map(delta).collect();
        pre_aggregates::merge(pg, self.erased.partition, grain, deltas).await?;
        Ok(())
    }
}

fn columns(windows: &[(Timestamp, i32)]) -> (Vec<PgTimestamp>, Vec<i32>) {
    let columns = windows.iter().map(|(at, epoch)| (to_pg(*at), *epoch));
    columns.unzip()
}
