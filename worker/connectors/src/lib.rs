//! Connectors: what pipelines read from and write to.
//!
//! | module | noun |
//! |---|---|
//! | [`registry`] | the one list of connectors |
//! | [`files`] | local paths, globs and S3, in and out |
//! | [`generator`] | made-up records |
//! | [`kafka`] | topics, in and out |
//! | [`stdout`], [`blackhole`] | where rows end that nobody keeps |
//! | [`formats`] | bytes to columns and back |

pub mod blackhole;
mod blocking;
pub mod files;
pub mod formats;
pub mod generator;
pub mod kafka;
mod outage;
#[cfg(test)]
mod paused;
pub mod registry;
pub mod stdout;
