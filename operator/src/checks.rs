//! Plans of SQL, each by a child process with limits: text of a stranger never reaches a planner inside the operator.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thalweg_operator_plan::check::{Checked, Stage, parse};
use thalweg_operator_plan::resources::PlanText;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::error::{Error, Result};
use crate::limits;
use crate::metrics::Metrics;

/// Most time that a check may take by the clock. What limits its work is CPU time: a busy node is no fault of the SQL.
const TIME: Duration = Duration::from_secs(30);
/// Checks at once: each may use a core.
const AT_ONCE: usize = 2;
/// Answers that are remembered; beyond, all are forgotten, which costs some milliseconds a pipeline.
const REMEMBERED: usize = 10_000;

/// Plans SQL, once a plan hash.
pub struct Checks {
    binary: PathBuf,
    answers: Mutex<HashMap<String, Arc<Checked>>>,
    /// Stages of plans that were found valid in every respect.
    valid: Mutex<HashMap<String, Vec<Stage>>>,
    turns: Semaphore,
    metrics: Arc<Metrics>,
}

impl Checks {
    /// Checks by a `thalweg` binary.
    pub fn new(binary: PathBuf, metrics: Arc<Metrics>) -> Self {
        Self { binary, answers: Mutex::default(), valid: Mutex::default(), turns: Semaphore::new(AT_ONCE), metrics }
    }

    /// What is known of a plan already.
    pub fn known(&self, hash: &str) -> Option<Arc<Checked>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// Remembers what another process found out about a plan.
    pub fn remember(&self, hash: &str, checked: Checked) -> Arc<Checked> {
        let checked = Arc::new(checked);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= REMEMBERED {
            answers.clear();
        }
        answers.insert(hash.to_owned(), Arc::clone(&checked));
        checked
    }

    /// The stages of a plan that was found valid in every respect.
    pub fn valid(&self, hash: &str) -> Option<Vec<Stage>> {
        self.valid.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// A plan was found valid in every respect.
    pub fn found_valid(&self, hash: &str, stages: Vec<Stage>) {
        let mut valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        if valid.len() >= REMEMBERED {
            valid.clear();
        }
        valid.insert(hash.to_owned(), stages);
    }

    /// The stages of a plan, or its problems.
    ///
    /// # Errors
    /// The binary cannot be run, fails, is killed by somebody else, or answers what is not understood. That says nothing of the SQL,
    /// and is not remembered.
    pub async fn check(&self, plan: &PlanText) -> Result<Arc<Checked>> {
        let turn = self.turns.acquire().await.map_err(|error| Error::Internal(error.to_string()))?;
        if let Some(known) = self.known(&plan.hash) {
            return Ok(known);
        }
        let started = Instant::now();
        let checked = self.run(plan).await;
        drop(turn);
        let result = match &checked {
            Ok(Checked::Stages(_)) => "Stages",
            Ok(Checked::Problems(_)) => "Problems",
            Ok(Checked::OverLimit(_)) => "OverLimit",
            Err(_) => "Failed",
        };
        self.metrics.check_seconds.with_label_values(&[result]).observe(started.elapsed().as_secs_f64());
        Ok(self.remember(&plan.hash, checked?))
    }

    async fn run(&self, plan: &PlanText) -> Result<Checked> {
        match timeout(TIME, self.output(plan)).await {
            Err(_) => Err(self.error(format!("it gave no answer within {} s", TIME.as_secs()))),
            Ok(output) => self.judge(&output.map_err(|error| self.error(format!("running it: {error}")))?),
        }
    }

    /// Runs the child. It is limited before it is given anything to work on, and ended if nobody waits for it.
    async fn output(&self, plan: &PlanText) -> std::io::Result<Output> {
        let mut child = Command::new(&self.binary)
            .args(["check", "--offline", "--output", "json", "/dev/stdin"])
            // Its configuration is none of ours: no credential reaches it.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(pid) = child.id() {
            limits::limit(pid)?;
        }
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A child that ends early says why itself.
                let _ = stdin.write_all(plan.resources.as_bytes()).await;
            }
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        output
    }

    fn judge(&self, output: &Output) -> Result<Checked> {
        match (output.status.code(), output.status.signal()) {
            (Some(0 | 2), _) => parse(&output.stdout).map_err(|what| self.error(format!("its answer: {what}"))),
            (Some(code), _) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(self.error(format!("it ended with {code}: {}", said.trim())))
            }
            (None, Some(libc::SIGXCPU)) => {
                Ok(Checked::OverLimit(format!("it took more than {} s of a core", limits::CPU_SECONDS)))
            }
            // Not by its own limits: whoever did it had reasons of their own, such as the memory of a whole pod.
            (None, Some(libc::SIGKILL | libc::SIGTERM)) => Err(self.error("it was killed".to_owned())),
            // Ended by itself: what a process does that asks for too much.
            (None, _) => Ok(Checked::OverLimit(format!("it needed more than {} MiB", limits::MEMORY_BYTES >> 20))),
        }
    }

    fn error(&self, what: String) -> Error {
        Error::Check { binary: self.binary.display().to_string(), what }
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn what_ends_a_check_from_outside_says_nothing_of_the_sql() {
        let checks = Checks::new("thalweg".into(), Arc::new(Metrics::new().unwrap()));
        let judged = |raw| {
            let status = ExitStatus::from_raw(raw);
            checks.judge(&Output { status, stdout: Vec::new(), stderr: b"panicked".to_vec() })
        };
        for over in [libc::SIGXCPU, libc::SIGABRT, libc::SIGSEGV] {
            assert!(matches!(judged(over), Ok(Checked::OverLimit(_))), "{over}");
        }
        for outside in [libc::SIGKILL, libc::SIGTERM, 101 << 8] {
            assert!(judged(outside).is_err(), "{outside}");
        }
    }
}
