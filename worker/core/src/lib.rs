//! What every part of a worker speaks: logs and positions, chunks and rows, sources, decoders and sinks, units and
//! their commits. Decisions here are pure; whoever implements a trait does the I/O.
//!
//! | module | noun |
//! |---|---|
//! | [`position`] | where one stands in a log |
//! | [`log`] | what is read: splits of sources and outboxes of units |
//! | [`time`] | event time and watermarks |
//! | [`years`] | the years that times may have |
//! | [`progress`] | how far a unit is in a log; accepting ranges; the watermark of a unit |
//! | [`unit`] | what is owned and recovered; epochs and incarnations |
//! | [`ownership`] | who may work as a unit's owner |
//! | [`source`] | the trait that a connector implements to be read |
//! | [`decode`] | bytes to columns, and the records that could not be decoded |
//! | [`sink`] | the trait that a connector implements to be written |
//! | [`commit`] | the one atomic write of a unit |
//! | [`share`] | a share of memory, and those who hold of it |
//! | [`append_log`] | a list that several processes extend |
//! | [`address`], [`endpoint`] | which addresses connectors reach, and how |
//! | [`clock`] | time as an argument |
//! | [`error`] | errors by what the caller must do |

pub mod address;
pub mod append_log;
pub mod clock;
pub mod commit;
pub mod decode;
pub mod endpoint;
pub mod error;
pub mod log;
pub mod ownership;
pub mod position;
pub mod progress;
pub mod share;
pub mod sink;
pub mod source;
pub mod time;
pub mod unit;
pub mod years;
