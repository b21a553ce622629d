//! Events that Postgres can't read: the core's checks should have refused them all. Should one slip
//! through, it is refused alone.

use crate::error::StoreError;
use crate::events;
use aevon_core::event::NewEvent;
use diesel_async::AsyncPgConnection;

/// Their indexes, by halving. None where that is not what is wrong.
pub(super) async fn find(
    pg: &AsyncPgConnection,
    group: &[&NewEvent],
) -> Result<Vec<usize>, StoreError> {
    let mut found = Vec::new();
    #[expect(
        clippy::single_range_in_vec_init,
        reason = "a stack of ranges, which begins with one"
    )]
    let mut open = vec![0..group.len()];
    while let Some(range) = open.pop() {
        match events::are_readable(pg, &group[range.clone()])
            .await
            .map_err(StoreError::from)
        {
            Ok(()) => {}
            Err(StoreError::Refused(_)) if range.len() == 1 => {
                // A server in trouble refuses everything; then it is not this event's fault.
                events::are_readable(pg, &[]).await?;
                found.push(range.start);
            }
            Err(StoreError::Refused(_)) => {
                let middle = range.start + range.len() / 2;
                open.extend([middle..range.end, range.start..middle]);
            }
            Err(other) => return Err(other),
        }
    }
    Ok(found)
}
