//! Buckets: how one is opened, and what it means when one refuses.

mod access;
mod http;
mod said;

pub use access::BucketAccess;
pub use said::{Said, error};
