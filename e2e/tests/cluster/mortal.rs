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
/// How it ends at a write.
const SIGABRT: i32 = 6;
/// How long it has written nothing once there seems to be nothing left to write.
const STILL: Duration = Duration::from_millis(700);
/// Lines of its log that are told where a test fails.
const LAST_WORDS: usize = 60;

/// How often it ended before and after writes, and let them pass: by their method and what they are of, as in
/// `PATCH streampipelines/status`.
pub type Met = BTreeMap<String, BTreeMap<String, usize>>;

/// Its process, and those before it.
pub struct Mortal {
    folder: TempDir,
    /// The namespace that it looks after.
    namespace: Namespace,
    /// Its own.
    home: Namespace,
    child: Child,
    /// How many have ended at a write.
    ended: usize,
}

impl Mortal {
    /// Starts the first one.
    pub fn start(namespace: &Namespace, home: &Namespace) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect("written");
        write("kubeconfig", &kubeconfig(namespace).to_string());
        for file in ["tls.crt", "tls.key"] {
            let template = format!("go-template={{{{index .data \"{file}\" | base64decode}}}}");
            let secret = ["get", "secret", "thalweg-report-key", "-n", RELEASE, "-o", &template];
            write(file, &namespace.succeed(&secret));
        }
        let child = spawn(&folder, namespace, home);
        Self { folder, namespace: namespace.clone(), home: home.clone(), child, ended: 0 }
    }

    /// Starts it again whenever it has ended at a write, until something is so while it leads and writes nothing.
    pub fn until(&mut self, what: &str, is_so: impl Fn() -> bool) {
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
        println!("{what}: after {:.1?}, with {} ends at writes so far", began.elapsed(), self.ended);
    }

    /// How often it was seen to end at a write.
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// What it has ended at, as it has noted it.
    pub fn met(&self) -> Met {
        let mut met = Met::new();
        for line in self.noted().lines() {
            let (turn, write) = line.split_once(' ').expect("a turn and a write");
            *met.entry(kind(write)).or_default().entry(turn.to_owned()).or_default() += 1;
        }
        met
    }

    fn is_started_again(&mut self) -> bool {
        let Some(status) = self.child.try_wait().expect("a child") else { return false };
        assert_eq!(status.signal(), Some(SIGABRT), "the operator has ended by itself: {status}");
        self.ended += 1;
        self.child = spawn(&self.folder, &self.namespace, &self.home);
        true
    }

    fn noted(&self) -> String {
        std::fs::read_to_string(kills(&self.folder)).unwrap_or_default()
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = std::fs::read_to_string(log(&self.folder)).unwrap_or_default();
            let lines: Vec<_> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
            println!("the operator ended {} times at writes:\n{}{}", self.ended, self.noted(), last.join("\n"));
        }
    }
}

fn kills(folder: &TempDir) -> PathBuf {
    folder.path().join("kills")
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("operator.log")
}

/// A process that keeps no core when it ends, under the name of the one before it, as a container of the same pod does.
fn spawn(folder: &TempDir, namespace: &Namespace, home: &Namespace) -> Child {
    let said = File::options().create(true).append(true).open(log(folder)).expect("a log");
    bound("prlimit")
        .arg("--core=0")
        .arg(operator_binary())
        .env("KUBECONFIG", folder.path().join("kubeconfig"))
        .env("POD_NAME", "mortal-0")
        .env("POD_NAMESPACE", home.name())
        .env("THALWEG_WATCH_NAMESPACES", namespace.name())
        .env("THALWEG_WORKER_IMAGE", image(None))
        .env("THALWEG_IMAGE_PULL_POLICY", "IfNotPresent")
        .env("THALWEG_CHECK_BINARY", binary())
        .env("THALWEG_LISTEN", LISTEN)
        .env("THALWEG_REPORTS_LISTEN", "127.0.0.1:0")
        .env("THALWEG_REPORT_KEY", folder.path())
        .env("THALWEG_TEST_KILLS", kills(folder))
        .stdout(said)
        .stderr(Stdio::inherit())
        .spawn()
        .expect("setpriv starts")
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

/// The method of a write and what it is of, by `METHOD PATH`.
fn kind(write: &str) -> String {
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
