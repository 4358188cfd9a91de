//! Connectors: what pipelines read from and write to.

pub mod blackhole;
mod blocking;
pub mod files;
pub mod formats;
pub mod generator;
pub mod registry;
pub mod stdout;
