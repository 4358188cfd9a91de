//! SQL text in, stages of pure functions over batches out.
//!
//! [`plan`] turns the text of a pipeline into a [`stages::PlannedPipeline`]. A runtime moves batches through it: readers
//! apply [`transform::Transform`]s and fold rows into partial aggregates, units merge those and close windows. Nothing
//! here reads a clock, a file or a socket, and DataFusion is touched in this crate only.

pub mod catalog;
pub mod stages;
pub mod transform;
pub mod window;
