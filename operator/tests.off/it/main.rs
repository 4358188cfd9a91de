//! The operator against an API server in this process, which fails where a test wants it to.

mod crashes;
mod convergence;
mod fake;
mod harness;
