//! The totals of tenants that a slice adds to: series of the tenant's own, folded out of what the
//! slice adds to its principals.

use super::Sweep;
use crate::error::StoreError;
use crate::tenants;
use aevon_core::fold::{SliceFold, Totals};

impl Sweep<'_> {
    /// Which tenants the principals of a slice belong to. Where no rule keeps totals nobody is asked.
    pub(super) async fn totals(&self, fold: &SliceFold<'_>) -> Result<Totals, StoreError> {
        let is_kept: Vec<bool> = self.members.iter().map(|m| m.keeps_totals).collect();
        let principal_nos = fold.principal_nos(|rule| is_kept[rule as usize]);
        let pg = &self.connection.pg;
        let tenants = tenants::number(pg, self.partition, &principal_nos).await?;
        Ok(Totals { tenants, is_kept })
    }
}
