//! Slot Leases: an owner of units is a slot, and whoever holds its Lease.

use k8s_openapi::api::coordination::v1::Lease;

use super::{Owner, metadata};
use crate::names::Names;

/// A free slot. Its spec is the worker's to write.
pub(super) fn slot(namespace: &str, names: &Names, owner: &Owner, number: u32) -> Lease {
    Lease { metadata: metadata(namespace, names, owner, &names.slot(number).0), spec: None }
}
