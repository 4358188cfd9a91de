//! From text to statements: tokens, limits, Flink's syntax, what is refused, and rewrites to what the planner knows.

mod dialect;
mod limits;
mod refuse;
mod rewrite;
mod script;
mod window_call;

pub(crate) use refuse::Marks;
pub(crate) use rewrite::{rewrite, table};
pub(crate) use script::{Statement, StatementKind, parse};
pub(crate) use window_call::{WINDOW_PREFIX, WindowCall, WindowData};
