//! The operator as a process of this machine that ends before and after its writes (`THALWEG_TEST_KILLS`) and is started again
//! at once: a container that ends again and again is started later and later (CrashLoopBackOff). It has the rights that the chart
//! gives, and is an installation of its own that looks after one namespace.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg_e2e::cluster::kubectl::Namespace;
use thalweg_e2e::cluster::web;
use thalweg_e2e::{binary, bound, operator_binary, wait_for};

use crate::LIMIT;
use crate::release::{RELEASE, image};

/// Where it shows its metrics.
const LISTEN: &str = "127.0.0.1:19084";
/// How it ends at a write, which it notes first: one that aborts by itself notes nothing. It is not SIGKILL, by which the kernel
/// ends processes where memory runs out.
const SIGABRT: i32 = 6;
/// How long it has written nothing once there seems to be nothing left to write.
const STILL: Duration = Duration::from_millis(700);
/// Lines of its log that are told where a test fails.
const LAST_WORDS: usize = 60;

/// How often it ended before and after writes, and let them pass: by their method and path, and by turn.
pub type Met = BTreeMap<String, BTreeMap<String, usize>>;

/// Its process, and those before it.
pub struct Mortal {
    folder: TempDir,
    /// The namespace that it looks after.
    namespace: Namespace,
    /// Its own.
    home: Namespace,
    /// None before the first phase.
    child: Option<Child>,
    /// How many phases have begun.
    phases: usize,
    /// How many processes were seen to end at a write in this one.
    ended: usize,
}

impl Mortal {
    /// One that its first phase starts.
    pub fn of(namespace: &Namespace, home: &Namespace) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect("written");
        write("kubeconfig", &kubeconfig(namespace).to_string());
        for file in ["tls.crt", "tls.key"] {
            let template = format!("go-template={{{{index .data \"{file}\" | base64decode}}}}");
            let secret = ["get", "secret", "thalweg-report-key", "-n", RELEASE, "-o", &template];
            write(file, &namespace.succeed(&secret));
        }
        Self { folder, namespace: namespace.clone(), home: home.clone(), child: None, phases: 0, ended: 0 }
    }

    /// Changes something, and starts it again whenever it has ended at a write, until what is to come of that is so. Each phase
    /// begins with nothing met: whatever passed before, the first write to each path is one that it ends before, and the next one
    /// is one that it ends after. What it has met in this phase is some write before and after, at the least.
    pub fn phase(&mut self, what: &str, change: impl FnOnce(), is_so: impl Fn() -> bool) -> Met {
        self.has_ended();
        self.kill();
        (self.phases, self.ended) = (self.phases + 1, 0);
        self.child = Some(self.spawn());
        change();
        self.until(what, is_so);
        let met = met(&self.noted());
        assert!(!both(&met).is_empty(), "{what}: there is no write that the operator ended before and after: {met:#?}");
        met
    }

    /// Starts it again whenever it has ended at a write, until something is so while it leads and writes nothing.
    fn until(&mut self, what: &str, is_so: impl Fn() -> bool) {
        let (began, mut noted, mut still) = (Instant::now(), 0, Instant::now());
        wait_for(what, 2 * LIMIT, || {
            let before = std::mem::replace(&mut noted, self.noted().len());
            if self.is_started_again() || !leads() || noted != before {
                still = Instant::now();
                return None;
            }
            if still.elapsed() < STILL {
                return None;
            }
            // What is asked takes a while, too.
            still = Instant::now();
            is_so().then_some(())
        });
        println!("{what}: after {:.1?}, with {} ends at writes", began.elapsed(), self.ended);
    }

    /// What it has met in all phases.
    pub fn met(&self) -> Met {
        met(&self.noted_in_all())
    }

    fn is_started_again(&mut self) -> bool {
        let has_ended = self.has_ended();
        if has_ended {
            self.child = Some(self.spawn());
        }
        has_ended
    }

    /// Whether it has ended, at a write that it has noted.
    fn has_ended(&mut self) -> bool {
        let status = self.child.as_mut().and_then(|child| child.try_wait().expect("a child"));
        let Some(status) = status else { return false };
        self.ended += 1;
        let (ended, noted) = (self.ended, ends(&met(&self.noted())));
        let is_noted = status.signal() == Some(SIGABRT) && noted == ended;
        assert!(is_noted, "the operator has ended by itself ({status}): {ended} ends in this phase, {noted} noted");
        true
    }

    fn noted(&self) -> String {
        self.noted_in(self.phases)
    }

    fn noted_in(&self, phase: usize) -> String {
        std::fs::read_to_string(self.kills(phase)).unwrap_or_default()
    }

    fn noted_in_all(&self) -> String {
        (1..=self.phases).map(|phase| self.noted_in(phase)).collect()
    }

    fn kills(&self, phase: usize) -> PathBuf {
        self.folder.path().join(format!("kills-{phase}"))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("operator.log")
    }

    /// A process under the name of the one before it, as a container of the same pod is. It leaves no core when it ends: a limit
    /// of 1 keeps Linux from piping one to a program as well, which 0 does not.
    fn spawn(&self) -> Child {
        let said = File::options().create(true).append(true).open(self.log()).expect("a log");
        bound("prlimit")
            .arg("--core=1:1")
            .arg(operator_binary())
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env("POD_NAME", "mortal-0")
            .env("POD_NAMESPACE", self.home.name())
            .env("THALWEG_WATCH_NAMESPACES", self.namespace.name())
            .env("THALWEG_WORKER_IMAGE", image(None))
            .env("THALWEG_IMAGE_PULL_POLICY", "IfNotPresent")
            .env("THALWEG_CHECK_BINARY", binary())
            .env("THALWEG_LISTEN", LISTEN)
            .env("THALWEG_REPORTS_LISTEN", "127.0.0.1:0")
            .env("THALWEG_REPORT_KEY", self.folder.path())
            .env("THALWEG_TEST_KILLS", self.kills(self.phases))
            .stdout(said)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("setpriv starts")
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<_> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
            println!("the operator ended at writes:\n{}{}", self.noted_in_all(), last.join("\n"));
            // What explains a failure is gathered later, without the pipeline (`Away`).
            let left = self.namespace.run(&["get", "streampipelines", "-o", "yaml"], "");
            println!("{}", String::from_utf8_lossy(&left.stdout));
        }
    }
}

