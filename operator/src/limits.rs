//! Limits of a child process, set by its parent.

// One of the files with `unsafe`: the standard library has no `prlimit`.
#![allow(unsafe_code)]

use std::io;

/// Most memory that a child may ask for, in bytes.
pub const MEMORY_BYTES: u64 = 512 << 20;
/// Most CPU time that a child may use, in seconds.
pub const CPU_SECONDS: u64 = 5;

/// Limits the memory and CPU time of a process of ours that has not been given its work yet.
///
/// # Errors
/// There is no such process, or it is not ours.
pub fn limit(pid: u32) -> io::Result<()> {
    // Data: what a process asks for and may write to. Its address space is no measure: allocators reserve far more.
    set(pid, libc::RLIMIT_DATA, MEMORY_BYTES)?;
    set(pid, libc::RLIMIT_CPU, CPU_SECONDS)?;
    set(pid, libc::RLIMIT_CORE, 0)
}

fn set(pid: u32, resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: `limit` lives over the call, and no old limit is asked for.
    let result = unsafe { libc::prlimit(pid, resource, &limit, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
