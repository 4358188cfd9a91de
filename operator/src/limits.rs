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
    set(pid, libc::RLIMIT_DATA, MEMORY_BYTES, MEMORY_BYTES)?;
    // Not both at once: at the first it gets a signal that nobody else sends, at the second the one that an OOM killer sends, too.
    set(pid, libc::RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS + 1)?;
    set(pid, libc::RLIMIT_CORE, 0, 0)
}

fn set(pid: u32, resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: `limit` lives over the call, and no old limit is asked for.
    let result = unsafe { libc::prlimit(pid, resource, &limit, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_has_its_limits_before_it_is_given_its_work() {
        let script = "read work; ulimit -S -t; ulimit -H -t; ulimit -H -d; ulimit -H -c";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        limit(child.id()).unwrap();
        child.stdin.take().unwrap().write_all(b"work\n").unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(said.lines().collect::<Vec<_>>(), ["5", "6", "524288", "0"]);
    }
}
