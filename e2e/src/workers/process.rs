//! One process of the binary, and the signals that it gets.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A process of `thalweg`. It is killed with this value, and with the process that holds it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `thalweg WORDS` in a folder; what it says goes to the end of `log`.
    ///
    /// # Panics
    /// There is no binary.
    pub fn start(folder: &Path, words: &[&str], log: &Path) -> Self {
        let said = File::options().create(true).append(true).open(log).expect("a log");
        let child = crate::bound(crate::binary())
            .args(words)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("setpriv starts");
        Self { child, log: log.to_owned() }
    }

    /// What it and its predecessors said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it has ended; `None` while it runs.
    ///
    /// # Panics
    /// It is no child of this process.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// The most memory that it has had, in MiB.
    ///
    /// # Panics
    /// It does not run.
    pub fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// It does not end.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("ended");
    }

    /// SIGSTOP: it does nothing, and knows nothing of it.
    pub fn halt(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// It does not end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().expect("ended")
    }

    fn signal(&self, name: &str) {
        // A process that has ended needs none.
        let _ = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
