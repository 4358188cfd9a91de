//! Plans of SQL, each by a child process with limits: text of a stranger never reaches a planner inside the operator.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use thalweg_operator_plan::check::{Checked, Stage, parse};
use thalweg_operator_plan::resources::PlanText;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout};

use crate::error::{Error, Result};
use crate::limits;
use crate::metrics::Metrics;

/// Most time that a check may take by the clock. What limits its work is CPU time: a busy node is no fault of the SQL.
const TIME: Duration = Duration::from_secs(30);
/// The same where others wait for what comes after it.
const TIME_TOGETHER: Duration = Duration::from_secs(3);
/// Children at once: each may use a core.
const AT_ONCE: usize = 2;
/// Plans that a child is given at the most. It has the CPU time and the memory that a single one may take, whatever it is given:
/// ordinary plans take hundredths of a second each, and one that takes more than its share is checked again alone.
const TOGETHER: usize = 32;
/// Most that a child may answer, and what is heard of its complaints.
const ANSWER_BYTES: u64 = 16 << 20;
const SAID_BYTES: u64 = 64 << 10;
/// Answers that are remembered; beyond, all are forgotten, which costs some milliseconds a pipeline.
const REMEMBERED: usize = 10_000;

/// A plan that is to be checked, and who has asked.
struct Waiting {
    plan: PlanText,
    asked: oneshot::Sender<Result<Arc<Checked>>>,
}

/// Plans SQL, once a plan hash.
pub struct Checks {
    binary: PathBuf,
    waiting: Mutex<VecDeque<Waiting>>,
    answers: Mutex<HashMap<String, Arc<Checked>>>,
    /// Stages of plans that were found valid in every respect.
    valid: Mutex<HashMap<String, Vec<Stage>>>,
    turns: Semaphore,
    metrics: Arc<Metrics>,
}

