//! A folder with manifests, and the binary run in it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A folder, gone when dropped.
pub struct Place {
    folder: TempDir,
}

/// A run of the binary, killed when dropped.
pub struct Run {
    child: Option<Child>,
    log: PathBuf,
}

impl Place {
    /// A folder that holds one manifest, `p.yaml`.
    pub fn with(manifest: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        place.write("p.yaml", manifest);
        place
    }

    /// Its path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    /// Starts `thalweg run p.yaml` with more words.
    pub fn run(&self, words: &[&str]) -> Run {
        self.run_as(words, &[])
    }

    /// [`Place::run`], with variables of its environment.
    pub fn run_as(&self, words: &[&str], variables: &[(&str, &str)]) -> Run {
        let log = self.path("stderr");
        let stderr = std::fs::File::create(&log).expect("a file");
        let child = Command::new(thalweg_e2e::binary())
            .args(["run", "p.yaml"])
            .args(words)
            .envs(variables.iter().copied())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("the binary starts");
        Run { child: Some(child), log }
    }
}

impl Run {
    /// What it wrote for people.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().expect("running").try_wait().expect("a child").is_some()
    }

    /// Waits until something is so, while it runs.
    pub fn until<T>(&mut self, what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
        thalweg_e2e::wait_for(what, limit, || {
            assert!(!self.has_ended(), "no {what}, for it ended: {}", self.said());
            look()
        })
    }

    /// SIGKILL. It must have been running.
    pub fn kill(mut self) {
        assert!(!self.has_ended(), "it ended by itself: {}", self.said());
        let mut child = self.child.take().expect("running");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    /// SIGTERM, upon which it must end well.
    pub fn stop(mut self) {
        assert!(!self.has_ended(), "it ended by itself: {}", self.said());
        let mut child = self.child.take().expect("running");
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "no process {pid}");
        let ended = child.wait().expect("ended");
        assert!(ended.success(), "{ended}: {}", self.said());
    }

    /// Waits until it fails; what it said.
    pub fn fails(mut self, limit: Duration) -> String {
        let started = Instant::now();
        while !self.has_ended() {
            assert!(started.elapsed() < limit, "it still runs after {limit:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut child = self.child.take().expect("running");
        assert!(!child.wait().expect("ended").success(), "it ended well: {}", self.said());
        self.said()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
