//! Workers of one pipeline that take units from each other, on real Kafka.

#![expect(clippy::disallowed_methods, reason = "real processes take real time")]

mod bed;
mod handoff;
mod leaving;
mod missing;
mod outage;
mod progress;
mod recovery;
mod recreated;
mod refused;
mod stalled;
mod zombie;
