//! How domain values travel: timestamps, JSON text, amounts.

use aevon_core::time::Timestamp;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue, data_types::PgTimestamp};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::Jsonb;
use std::io::Write;

/// 2000-01-01T00:00:00Z, where Postgres counts from.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// As Postgres has it. The connection's time zone takes no part: the wire carries microseconds.
pub(crate) fn to_pg(at: Timestamp) -> PgTimestamp {
    PgTimestamp(at.as_micros() - POSTGRES_EPOCH_US)
}

/// As the domain has it.
pub(crate) fn from_pg(at: PgTimestamp) -> Timestamp {
    Timestamp::from_micros(at.0 + POSTGRES_EPOCH_US)
}

/// `-infinity` where there is no start.
pub(crate) fn start_to_pg(at: Option<Timestamp>) -> PgTimestamp {
    at.map_or(PgTimestamp(i64::MIN), to_pg)
}

/// `infinity` where there is no end.
pub(crate) fn end_to_pg(at: Option<Timestamp>) -> PgTimestamp {
    at.map_or(PgTimestamp(i64::MAX), to_pg)
}

/// A document as text, written to `jsonb` without a value tree in between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonText<'a>(pub(crate) &'a str);

impl ToSql<Jsonb, Pg> for JsonText<'_> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[JSONB_VERSION])?;
        out.write_all(self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

/// A document as text, read from `jsonb`.
#[derive(Debug, FromSqlRow)]
pub(crate) struct JsonString(pub(crate) String);

impl FromSql<Jsonb, Pg> for JsonString {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.as_bytes() {
            [JSONB_VERSION, text @ ..] => Ok(Self(std::str::from_utf8(text)?.to_owned())),
            _ => Err("jsonb of an unknown version".into()),
        }
    }
}

const JSONB_VERSION: u8 = 1;
