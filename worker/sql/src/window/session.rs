//! Sessions.
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, not_impl_err};

use super::layout::Layout;

pub(crate) fn fold(_layout: &Arc<Layout>, _rows: &RecordBatch) -> Result<RecordBatch> {
    not_impl_err!("SESSION")
}

pub(crate) fn coalesce(_layout: &Arc<Layout>, _rows: &RecordBatch) -> Result<RecordBatch> {
    not_impl_err!("SESSION")
}
