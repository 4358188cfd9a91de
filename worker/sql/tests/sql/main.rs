//! The planner from outside: golden rows, golden plans, golden refusals, and DataFusion's batch engine as an oracle.

mod fuzz;
mod golden_rows;
mod oracle;
mod plans;
mod refusals;
mod support;
