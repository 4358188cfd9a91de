//! Decides what a pipeline needs in a cluster: pure functions, neither a runtime nor a client.
//!
//! ```text
//! Written ── draft ──▶ Draft ── validate (with what `thalweg check` said) ──▶ ValidatedPipeline
//! ValidatedPipeline + Observed ── plan ──▶ Plan ── build ──▶ Objects
//!                                            └── status ──▶ PipelineStatus
//! ```
//!
//! | A newcomer asks | and finds it in |
//! |---|---|
//! | What is the rebalance rule? | [`assignment`]; its laws in `tests/assignment.rs` |
//! | How many workers does it need? | [`autoscale`]; its laws in `tests/autoscale.rs` |
//! | What does a unit weigh? | [`costs`] |
//! | When is that decided, and what becomes of it? | [`scaling`]; which moves are the load's: `settled.rs` |
//! | What if a node falls silent? | [`plan`]: `lost.rs` |
//! | Who reads which split, and how many units are there? | [`plan`]: `splits.rs`, `units.rs`, `fleet.rs` |
//! | What gets created in my cluster? | [`objects`]; `tests/snapshots` shows it |
//! | Why is it not Ready? | [`status`]: `conditions.rs`; tests in `tests/decisions.rs`, `asleep.rs` and `unheard.rs` |
//! | What if an object is of another version? | [`unreadable`] |
//! | What is shown of it as it is now? | [`view`] |
//! | What starts from scratch, and what goes on? | [`restart`], [`statements`], [`carried`] |
//! | What are things called? | [`names`] |

pub mod applied;
pub mod assignment;
pub mod autoscale;
pub mod carried;
pub mod check;
pub mod costs;
mod fleet;
pub mod held;
mod lost;
pub mod mounts;
pub mod names;
pub mod objects;
pub mod observed;
pub mod plan;
pub mod problem;
pub mod references;
pub mod removal;
pub mod resources;
pub mod restart;
pub mod rivals;
pub mod rollout;
pub mod scaling;
mod settled;
mod splits;
pub mod statements;
pub mod status;
mod units;
pub mod unreadable;
pub mod validate;
pub mod verdict;
pub mod view;
