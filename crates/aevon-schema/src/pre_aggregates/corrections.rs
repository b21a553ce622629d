//! What voids do to buckets that stand.

use super::MAX_SKETCHES;
use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::{from_pg, to_pg};
use aevon_core::amount::Amount;
use aevon_core::operator::{Columns, Kept, Operator, Partial};
use aevon_core::time::{Grain, Timestamp};
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Numeric, SmallInt, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::{TryStream, TryStreamExt};

/// Which bucket of a grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) series_no: i64,
    pub(crate) window_start: Timestamp,
    /// 0 for a day.
    pub(crate) epoch: i32,
}

/// Places, column by column.
fn columns(places: impl Iterator<Item = Place>) -> (Vec<i64>, Vec<PgTimestamp>, Vec<i32>) {
    places
        .map(|place| (place.series_no, to_pg(place.window_start), place.epoch))
        .collect()
}

/// Replaces what buckets of one grain keep of their events, a bounded number at once.
pub(crate) async fn replace(
    pg: &AsyncPgConnection,
    partition: i32,
    grain: Grain,
    mut kept: Vec<(Place, Kept)>,
) -> Result<(), StoreError> {
    kept.sort_unstable_by_key(|(place, _)| *place);
    for kept in kept.chunks(MAX_SKETCHES) {
        let (series_nos, windows, epochs) = columns(kept.iter().map(|(place, _)| *place));
        let stored: Vec<Columns> = kept.iter().map(|(_, kept)| kept.to_columns()).collect();
        let values = stored.iter().map(|c| c.value.as_ref().map(Amount::to_big));
        let latest_ats = stored.iter().map(|c| c.latest_at.map(to_pg));
        let latest_seqs = stored.iter().map(|c| c.latest_seq);
        let moments = stored.iter().map(|c| c.moment.as_ref().map(Amount::to_big));
        let sketches = stored.iter().map(|c| c.sketch.as_deref());
        let query = diesel::sql_query(include_str!("../sql/pre_aggregates_replace.sql"))
            .bind::<Integer, _>(partition)
            .bind::<SmallInt, _>(grain.minutes())
            .bind::<Array<BigInt>, _>(series_nos)
            .bind::<Array<Timestamptz>, _>(windows)
            .bind::<Array<Integer>, _>(epochs)
            .bind::<Array<Nullable<Numeric>>, _>(values.collect::<Vec<_>>())
            .bind::<Array<Nullable<Timestamptz>>, _>(latest_ats.collect::<Vec<_>>())
            .bind::<Array<Nullable<BigInt>>, _>(latest_seqs.collect::<Vec<_>>())
            .bind::<Array<Nullable<Numeric>>, _>(moments.collect::<Vec<_>>())
            .bind::<Array<Nullable<Binary>>, _>(sketches.collect::<Vec<_>>());
        let replaced = Statement::<_, ()>::new(query).execute(&mut &*pg).await?;
        check_count(replaced, kept.len())?;
    }
    Ok(())
}

type PartColumns = (
    BigInt,
    Nullable<Numeric>,
    Nullable<Timestamptz>,
    Nullable<BigInt>,
    Nullable<Numeric>,
    Nullable<Binary>,
);
type PartRow = (
    i64,
    Option<BigDecimal>,
    Option<PgTimestamp>,
    Option<i64>,
    Option<BigDecimal>,
    Option<Vec<u8>>,
);

/// Folds what buckets of `grain` keep out of the grain below it, which is right already, and writes
/// it to them; a bounded number at once.
pub(crate) async fn derive(
    pg: &AsyncPgConnection,
    partition: i32,
    (grain, finer): (Grain, Grain),
    places: &[(Place, Operator)],
) -> Result<(), StoreError> {
    for places in places.chunks(MAX_SKETCHES) {
        let (series_nos, windows, epochs) = columns(places.iter().map(|(place, _)| *place));
        let ends = places.iter().map(|(place, _)| place.window_start);
        let ends: Vec<_> = ends
            .map(|at| to_pg(at.plus_micros(grain.width_us())))
            .collect();
        let epochs = epochs
            .into_iter()
            .map(|epoch| (grain != Grain::Day).then_some(epoch));
        let query = diesel::sql_query(include_str!("../sql/pre_aggregates_parts.sql"))
            .bind::<Integer, _>(partition)
            .bind::<SmallInt, _>(finer.minutes())
            .bind::<Array<BigInt>, _>(series_nos)
            .bind::<Array<Timestamptz>, _>(windows)
            .bind::<Array<Timestamptz>, _>(ends)
            .bind::<Array<Nullable<Integer>>, _>(epochs.collect::<Vec<_>>());
        let mut pg = pg;
        let parts = Statement::<_, PartColumns>::new(query)
            .load_stream::<PartRow>(&mut pg)
            .await?;
        let folded = fold_parts(partition, places, parts).await?;
        replace(pg, partition, grain, folded).await?;
    }
    Ok(())
}

