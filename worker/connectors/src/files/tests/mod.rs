//! Real files in temporary folders.

mod broken;
mod buckets;
mod kit;
mod lanes;
mod listed;
mod sinks;
mod watched;
