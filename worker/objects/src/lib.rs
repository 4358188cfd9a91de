//! Buckets: how one is opened, and what it means when one refuses.

mod access;
mod said;

pub use access::BucketAccess;
pub use said::{Said, error};
