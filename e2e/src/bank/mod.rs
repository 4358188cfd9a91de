//! A bank whose books have to balance: what tests of many workers write, what they expect, and what they find.
//!
//! Each transfer is two rows of one partition and time, the sum of which is 0: one account is debited, the other credited.
//! `copies` passes every row on, without state; `sums` adds up each account's credits and debits in windows.
//!
//! | module | noun |
//! |---|---|
//! | [`pipelines`] | the manifests |
//! | [`traffic`] | transfers on their way into Kafka, with a few late and a few broken ones |
//! | [`commits`] | commits and changes of owners, by the progress topic |
//! | [`ledger`] | what the input holds, and what must come of it: read by Kafka's own consumer |
//! | [`verdict`] | what came of it |
//! | [`pauses`] | how long each unit was silent, as a reader sees it |

pub mod commits;
pub mod ledger;
pub mod pauses;
pub mod pipelines;
pub mod traffic;
pub mod verdict;

pub use ledger::Ledger;
pub use pauses::Watch;
pub use pipelines::{Pipelines, State};
pub use traffic::Traffic;
pub use verdict::{Account, Amiss, Verdict, judge, judge_copies, judge_sums};

/// Length of a window, in milliseconds of event time.
pub const WINDOW_MS: u64 = 5_000;
/// How far rows of one partition may be out of order, in milliseconds.
pub const DELAY_MS: u64 = 2_000;
/// Accounts of one partition: a key stays where it is, whatever partitions are added.
pub const ACCOUNTS: u64 = 5;

/// The input.
pub const EVENTS: &str = "events";
/// Where rows are passed on to.
pub const COPIES: &str = "copies";
/// Where windows go.
pub const SUMS: &str = "sums";

/// Where the dead letters of a pipeline go, which is named like its output.
pub fn dead_letters(pipeline: &str) -> String {
    format!("{pipeline}-dead")
}
