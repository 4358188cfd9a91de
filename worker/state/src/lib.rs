//! Where a pipeline's state lives: one root (a folder or a bucket), in it each pipeline's incarnations, in those a
//! store a unit.
//!
//! ```text
//! ROOT/installation.json                          who made this root, where no operator said so
//! ROOT/thalweg.lock                               local folders only: one process at a time, or several with assigned units
//! ROOT/NAMESPACE/NAME/owners/…                    who has taken it over from whoever made it; the last one owns it
//! ROOT/NAMESPACE/NAME/INCARNATION/pipeline.json   who made it, versions
//!                                 statements/…    what it is kept for, plan by plan, and the numbers of stages
//!                                 lists/NAME/…    append-only lists: listings of lanes
//!                                 lookups/NAME    lookup tables as they were first read
//!                                 units/STAGE-INDEX/…  a unit's SlateDB
//! ```
//!
//! | module | noun |
//! |---|---|
//! | [`root`] | the folder or bucket, opened |
//! | [`layout`] | what a pipeline's state was made for, and how that differs from what is wanted |
//! | [`pipeline`] | one incarnation of a pipeline, opened |
//! | [`list`] | append-only lists by conditional create |
//! | [`store`] | a unit's store, durable |
//! | `housekeeping` | what keeps a store in shape beside its writer |
//! | `cache` | what is kept in memory of stores' tables |
//! | `clock` | the time that a store is told |
//! | `refusals` | what a medium says to the writes of a store |
//! | `read` | what a store holds, read by pages or ahead |
//! | [`view`] | a unit's store as it stands, read while another process writes it |
//! | [`memory`] | a unit's store for runs that keep nothing |
//! | [`settings`] | how SlateDB is set up, with the figures behind it |

mod cache;
mod clock;
mod error;
mod housekeeping;
pub mod layout;
pub mod list;
mod lock;
pub mod memory;
mod objects;
pub mod pipeline;
mod read;
mod refusals;
pub mod root;
pub mod settings;
pub mod store;
pub mod view;

pub use layout::{Expected, Notes};
pub use pipeline::PipelineState;
pub use root::{RootOptions, Sharing, StateRoot, check_url};
pub use thalweg_objects::BucketAccess;
