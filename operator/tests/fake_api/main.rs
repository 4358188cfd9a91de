//! The operator against an API server in this process, which fails where a test wants it to.

mod convergence;
mod crashes;
mod deletions;
mod fake;
mod harness;
mod keys;
mod kubelet;
mod lost;
mod mutations;
mod page;
mod plans;
mod restarts;
mod scaling;
mod specs;
mod spread;
mod standby;
mod unheard;
mod upgrade;