/// A minute of a tenant's total.
#[derive(Debug)]
pub(crate) struct TenantMinute {
    pub(crate) tenant_no: i64,
    pub(crate) rule_no: i32,
    pub(crate) generation: i32,
    pub(crate) labels_hash: Vec<u8>,
    pub(crate) place: Place,
    pub(crate) operator: Operator,
}

/// Most minutes of tenants of one statement: it looks each of them up in every principal's.
const MAX_TENANT_MINUTES: usize = 16;

/// Folds what minutes of tenants keep out of those of their principals, which are right already, and
/// writes it to them. That takes a look at each principal of the tenant in the partition, however many
/// events there are.
pub(crate) async fn derive_of_tenants(
    pg: &AsyncPgConnection,
    partition: i32,
    minutes: &[TenantMinute],
) -> Result<(), StoreError> {
    for minutes in minutes.chunks(MAX_TENANT_MINUTES) {
        let places = minutes.iter().map(|minute| (minute.place, minute.operator));
        let places: Vec<_> = places.collect();
        let (_, windows, epochs) = columns(places.iter().map(|(place, _)| *place));
        let hashes = minutes.iter().map(|minute| minute.labels_hash.as_slice());
        let query = diesel::sql_query(include_str!("../sql/pre_aggregates_parts_of_tenants.sql"))
            .bind::<Integer, _>(partition)
            .bind::<Array<BigInt>, _>(minutes.iter().map(|m| m.tenant_no).collect::<Vec<_>>())
            .bind::<Array<Integer>, _>(minutes.iter().map(|m| m.rule_no).collect::<Vec<_>>())
            .bind::<Array<Integer>, _>(minutes.iter().map(|m| m.generation).collect::<Vec<_>>())
            .bind::<Array<Binary>, _>(hashes.collect::<Vec<_>>())
            .bind::<Array<Timestamptz>, _>(windows)
            .bind::<Array<Integer>, _>(epochs);
        let mut pg = pg;
        let parts = Statement::<_, PartColumns>::new(query)
            .load_stream::<PartRow>(&mut pg)
            .await?;
        let folded = fold_parts(partition, &places, parts).await?;
        replace(pg, partition, Grain::Minute, folded).await?;
    }
    Ok(())
}

/// Merges parts, each of which has the number of its place, from 1, as they arrive.
async fn fold_parts(
    partition: i32,
    places: &[(Place, Operator)],
    mut parts: impl TryStream<Ok = PartRow, Error = diesel::result::Error> + Unpin,
) -> Result<Vec<(Place, Kept)>, StoreError> {
    let mut folded: Vec<Partial> = vec![Partial::default(); places.len()];
    while let Some(part) = parts.try_next().await? {
        let (number, value, latest_at, latest_seq, moment, sketch) = part;
        let at = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let columns = Columns {
            value: value.map(Amount::from_big),
            latest_at: latest_at.map(from_pg),
            latest_seq,
            moment: moment.map(Amount::from_big),
            sketch,
        };
        let of = |(_, operator): &(Place, Operator)| {
            let kept = Kept::from_columns(*operator, partition, columns)?;
            let part = Partial {
                kept,
                ..Partial::default()
            };
            Some((*operator, part))
        };
        let Some((operator, part)) = places.get(at).and_then(of) else {
            return Err(StoreError::Corrupt("a bucket can't be read".to_owned()));
        };
        folded[at].merge(operator, &part);
    }
    let kept = places.iter().zip(folded);
    Ok(kept
        .map(|((place, _), partial)| (*place, partial.kept))
        .collect())
}

fn check_count(changed: usize, wanted: usize) -> Result<(), StoreError> {
    match changed == wanted {
        true => Ok(()),
        false => Err(StoreError::Corrupt(format!(
            "{changed} of {wanted} buckets were corrected"
        ))),
    }
}