impl Checks {
    /// Checks by a `thalweg` binary.
    pub fn new(binary: PathBuf, metrics: Arc<Metrics>) -> Self {
        Self {
            binary,
            waiting: Mutex::default(),
            answers: Mutex::default(),
            valid: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            metrics,
        }
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

    /// The stages of a plan, or its problems. Plans that wait at the same time are checked together.
    ///
    /// # Errors
    /// The binary cannot be run, fails, is killed by somebody else, or answers what is not understood. That says nothing of the SQL,
    /// and is not remembered.
    pub async fn check(&self, plan: &PlanText) -> Result<Arc<Checked>> {
        if let Some(known) = self.known(&plan.hash) {
            return Ok(known);
        }
        let (asked, mut answer) = oneshot::channel();
        self.waiting().push_back(Waiting { plan: plan.clone(), asked });
        let given_up = |_: RecvError| Err(self.error("whoever had begun it has ended".to_owned()));
        let turn = tokio::select! {
            biased;
            answer = &mut answer => return answer.unwrap_or_else(given_up),
            turn = self.turns.acquire() => turn.map_err(|error| Error::Internal(error.to_string()))?,
        };
        // Those that came before it are checked first, or with it.
        while self.waiting().iter().any(|waiting| waiting.plan.hash == plan.hash) {
            let next = self.next();
            self.check_all(next).await;
        }
        drop(turn);
        answer.await.unwrap_or_else(given_up)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes as many of those that wait as a child is given.
    fn next(&self) -> VecDeque<Waiting> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(TOGETHER);
        waiting.drain(..count).collect()
    }

    /// Answers all of them: by one child, and those that it does not come to by one each.
    async fn check_all(&self, mut waiting: VecDeque<Waiting>) {
        if waiting.len() > 1 {
            // How it ends says nothing of a plan that it has not come to, and little of the one that it ended at: the memory and
            // the time of those before that one are in it.
            let _ = self.run(&mut waiting, TIME_TOGETHER).await;
            // The one that it ended at waits for the others, not they for it.
            let ended_at = waiting.pop_front();
            waiting.extend(ended_at);
        }
        for one in waiting {
            let (mut alone, started) = (VecDeque::from([one]), Instant::now());
            let ended = self.run(&mut alone, TIME).await;
            if let Some(one) = alone.pop_front() {
                let checked = ended.and_then(|(status, said)| self.judge(status, &said));
                self.answer(one, checked, started.elapsed());
            }
        }
    }

    /// Has a child check some plans one after the other, and answers each as it is told. Left over are those that it has not
    /// answered; with it comes how it ended, and what it said then.
    async fn run(&self, waiting: &mut VecDeque<Waiting>, time: Duration) -> Result<(ExitStatus, Vec<u8>)> {
        let line = |one: &Waiting| format!("{}\n", Value::from(one.plan.resources.as_str()));
        let lines = waiting.iter().map(line).collect::<Vec<_>>().concat();
        let mut child = self.start().map_err(|error| self.not_run(&error))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A child that ends early says why itself.
                let _ = stdin.write_all(lines.as_bytes()).await;
            }
            Ok::<_, Error>(())
        };
        let hear = async {
            let mut said = Vec::new();
            if let Some(stderr) = stderr {
                stderr.take(SAID_BYTES).read_to_end(&mut said).await.map_err(|error| self.not_run(&error))?;
            }
            Ok::<_, Error>(said)
        };
        let answers = async {
            let Some(stdout) = stdout else { return Ok::<_, Error>(()) };
            let mut answers = BufReader::new(stdout.take(ANSWER_BYTES)).lines();
            let mut since = Instant::now();
            while let Some(answer) = self.in_time(time, answers.next_line()).await? {
                let checked = parse(answer.as_bytes()).map_err(|what| self.error(format!("its answer: {what}")))?;
                let Some(one) = waiting.pop_front() else {
                    return Err(self.error("it answers what nobody has asked".to_owned()));
                };
                self.answer(one, Ok(checked), since.elapsed());
                since = Instant::now();
            }
            Ok(())
        };
        let ((), said, ()) = tokio::try_join!(feed, hear, answers)?;
        Ok((self.in_time(time, child.wait()).await?, said))
    }

    /// Starts a child. It is limited before it is given anything to work on, and ended if nobody waits for it.
    fn start(&self) -> io::Result<Child> {
        let child = Command::new(&self.binary)
            .args(["check", "--offline", "--output", "json", "--lines", "/dev/stdin"])
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
        Ok(child)
    }

    /// What a child does, which has so much time for each thing.
    async fn in_time<T>(&self, time: Duration, does: impl Future<Output = io::Result<T>>) -> Result<T> {
        match timeout(time, does).await {
            Err(_) => Err(self.error(format!("it gave no answer within {} s", time.as_secs()))),
            Ok(done) => done.map_err(|error| self.not_run(&error)),
        }
    }

    /// Answers who has asked; what says something of the SQL is remembered.
    fn answer(&self, one: Waiting, checked: Result<Checked>, took: Duration) {
        let result = match &checked {
            Ok(Checked::Stages(_)) => "Stages",
            Ok(Checked::Problems(_)) => "Problems",
            Ok(Checked::OverLimit(_)) => "OverLimit",
            Err(_) => "Failed",
        };
        self.metrics.check_seconds.with_label_values(&[result]).observe(took.as_secs_f64());
        // Whoever has asked may be gone.
        let _ = one.asked.send(checked.map(|checked| self.remember(&one.plan.hash, checked)));
    }

    /// What the end of a child says of the one plan that it was given and has not answered.
    fn judge(&self, status: ExitStatus, said: &[u8]) -> Result<Checked> {
        match (status.code(), status.signal()) {
            (Some(code), _) => {
                let said = String::from_utf8_lossy(said);
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

    fn not_run(&self, error: &io::Error) -> Error {
        self.error(format!("running it: {error}"))
    }

    fn error(&self, what: String) -> Error {
        Error::Check { binary: self.binary.display().to_string(), what }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process;

    use super::*;

    const RIGHT: &str = r#"{"problems": [], "pipelines": [{"stages": []}]}"#;

    #[test]
    fn what_ends_a_check_from_outside_says_nothing_of_the_sql() {
        let checks = Checks::new("thalweg".into(), Arc::new(Metrics::new().unwrap()));
        let judged = |raw| checks.judge(ExitStatus::from_raw(raw), b"panicked");
        for over in [libc::SIGXCPU, libc::SIGABRT, libc::SIGSEGV] {
            assert!(matches!(judged(over), Ok(Checked::OverLimit(_))), "{over}");
        }
        for outside in [libc::SIGKILL, libc::SIGTERM, 101 << 8] {
            assert!(judged(outside).is_err(), "{outside}");
        }
    }

    /// Checks by a script that answers each line, unless it says `bad`: that ends it. It notes that it was started.
    fn answering(folder: &Path, end: &str) -> Checks {
        let starts = folder.join("starts");
        let script = format!(
            "#!/bin/sh\necho start >> {starts}\nwhile read -r line; do\ncase \"$line\" in *bad*) {end};; esac\n\
             echo '{RIGHT}'\ndone\n",
            starts = starts.display(),
        );
        let binary = folder.join("thalweg");
        // By another process: none that is started here meanwhile has it open for writing, in which case it could not be run.
        let write = ["-c", r#"printf '%s' "$1" > "$2" && chmod +x "$2""#, "sh", &script, binary.to_str().unwrap()];
        assert!(process::Command::new("sh").args(write).status().unwrap().success());
        Checks::new(binary, Arc::new(Metrics::new().unwrap()))
    }

    fn starts(folder: &Path) -> usize {
        std::fs::read_to_string(folder.join("starts")).unwrap().lines().count()
    }

    fn plan(name: &str) -> PlanText {
        PlanText { hash: name.to_owned(), resources: format!("name: {name}\n---\n"), restart: None }
    }

    fn is_right(checked: &Result<Arc<Checked>>) -> bool {
        matches!(checked.as_deref(), Ok(Checked::Stages(_)))
    }

    #[tokio::test]
    async fn plans_that_wait_are_checked_by_one_child_and_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let checks = answering(folder.path(), "exit 1");
        let turns = checks.turns.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
        let plans: Vec<_> = (0..TOGETHER).map(|at| plan(&format!("p{at}"))).collect();
        let all = futures::future::join_all(plans.iter().map(|plan| checks.check(plan)));
        let let_go = async {
            while checks.waiting().len() < TOGETHER {
                tokio::task::yield_now().await;
            }
            drop(turns);
        };
        let (answers, ()) = tokio::join!(all, let_go);
        assert!(answers.iter().all(is_right), "{answers:?}");
        assert_eq!(starts(folder.path()), 1);
        assert!(is_right(&checks.check(&plans[3]).await));
        assert_eq!(starts(folder.path()), 1, "it is remembered");
        let counted = format!("thalweg_operator_check_seconds_count{{result=\"Stages\"}} {TOGETHER}");
        assert!(checks.metrics.text().contains(&counted), "{}", checks.metrics.text());
    }

    #[tokio::test]
    async fn a_plan_that_ends_the_child_spoils_no_other() {
        for (end, is_over) in
            [("kill -ABRT $$", true), ("kill -XCPU $$", true), ("exit 101", false), ("kill -KILL $$", false)]
        {
            let folder = tempfile::tempdir().unwrap();
            let checks = answering(folder.path(), end);
            let (mut waiting, mut answers) = (VecDeque::new(), Vec::new());
            for name in ["a", "bad", "c", "d"] {
                let (asked, answer) = oneshot::channel();
                waiting.push_back(Waiting { plan: plan(name), asked });
                answers.push(answer);
            }
            checks.check_all(waiting).await;
            let answers = futures::future::join_all(answers).await;
            let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
            assert!([0, 2, 3].into_iter().all(|at| is_right(&answers[at])), "{end}: {answers:?}");
            match is_over {
                true => assert!(matches!(answers[1].as_deref(), Ok(Checked::OverLimit(_))), "{end}: {answers:?}"),
                false => assert!(answers[1].is_err(), "{end}: {answers:?}"),
            }
            assert_eq!(checks.known("bad").is_some(), is_over, "{end}: what says nothing of the SQL is not remembered");
            // All together, and the three that were left by one each.
            assert_eq!(starts(folder.path()), 4, "{end}");
        }
    }

    #[tokio::test]
    async fn a_binary_that_answers_something_else_or_is_not_there_is_no_problem_of_the_sql() {
        let folder = tempfile::tempdir().unwrap();
        let checks = answering(folder.path(), "echo nonsense");
        assert!(checks.check(&plan("bad")).await.is_err());
        let none = Checks::new("/nonexistent/thalweg".into(), Arc::new(Metrics::new().unwrap()));
        let (a, b) = (plan("a"), plan("b"));
        let (a, b) = tokio::join!(none.check(&a), none.check(&b));
        assert!(a.is_err() && b.is_err(), "{a:?} {b:?}");
    }
}
