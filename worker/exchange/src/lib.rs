//! Serves the ranges of a log to the units that read it: `docs/design/0008-exchange.md`.
//!
//! The exchange is a shared read of a log. It holds nothing that must survive, and can be killed at any time: whoever
//! reads subscribes again at its own accepted position.
//!
//! | module | noun |
//! |---|---|
//! | [`cursors`] | where a log is read for whom: the main cursor, the catch-up cursor, who waits (pure) |
//! | [`credit`] | how many ranges a receiver lets come (pure) |
//! | [`hub`] | where units and readers of a process find each other |
//! | [`routes`] | who is attached to what (pure) |
//! | [`link`] | the connection to one peer |
//! | [`port`] | where peers come to |
//! | [`budget`] | the memory of a worker, dealt out as credit |
//! | [`serve`] | one log, served to its subscribers |
//! | [`subscriber`] | what a unit does with what comes of a log (pure) |
//! | [`message`] | what readers and units say to each other |
//! | [`frame`] | messages as bytes |
//! | [`channel`] | a connection between two workers |
//! | [`network`] | what carries its bytes |

mod asked;
pub mod budget;
pub mod channel;
pub mod credit;
pub mod cursors;
pub mod frame;
pub mod hub;
pub mod link;
pub mod message;
pub mod network;
pub mod pauses;
pub mod port;
pub mod routes;
pub mod serve;
pub mod subscriber;
