//! From manifests to a [`crate::runtime::Job`].

mod build;
mod copied;
mod named;
mod outputs;
mod planned;
mod secrets;
mod trial;
mod types;

pub use build::{Roots, Settings, bucket_access, build};
pub use outputs::Outputs;
pub use planned::{Found, Planned, plan_declared, plan_manifests, plan_text};
pub use secrets::Mounted;