/// The cluster of the tests, as the operator's account sees it.
fn kubeconfig(any: &Namespace) -> Value {
    let text = any.succeed(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    let token = any.succeed(&["create", "token", RELEASE, "-n", RELEASE, "--duration=1h"]);
    let user = config["contexts"][0]["context"]["user"].clone();
    config["users"] = json!([{"name": user, "user": {"token": token.trim()}}]);
    config
}

fn leads() -> bool {
    let metrics = web::get(LISTEN.parse().expect("an address"), "/metrics");
    metrics.is_some_and(|text| text.lines().any(|line| line == "thalweg_operator_leader 1"))
}

/// What is noted.
fn met(noted: &str) -> Met {
    let mut met = Met::new();
    for line in noted.lines() {
        let (turn, write) = line.split_once(' ').expect("a turn and a write");
        *met.entry(write.to_owned()).or_default().entry(turn.to_owned()).or_default() += 1;
    }
    met
}

/// How often it has ended at writes, by what it has noted.
pub fn ends(met: &Met) -> usize {
    met.values().flatten().filter(|(turn, _)| *turn != "pass").map(|(_, times)| times).sum()
}

/// The writes that it has ended at before and after.
pub fn both(met: &Met) -> Vec<&str> {
    let is_both = |turns: &BTreeMap<String, usize>| ["before", "after"].iter().all(|turn| turns.contains_key(*turn));
    met.iter().filter(|(_, turns)| is_both(turns)).map(|(write, _)| write.as_str()).collect()
}

/// The method of a write and what it is of, by `METHOD PATH`.
pub fn kind(write: &str) -> String {
    let (method, path) = write.split_once(' ').expect("a method and a path");
    let (_, path) = path.split_once("/namespaces/").expect("an object in a namespace");
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [_, resource, _, part] => format!("{method} {resource}/{part}"),
        [_, resource, ..] => format!("{method} {resource}"),
        _ => panic!("{write}: no resource"),
    }
}

#[test]
fn a_write_is_known_by_its_method_and_by_what_it_is_of() {
    let of_pipeline = "/apis/thalweg.dev/v1alpha1/namespaces/shop/streampipelines/fares";
    for (write, expected) in [
        ("POST /api/v1/namespaces/shop/configmaps".to_owned(), "POST configmaps"),
        (format!("PATCH {of_pipeline}"), "PATCH streampipelines"),
        (format!("PATCH {of_pipeline}/status"), "PATCH streampipelines/status"),
    ] {
        assert_eq!(kind(&write), expected);
    }
}

#[test]
fn writes_that_pass_are_no_ends_and_those_of_two_objects_are_two() {
    let (one, other) = ("PATCH /api/v1/namespaces/shop/services/a", "PATCH /api/v1/namespaces/shop/services/b");
    let met = met(&format!("before {one}\nbefore {other}\nafter {one}\npass {one}\nbefore {one}\n"));
    assert_eq!((both(&met), ends(&met)), (vec![one], 4));
}
