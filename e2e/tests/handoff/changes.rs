//! What commits say of changes of owner, and of the rhythm between them.

use std::time::{SystemTime, UNIX_EPOCH};

use thalweg_e2e::workers::told::Commit;

/// A change of owner.
pub struct Handoff {
    /// From the last commit of the owner before to the first one of the new owner, in milliseconds.
    pub gap_ms: i64,
    /// What the unit's windows held then.
    pub state_bytes: u64,
}

/// The changes of owner in a time among the commits of one unit.
pub fn handoffs(commits: &[&Commit], from: SystemTime, to: SystemTime) -> Vec<Handoff> {
    let (from, to) = (millis(from), millis(to));
    let within = commits.windows(2).filter(|pair| pair[1].at_ms >= from && pair[1].at_ms <= to);
    let changed = within.filter(|pair| pair[1].epoch > pair[0].epoch);
    changed.map(|pair| Handoff { gap_ms: pair[1].at_ms - pair[0].at_ms, state_bytes: pair[0].state_bytes }).collect()
}

/// The gaps between commits of one unit in a time, in milliseconds.
pub fn rhythm(commits: &[&Commit], from: SystemTime, to: SystemTime) -> Vec<i64> {
    let (from, to) = (millis(from), millis(to));
    let within = commits.windows(2).filter(|pair| pair[0].at_ms >= from && pair[1].at_ms <= to);
    within.map(|pair| pair[1].at_ms - pair[0].at_ms).collect()
}

/// Milliseconds since 1970.
pub fn millis(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(UNIX_EPOCH).expect("after 1970").as_millis()).expect("not so long")
}
