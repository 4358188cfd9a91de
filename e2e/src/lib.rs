//! The test bed: real brokers and a real cluster.

#![expect(clippy::disallowed_methods, reason = "real processes take real time")]

pub mod cluster;
pub mod kafka;
