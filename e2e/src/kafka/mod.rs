//! A real Kafka, started and ended by tests.
//!
//! | module | noun |
//! |---|---|
//! | [`broker`] | a broker's process, its settings and its ports |
//! | [`admin`] | topics made, changed and filled |
//! | [`reader`] | what Kafka's own console consumer sees: an eye that shares no code with what is tested |

pub mod admin;
pub mod broker;
pub mod reader;

pub use admin::Filler;
pub use broker::{Kafka, Listener};
pub use reader::{Seen, Tail};
