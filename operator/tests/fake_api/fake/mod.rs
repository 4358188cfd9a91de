//! An API server in memory: lists, watches, conditional updates, server-side apply, garbage collection by owner.
//!
//! It keeps what a decision of the operator rests on: resource versions, generations, UIDs, conflicts, who owns which
//! field, what nobody can change, status as a part of its own. It fills in no defaults.

mod faults;
mod path;
mod responses;
mod server;
mod store;

pub use faults::Fault;
pub use server::{FakeApi, Load, Obstacle, Weather};
pub use store::{Key, Write};
