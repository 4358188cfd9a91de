//! Who may work as a unit's owner, and what follows from it: the rules of
//! `docs/design/0007-ownership-model.md`, each a pure function. Workers call them; `tests/model` explores them.
//!
//! | module | decides |
//! |---|---|
//! | [`assignment`] | what the control plane publishes: handoff, takeover, above a stored epoch |
//! | [`tenure`] | what a worker does about a unit: ask, open, wait, release; after being fenced; when it is asked |
//! | [`acquire`] | whether the marker in a unit's state lets a worker take it |
//! | [`claim`] | whether a pipeline may use the state that it finds, and its workers open units of it still |
//! | [`delivery`] | where a sink's writer goes on, and what a refused write means |
//! | [`restart`] | whether a plan goes on with the newest incarnation or begins another |
//! | [`replay`] | where logs are read from, when a shard's children start, how far a log may be trimmed |

pub mod acquire;
pub mod assignment;
pub mod claim;
pub mod delivery;
pub mod replay;
pub mod restart;
pub mod tenure;

pub use acquire::{Acquire, Owner, Stored, Superseded, acquire, self_assigned};
