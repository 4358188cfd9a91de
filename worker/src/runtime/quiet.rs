//! What a pipeline does when nothing comes for a while: it lets go of its code.

use std::convert::Infallible;
use std::time::Duration;

use super::counters::Counters;
use crate::memory;

/// How often it is looked whether anything came.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks without anything new after which that is done: soon, and when stores were compacted.
const QUIET_LOOKS: [u32; 2] = [1, 16];

/// Unmaps code after each time in which rows came.
pub async fn unmap_when_quiet(counters: &Counters) -> Infallible {
    let (mut seen, mut quiet) = (counters.activity(), 0);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = counters.activity();
        quiet = if now == seen { u32::saturating_add(quiet, 1) } else { 0 };
        seen = now;
        if QUIET_LOOKS.contains(&quiet) {
            memory::unmap_code();
        }
    }
}
