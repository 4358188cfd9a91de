//! Workers of one pipeline that take units from each other, on real Kafka.

mod bed;
mod handoff;
mod recovery;
mod zombie;
