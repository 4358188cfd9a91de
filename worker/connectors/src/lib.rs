//! Connectors: what pipelines read from and write to.

pub mod blackhole;
mod blocking;
pub mod files;
pub mod stdout;
