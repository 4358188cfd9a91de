//! Gives memory back: lists are read in pages of hundreds of objects, of which a fraction is kept.

// One of the files with `unsafe`: the standard library does not know of the allocator's pages.
#![allow(unsafe_code)]

use std::time::Duration;

/// How often memory is given back.
const PERIOD: Duration = Duration::from_secs(60);

/// Gives back what is free, for as long as it is awaited.
pub async fn give_back() {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        trim();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: takes no pointer, and may be called at any time by any thread.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
