//! What this process asks of the system's memory: small pages, and to be rid of what it no longer needs.
//!
//! The allocator is jemalloc. Rows are decoded on one thread, kept on a second and freed on a third: an allocator whose
//! threads own their memory (mimalloc) holds what each of them needed at its peak. Ten million bids, eight Parquet files to
//! Parquet: 470 MB at the peak with it, 257 MB with jemalloc; to a blackhole 370 and 150 MB, in the same CPU time.

#![allow(unsafe_code)]

use std::ffi::c_void;

/// jemalloc's settings (its manual: TUNING), read before `main`: what was freed goes back to the system within half a second,
/// by a thread that does nothing else, so that a process which only waits gives it back too. With 100 ms peaks are a tenth
/// lower and all takes a twentieth more time; with jemalloc's own ten seconds peaks are a fifth higher. An arena for each core in
/// place of four: what one thread gave back the next one takes. The bids above, with state: 272–280 MB for 289–301, of which
/// 105 are in use; the same processor time.
// SAFETY: the name is the one that jemalloc looks up, and its first word points to bytes that end in a zero.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static SETTINGS: &[u8; 75] = b"background_thread:true,narenas_ratio:1,dirty_decay_ms:500,muzzy_decay_ms:0\0";

/// Called first of all. The kernel may put huge pages where the allocator asked for small ones, and a few live bytes hold two
/// megabytes then: without them two million rows took no more time, and half the memory when idle.
pub fn hold_little() {
    // SAFETY: changes how later page faults of this process are served, and nothing that Rust knows of.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Takes the binary's code out of this process: planning and reading ran through most of it, and it would stay mapped. What
/// still runs is mapped again from the page cache as it is touched.
pub fn unmap_code() {
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
        unmap_code();
        assert!(format!("{:?}", vec![1, 2]).contains("1, 2"));
    }
}
