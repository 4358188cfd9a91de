//! What this process asks of the system's memory: small pages, and to be rid of what it no longer needs.
//!
//! The allocator keeps what was freed for whoever needs it next, and looks at it again only when it is asked for more; code
//! that planning and reading ran through stays mapped. A process that has read its input and now waits would hold both
//! for ever.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

// The functions are part of mimalloc, which `main.rs` makes the global allocator; `libmimalloc-sys` declares them only
// together with some hundred others.
unsafe extern "C" {
    fn mi_collect(force: bool);
    fn mi_option_set(option: c_int, value: c_long);
}

/// `mi_option_purge_delay`: after how many milliseconds freed memory goes back to the system.
const PURGE_DELAY: c_int = 15;
/// The allocator's own second kept the tables of a closing pane beside what they had become. Of five million keys, with
/// state, 684 MB at the peak became 578 MB with this, 524 MB with 10 ms, 490 MB with 1 ms; but each fault costs: reading
/// twenty million rows took 17,000 of them, and 30,000, 48,000 and 57,000 (a hundredth of the time).
const PURGE_DELAY_MS: c_long = 100;

static ROUND: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static DONE: Cell<u32> = const { Cell::new(0) };
}

/// Called first of all. The allocator asks for huge pages, of which a few live bytes hold two megabytes: without them two
/// million rows took no more time, a tenth less memory at the peak, and half of it when idle.
pub fn hold_little() {
    // SAFETY: changes how later page faults of this process are served, and nothing that Rust knows of.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    // SAFETY: sets a number that the allocator reads when memory is freed.
    unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
}

/// Gives back what this thread has freed, and unmaps code; other threads follow when they have nothing to do
/// ([`on_park`]).
pub fn give_back() {
    ROUND.fetch_add(1, Ordering::Relaxed);
    on_park();
    unmap_code();
}

/// Called by each worker thread before it sleeps.
pub fn on_park() {
    let round = ROUND.load(Ordering::Relaxed);
    DONE.with(|done| {
        if done.replace(round) != round {
            // SAFETY: takes no pointers, and mimalloc allows it on every thread at any time.
            unsafe { mi_collect(true) };
        }
    });
}

/// Takes the binary's code out of this process; what still runs is mapped again from the page cache as it is touched.
fn unmap_code() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Ok(binary) = std::env::current_exe() else { return };
    for (start, end) in maps.lines().filter_map(|line| code_of(line, &binary.to_string_lossy())) {
        // SAFETY: the range is a private mapping of a file that was never written to (it is not writable, and the binary
        // is position independent without relocations of its code), so its pages are the file's.
        unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// The range of a line of `/proc/PID/maps` (proc_pid_maps(5)), if it maps code of `binary`.
fn code_of(line: &str, binary: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let is_code = rest.starts_with("r-xp ") && rest.ends_with(&format!(" {binary}"));
    let (start, end) = range.split_once('-').filter(|_| is_code)?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_binary_is_unmapped() {
        let line = |rights| format!("5641-56ff {rights} 00001000 fe:00 77                 /usr/bin/thalweg");
        assert_eq!(code_of(&line("r-xp"), "/usr/bin/thalweg"), Some((0x5641, 0x56ff)));
        assert_eq!(code_of(&line("rw-p"), "/usr/bin/thalweg"), None);
        assert_eq!(code_of(&line("r-xp"), "/bin/thalweg"), None);
    }

    #[test]
    fn code_runs_on_after_it_was_unmapped() {
        give_back();
        assert!(format!("{:?}", vec![1, 2]).contains("1, 2"));
    }
}
