//! Placeholder.

pub mod formats;
