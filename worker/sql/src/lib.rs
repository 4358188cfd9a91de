//! SQL text in, stages of pure functions over batches out.
//!
//! [`plan`] turns the text of a pipeline into a [`stages::PlannedPipeline`]. A runtime moves batches through it: readers
//! apply [`transform::Transform`]s and fold rows into partial aggregates, units merge those and close windows. Nothing
//! here reads a clock, a file or a socket, and DataFusion is touched in this crate only.
//!
//! ```text
//! text ── text/ (Flink's syntax, limits, refusals, rewrites) ──▶ statements
//!      ── planner/ (names, types; DataFusion's logical plan) ──▶ a tree of rows and groups
//!      ── lower/ (cut at each GROUP BY) ──▶ stages/ ── explain ──▶ text for people
//! ```

pub mod catalog;
pub mod explain;
pub mod fingerprint;
mod functions;
mod lower;
mod planner;
mod problem;
pub mod stages;
mod text;
pub mod transform;
pub mod window;

pub use explain::explain;
pub use functions::load as load_functions;
pub use planner::plan;
pub use problem::SqlProblem;
