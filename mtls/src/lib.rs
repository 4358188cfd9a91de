//! Mutual TLS between processes that know each other by their keys: `docs/design/0013-reports-over-mtls.md`.
//!
//! | module | noun |
//! |---|---|
//! | [`identity`] | a process's key, and those that it knows by theirs |
//! | [`client`] | who asks over HTTP, on connections that are kept |
//! | [`server`] | who answers over HTTP, and nobody else |

pub mod client;
pub mod identity;
pub mod server;
