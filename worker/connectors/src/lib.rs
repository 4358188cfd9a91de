//! Connectors: what pipelines read from and write to.

pub mod generator;
