//! The workloads themselves. What is expected of each comes from the samples by plain arithmetic.

pub(crate) mod ingest;
pub(crate) mod read;
pub(crate) mod sweep;
