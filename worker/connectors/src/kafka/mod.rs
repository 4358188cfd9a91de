//! `kafka`: topics, in and out.
//!
//! | module | noun |
//! |---|---|
//! | [`config`], `login` | what a resource says, with its secrets read |
//! | [`client`] | what we ask of a client library, and the one that answers |
//! | `source`, `starts`, `reader`, `watchdog` | partitions as splits: found, started, read, watched |
//! | `logs` | what readers have found out of their logs |
//! | `portion` | how much a reader fetches at a time |
//! | `sink`, `writer`, `encode`, `fit` | rows as records, and those that are too long |
//! | `transaction` | one unit's rows, sent again where a broker gives them up |
//! | [`delivery`], `progress`, `home` | how far each unit has come, kept in the cluster that it writes to |

pub mod client;
pub mod config;
pub mod delivery;

mod encode;
mod fit;
mod home;
mod login;
mod logs;
mod patience;
#[cfg(test)]
mod played;
mod portion;
mod progress;
mod reader;
mod sink;
mod source;
mod starts;
mod transaction;
mod watchdog;
mod writer;

pub use config::{SinkConfig, SourceConfig};
pub use delivery::{About, Delivery};
pub(crate) use encode::check_rows;
pub use patience::Waits;
pub use sink::KafkaSink;
pub use source::KafkaSource;
