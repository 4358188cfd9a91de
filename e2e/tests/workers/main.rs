//! Workers of one pipeline that take units from each other, on real Kafka.

#![expect(clippy::disallowed_methods, reason = "real processes take real time")]

mod bed;
mod handoff;
mod recovery;
mod refused;
mod zombie;
