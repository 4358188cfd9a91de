//! The operator: turns the three resources into running workers.
//!
//! ```text
//! resource ─ observe ─▶ validate ─▶ plan ─▶ apply ─▶ status
//! ```
//! Only observe, apply and status do I/O; what is decided in between is in `thalweg-operator-plan`.
//!
//! | To find | look in |
//! |---|---|
//! | the steps | [`reconcile`] |
//! | the loop, watches and caches | [`controller`], [`world`], [`watch`] |
//! | all reads; all writes | [`observe`]; [`apply`], [`status`], [`verdicts`] |
//! | deletion; values of the chart as settings | [`finalize`]; [`settings`] |
//! | reports of workers, silent Leases | [`reports`], [`silence`] |
//! | SQL in a child process with limits | [`checks`] |
//! | what is remembered for the number of workers | [`scaling`] |
//! | definitions of the cluster that are of an older version | [`definitions`] |
//! | leader election, and what a replica does until it leads | [`leader`], [`replica`] |
//! | the page that shows pipelines live | [`page`] |
//! | every metric, and what counts requests and looks that wait | [`metrics`], [`requests`], [`queue`] |
//! | for tests: a process that ends at its writes | [`kills`] |

pub mod apply;
pub mod backoff;
pub mod checks;
pub mod context;
pub mod controller;
pub mod definitions;
pub mod each;
pub mod error;
pub mod finalize;
pub mod installation;
pub mod kept;
pub mod kills;
pub mod leader;
pub mod limits;
pub mod metrics;
pub mod observe;
pub mod overlay;
pub mod page;
pub mod pods;
pub mod queue;
pub mod reconcile;
pub mod replica;
pub mod reports;
pub mod requests;
pub mod rollouts;
pub mod scaling;
pub mod server;
pub mod settings;
pub mod silence;
pub mod status;
pub mod tally;
pub mod usage;
pub mod verdicts;
pub mod watch;
pub mod world;
