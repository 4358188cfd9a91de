//! The workers of some pipelines, and who coordinates them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::Process;
use super::told::{self, Commit};
use crate::cluster::web;
use crate::wait_for;

const NAMESPACE: &str = "default";
/// How long a worker may take until it is seen to hold its slot, on two busy cores.
const START: Duration = Duration::from_secs(60);

/// One folder, one coordinator, several workers. All end with it.
#[derive(Debug)]
pub struct Fleet {
    folder: TempDir,
    words: Vec<String>,
    coordinator: Option<Process>,
    workers: Vec<Worker>,
}

/// A worker: a place that a process is started at again and again.
#[derive(Debug)]
pub struct Worker {
    /// What it works for.
    pub pipeline: String,
    /// Its own address.
    pub address: String,
    words: Vec<String>,
    log: PathBuf,
    folder: PathBuf,
    process: Option<Process>,
}

impl Fleet {
    /// Coordinates the pipelines of a manifest, with more words for the coordinator.
    ///
    /// # Panics
    /// The manifest is not accepted.
    pub fn new(manifest: &str, words: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("p.yaml"), manifest).expect("written");
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let mut fleet = Self { folder, words, coordinator: None, workers: Vec::new() };
        fleet.start_coordinator();
        fleet
    }

    /// Where everything is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts one more worker of a pipeline, with more words; its number among all.
    pub fn add_worker(&mut self, pipeline: &str, words: &[&str]) -> usize {
        let number = self.workers.len();
        let address = format!("127.0.0.{}", 10 + number);
        let mut all = vec!["worker", "--folder", "run", "--pipeline", pipeline, "--pod-ip", &address, "--threads", "2"];
        all.extend(words);
        let folder = self.folder.path().to_owned();
        // The coordinator may be writing the plan still.
        wait_for("plan", START, || {
            folder.join("run").join(NAMESPACE).join(pipeline).join("plan").exists().then_some(())
        });
        let mut worker = Worker {
            pipeline: pipeline.to_owned(),
            words: all.into_iter().map(str::to_owned).collect(),
            log: folder.join(format!("worker-{number}.log")),
            address,
            folder,
            process: None,
        };
        worker.start();
        self.workers.push(worker);
        number
    }

    /// The workers.
    pub fn workers(&mut self) -> &mut [Worker] {
        &mut self.workers
    }

    /// Starts the coordinator, where it does not run.
    pub fn start_coordinator(&mut self) {
        if self.coordinator.is_none() {
            let mut words = vec!["dev-coordinator", "--folder", "run", "p.yaml"];
            words.extend(self.words.iter().map(String::as_str));
            let log = self.folder.path().join("coordinator.log");
            self.coordinator = Some(Process::start(self.folder.path(), &words, &log));
        }
    }

    /// Coordinates by another manifest: everybody ends in order, and begins again.
    ///
    /// # Panics
    /// The manifest is not accepted.
    pub fn restart_with(&mut self, manifest: &str) {
        assert!(self.workers.iter_mut().all(Worker::terminate), "{}", self.said());
        self.kill_coordinator();
        std::fs::write(self.folder.path().join("p.yaml"), manifest).expect("written");
        let plan = |pipeline: &str, of: &Path| std::fs::read_link(of.join(pipeline).join("plan")).ok();
        let run = self.folder.path().join("run").join(NAMESPACE);
        let before: Vec<_> = self.workers.iter().map(|worker| plan(&worker.pipeline, &run)).collect();
        self.start_coordinator();
        for (worker, before) in self.workers.iter_mut().zip(before) {
            wait_for("plan", START, || (plan(&worker.pipeline, &run) != before).then_some(()));
            worker.start();
        }
    }

    /// Has every pipeline deleted and created again, its state kept: workers end in order, and nothing is left of plans, Leases
    /// and assignments.
    ///
    /// # Panics
    /// A worker does not end well, or the folder cannot be removed.
    pub fn delete_and_create(&mut self) {
        assert!(self.workers.iter_mut().all(Worker::terminate), "{}", self.said());
        self.kill_coordinator();
        let run = self.folder.path().join("run").join(NAMESPACE);
        std::fs::remove_dir_all(&run).expect("removed");
        self.start_coordinator();
        for worker in &mut self.workers {
            wait_for("plan", START, || run.join(&worker.pipeline).join("plan").exists().then_some(()));
            worker.start();
        }
    }

    /// Kills the coordinator.
    pub fn kill_coordinator(&mut self) {
        self.coordinator = None;
    }

    /// What the coordinator said.
    pub fn coordinator_said(&self) -> String {
        self.coordinator.as_ref().map(Process::said).unwrap_or_default()
    }

    /// Gives an order, such as `--move all=p-1`; whether it was carried out.
    pub fn order(&self, pipeline: &str, words: &[&str]) -> bool {
        let log = self.folder.path().join("orders.log");
        let mut all = vec!["dev-coordinator", "--folder", "run", "--pipeline", pipeline];
        all.extend(words);
        let mut process = Process::start(self.folder.path(), &all, &log);
        wait_for("end of an order", START, || process.ended()).success()
    }

    /// The assignment of a pipeline; nothing where there is none yet.
    pub fn assignment(&self, pipeline: &str) -> Value {
        let path = self.of(pipeline).join("assignment").join(format!("{pipeline}.json"));
        std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// When the assignment was last changed.
    pub fn assigned_at(&self, pipeline: &str) -> Option<std::time::SystemTime> {
        let path = self.of(pipeline).join("assignment").join(format!("{pipeline}.json"));
        std::fs::metadata(path).and_then(|file| file.modified()).ok()
    }

    /// The units of a pipeline's first stage, as the assignment has them.
    pub fn units(&self, pipeline: &str) -> Vec<Unit> {
        let assignment = self.assignment(pipeline);
        let units = assignment["spec"]["units"].as_array().cloned().unwrap_or_default();
        let first = units.iter().filter(|unit| unit["unit"]["stage"] == 0);
        let read = |unit: &Value| {
            let index = u32::try_from(unit["unit"]["index"].as_u64()?).ok()?;
            let is_moving = unit["previous"].is_string();
            Some(Unit { index, owner: unit["owner"].as_str()?.to_owned(), epoch: unit["epoch"].as_u64()?, is_moving })
        };
        first.filter_map(read).collect()
    }

    /// The slot that a worker holds, by what the Leases say of its address.
    pub fn slot_of(&self, worker: usize) -> Option<String> {
        let lease = self.lease_of(worker)?;
        lease["metadata"]["name"].as_str().map(str::to_owned)
    }

    /// What a worker reports.
    pub fn report_of(&self, worker: usize) -> Option<Value> {
        let lease = self.lease_of(worker)?;
        let address: SocketAddr = lease["metadata"]["annotations"]["thalweg.dev/report"].as_str()?.parse().ok()?;
        serde_json::from_str(&web::get(address, "/report")?).ok()
    }

    /// How often a worker has committed each unit of a pipeline's first stage, by the unit's number and epoch.
    pub fn commits(&self, pipeline: &str) -> BTreeMap<(u32, u64), u64> {
        let of_pipeline = (0..self.workers.len()).filter(|number| self.workers[*number].pipeline == pipeline);
        let units = of_pipeline.filter_map(|number| self.report_of(number)?["units"].as_array().cloned()).flatten();
        let first = units.filter(|unit| unit["unit"]["stage"] == 0);
        let read = |unit: Value| {
            let index = u32::try_from(unit["unit"]["index"].as_u64()?).ok()?;
            Some(((index, unit["epoch"].as_u64()?), unit["commits"].as_u64()?))
        };
        first.filter_map(read).collect()
    }

    /// The workers of a pipeline that have units, by the assignment.
    pub fn owners(&self, pipeline: &str) -> Vec<usize> {
        let assignment = self.assignment(pipeline);
        let units = assignment["spec"]["units"].as_array().cloned().unwrap_or_default();
        let owns = |slot: &str| units.iter().any(|unit| unit["owner"] == slot);
        let of_pipeline = (0..self.workers.len()).filter(|number| self.workers[*number].pipeline == pipeline);
        of_pipeline.filter(|number| self.slot_of(*number).is_some_and(|slot| owns(&slot))).collect()
    }

    /// The commits of a pipeline's units, in the order of time, by what its workers tell with `--log` of [`told::LOG`].
    pub fn commits_told(&self, pipeline: &str) -> Vec<Commit> {
        let of_pipeline = self.workers.iter().filter(|worker| worker.pipeline == pipeline);
        told::commits(of_pipeline.map(Worker::said))
    }

    /// What everybody said last, for whoever looks into a failure.
    pub fn said(&self) -> String {
        let tail = |text: &str| {
            let lines = text.lines().filter(|line| !told::is_commit(line));
            lines.rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        let mut said = format!("coordinator:\n{}\n", tail(&self.coordinator_said()));
        for (number, worker) in self.workers.iter().enumerate() {
            said += &format!("worker {number} of {}:\n{}\n", worker.pipeline, tail(&worker.said()));
        }
        said
    }

    /// Copies what everybody said into a folder.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn keep_logs(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("a folder");
        for file in std::fs::read_dir(self.path()).expect("a folder").flatten() {
            if file.path().extension().is_some_and(|extension| extension == "log") {
                std::fs::copy(file.path(), folder.join(file.file_name())).expect("copied");
            }
        }
    }

    fn lease_of(&self, worker: usize) -> Option<Value> {
        let worker = self.workers.get(worker)?;
        let slots = std::fs::read_dir(self.of(&worker.pipeline).join("slots")).ok()?;
        let files =
            slots.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
        let leases = files.filter_map(|path| serde_json::from_slice::<Value>(&std::fs::read(path).ok()?).ok());
        let is_its = |lease: &Value| {
            let address = lease["metadata"]["annotations"]["thalweg.dev/address"].as_str().unwrap_or_default();
            lease["spec"]["holderIdentity"].is_string() && address.starts_with(&format!("{}:", worker.address))
        };
        leases.into_iter().find(is_its)
    }

    fn of(&self, pipeline: &str) -> PathBuf {
        self.folder.path().join("run").join(NAMESPACE).join(pipeline)
    }
}

/// A unit that has an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its number within its stage.
    pub index: u32,
    /// The slot of its owner.
    pub owner: String,
    /// Its ownership number.
    pub epoch: u64,
    /// Whether it is being handed over.
    pub is_moving: bool,
}

impl Worker {
    /// Starts it, where it does not run.
    pub fn start(&mut self) {
        if self.process.is_none() {
            let words: Vec<_> = self.words.iter().map(String::as_str).collect();
            self.process = Some(Process::start(&self.folder, &words, &self.log));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM; whether it ended well.
    pub fn terminate(&mut self) -> bool {
        self.process.take().is_none_or(|mut process| process.terminate().success())
    }

    /// SIGSTOP.
    pub fn halt(&self) {
        self.process.iter().for_each(Process::halt);
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.process.iter().for_each(Process::go_on);
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// The most memory that it has had, in MiB; nothing where it does not run.
    pub fn peak_mib(&self) -> Option<u64> {
        self.process.as_ref().map(Process::peak_mib)
    }

    /// What it and its predecessors said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
