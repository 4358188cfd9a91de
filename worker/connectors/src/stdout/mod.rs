//! `stdout`: rows for people, as an aligned table or as JSON lines.

mod sink;
mod table;

pub use sink::{StdoutSink, Style};
