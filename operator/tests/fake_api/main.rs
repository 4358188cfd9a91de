//! The operator against an API server in this process, which fails where a test wants it to.

mod convergence;
mod crashes;
mod definitions;
mod deletions;
mod fake;
mod harness;
mod installation;
mod keys;
mod kubelet;
mod lost;
mod maps;
mod mutations;
mod names;
mod page;
mod plans;
mod restarts;
mod scaling;
mod scenarios;
mod specs;
mod spread;
mod standby;
mod troubles;
mod unheard;
mod upgrade;
