//! Bytes on disk: of the table of events and of each of its indexes.

use std::collections::BTreeMap;

use anyhow::Result;
use tokio_postgres::Client;

use crate::report::{Section, thousands};

/// Bytes by table and index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sizes(BTreeMap<String, i64>);

impl Sizes {
    pub(crate) async fn read(client: &Client) -> Result<Self> {
        let query = "SELECT c.relname::text, pg_table_size(c.oid) FROM pg_class c \
                     WHERE c.oid = 'events'::regclass OR c.oid IN ( \
                     SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = 'events'::regclass)";
        let rows = client.query(query, &[]).await?;
        Ok(Self(
            rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
        ))
    }

    fn total(&self) -> i64 {
        self.0.values().sum()
    }
}

/// How a log grew.
#[derive(Debug, Clone, Default)]
pub(crate) struct Growth {
    pub(crate) by: String,
    pub(crate) events: i64,
    pub(crate) before: Sizes,
    pub(crate) after: Sizes,
}

impl Growth {
    fn per_event(&self, size: impl Fn(&Sizes) -> i64) -> String {
        thousands(self.bytes_of(size))
    }

    fn bytes_of(&self, size: impl Fn(&Sizes) -> i64) -> f64 {
        let grown = size(&self.after) - size(&self.before);
        grown as f64 / self.events.max(1) as f64
    }

    /// Bytes per event, of the table and its indexes.
    pub(crate) fn bytes_per_event(&self) -> f64 {
        self.bytes_of(Sizes::total)
    }
}

/// Bytes per event, one column for each way to grow.
pub(crate) fn section(growths: &[Growth]) -> Section {
    let by = growths.iter().map(|growth| growth.by.as_str());
    let columns: Vec<&str> = std::iter::once("bytes per event").chain(by).collect();
    let mut section = Section::new("Bytes on disk", &columns);
    let names = growths
        .first()
        .map(|growth| growth.after.0.keys())
        .into_iter()
        .flatten();
    for name in names {
        let of = |sizes: &Sizes| sizes.0.get(name).copied().unwrap_or(0);
        let cells = growths.iter().map(|growth| growth.per_event(of));
        section.row(
            std::iter::once(name.clone())
                .chain(cells)
                .collect::<Vec<_>>(),
        );
    }
    let cells = growths.iter().map(|growth| growth.per_event(Sizes::total));
    section.row(
        std::iter::once("together".to_owned())
            .chain(cells)
            .collect::<Vec<_>>(),
    );
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_per_event() {
        let sizes = |bytes| Sizes([("a".to_owned(), bytes), ("b".to_owned(), 7)].into());
        let by = "by".to_owned();
        let growth = Growth {
            by,
            events: 10,
            before: sizes(100),
            after: sizes(3100),
        };
        assert_eq!(growth.per_event(Sizes::total), "300");
    }
}
