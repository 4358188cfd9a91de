//! How a pipeline would be scaled on a load of the past: the autoscaler's own code against a fluid model of workers.
//!
//! ```text
//! Trace (arrivals per split and second) ──▶ Machine (workers, backlogs, starts, moves, stalls) ◀──▶ Rule
//!                                                └──▶ Outcome (time in lag, worker-hours, moves, decisions)
//! ```
//!
//! | | |
//! |---|---|
//! | `trace.rs`, `kinds.rs` | a load: read from CSV, or made from a seed |
//! | `machine.rs` | the model of workers |
//! | `rule.rs`, `ours.rs`, `peers/` | who decides: Thalweg, and other autoscalers by their published formulas |
//! | `clairvoyant.rs` | schedules of somebody who knows what will come |
//! | `compare.rs` | all of them on one load, and the table of `docs/design/0011-autoscaler.md` |
//! | `picture.rs` | a chart for the terminal, and one as SVG |
//!
//! What the model leaves out is listed in that document.

mod clairvoyant;
mod compare;
mod kinds;
mod machine;
mod ours;
mod peers;
mod picture;
mod rule;
mod settings;
mod trace;

pub use compare::{Comparison, Row, compare, table};
pub use kinds::{Kind, made};
pub use machine::{Decision, Outcome, Second, simulate};
pub use ours::Ours;
pub use picture::{svg, terminal};
pub use settings::{Settings, Stall};
pub use trace::{Trace, TraceError};
