//! Workers and their coordinator as processes of this machine, and what happens to them.
//!
//! | module | noun |
//! |---|---|
//! | [`process`] | one process of the binary, and the signals that it gets |
//! | [`fleet`] | the workers of some pipelines, and who coordinates them |
//! | [`proxy`] | what stands between workers and the store of their state, and what it does to them |
//! | [`network`] | addresses that are cut off from the others |
//! | [`told`] | commits, as workers tell them in their logs |
//! | [`stops`] | how long each unit committed nothing |

pub mod fleet;
pub mod network;
pub mod process;
pub mod proxy;
pub mod stops;
pub mod told;

pub use fleet::{Fleet, Unit, Worker};
pub use network::CutOff;
pub use process::Process;
pub use proxy::{Fault, Proxy};
