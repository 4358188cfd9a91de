//! Two workers, one pipeline, and a unit that has much to carry.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::manifest::Manifest;
use thalweg_e2e::workers::Fleet;
use thalweg_e2e::workers::told::{self, Commit};
use thalweg_e2e::{bars, wait_for};

use crate::changes::millis;

/// The unit that is handed over, as workers tell it.
pub const MOVED: &str = "0-0";
/// The same, as an order names it.
const MOVED_ORDER: &str = "0/0";
const PIPELINE: &str = "counts";
/// Bytes of a unit's windows before anything is moved.
const STATE_BYTES: u64 = 150_000_000;
/// How long anything may take on two busy cores.
const LIMIT: Duration = Duration::from_secs(300);
/// How many objects are read at once to see what the store itself takes.
const CONNECTIONS: usize = 4;
/// Commits of a unit at one place before it is handed over again.
const COMMITS_BETWEEN: usize = 3;

/// What is asked of the bench, from the environment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often the unit is handed over.
    pub moves: usize,
    /// How often its owner is killed.
    pub kills: usize,
    /// Rows a second while it is measured.
    pub rows_per_second: u64,
    /// How often units commit.
    pub commit_every_ms: u64,
    /// Where logs are copied to.
    pub keep: Option<PathBuf>,
    in_bucket: bool,
}

impl Settings {
    /// Defaults where nothing is set.
    ///
    /// # Panics
    /// A variable holds what it cannot.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let number = |name: &str, default: u64| {
            variable(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}: not a number")))
        };
        Self {
            moves: number("HANDOFF_MOVES", 40) as usize,
            kills: number("HANDOFF_KILLS", 10) as usize,
            rows_per_second: number("HANDOFF_ROWS", 2_000),
            commit_every_ms: number("HANDOFF_COMMIT_MS", 1_000),
            keep: variable("HANDOFF_KEEP").map(PathBuf::from),
            in_bucket: variable("HANDOFF_STATE").is_some_and(|state| state == "s3"),
        }
    }

    /// Where state is.
    pub fn state_name(&self) -> &'static str {
        if self.in_bucket { "s3" } else { "folder" }
    }

    /// How long a unit may pause beyond the rhythm of commits while it is handed over, 99 of 100 times, in milliseconds.
    pub fn most_pause_ms(&self) -> i64 {
        if self.in_bucket { bars::MOVE_PAUSE_IN_BUCKET_MS } else { bars::MOVE_PAUSE_MS }
    }

    /// A window that does not end, over a million keys that are long; two units share them.
    fn manifest(&self, s3: Option<&S3>, rows_per_second: Option<u64>) -> String {
        let pace = rows_per_second.map(|rows| format!(", rowsPerSecond: {rows}")).unwrap_or_default();
        let state = match s3 {
            Some(s3) => format!("url: 's3://bucket/state', s3: {}", s3.settings()),
            None => "url: ./state".to_owned(),
        };
        let (pad, commit_every) = ("x".repeat(200), self.commit_every_ms);
        let sql = format!(
            "CREATE TEMPORARY VIEW padded AS SELECT CONCAT('{pad}', CAST(id AS STRING)) AS k, amount, at FROM events; \
             INSERT INTO {PIPELINE} SELECT k, window_start, count(*) AS n, sum(amount) AS total, max(amount) AS most \
             FROM TABLE(TUMBLE(TABLE padded, DESCRIPTOR(at), INTERVAL '365' DAY)) \
             GROUP BY window_start, window_end, k"
        );
        Manifest::default()
            .source("events", &["id BIGINT", "amount INT", "at TIMESTAMP(3)"])
            .connector(&format!("generator: {{ schema: {{}}, splits: 2{pace} }}"))
            .spec("watermark: { column: at, delay: 1s }")
            .sink(PIPELINE)
            .connector("blackhole: {}")
            .pipeline(PIPELINE, &["events"], &[PIPELINE], &sql)
            .spec(&format!("state: {{ commitEvery: {commit_every}ms, keyGroups: 2, {state} }}"))
            .to_string()
    }
}

/// Store, coordinator, workers.
pub struct Bed {
    fleet: Fleet,
    s3: Option<S3>,
}

impl Bed {
    /// Starts everything, and fills the units' windows.
    pub fn start(settings: &Settings) -> Self {
        let s3 = settings.in_bucket.then(S3::anywhere);
        let mut fleet = Fleet::new(&settings.manifest(s3.as_ref(), None), &["--workers", "2", "--silence", "3"]);
        let secrets = fleet.path().join("secrets");
        S3::write_secret(&secrets);
        let secrets = secrets.to_string_lossy().into_owned();
        for _ in 0..2 {
            fleet.add_worker(PIPELINE, &["--secrets", &secrets, "--log", told::LOG]);
        }
        let mut bed = Self { fleet, s3 };
        let is_full = |unit: &str, commits: &[Commit]| {
            commits.iter().rev().find(|commit| commit.unit == unit).is_some_and(|last| last.state_bytes >= STATE_BYTES)
        };
        bed.until("state", |commits| is_full("0-0", commits) && is_full("0-1", commits));
        bed.fleet.restart_with(&settings.manifest(bed.s3.as_ref(), Some(settings.rows_per_second)));
        let is_steady = |unit: &str, commits: &[Commit], from: usize| {
            commits[from..].iter().filter(|commit| commit.unit == unit).count() > 2 * COMMITS_BETWEEN
        };
        let before = bed.commits().len();
        bed.until("a steady pace", |commits| is_steady("0-0", commits, before) && is_steady("0-1", commits, before));
        // Nobody moves anything but this bench.
        bed.fleet.kill_coordinator();
        bed
    }

    /// Hands the unit to the other worker, and waits until that one has committed a few times.
    pub fn hand_over(&mut self) {
        let (owner, epoch) = self.moved();
        let slots = (0..2).map(|worker| wait_for("a slot", LIMIT, || self.fleet.slot_of(worker)));
        let other = slots.into_iter().find(|slot| *slot != owner).expect("another worker");
        let order = format!("{MOVED_ORDER}={other}");
        assert!(self.fleet.order(PIPELINE, &["--move", &order]), "{}", self.fleet.said());
        let is_new = |commit: &&Commit| commit.unit == MOVED && commit.epoch > epoch;
        self.until("a new owner", |commits| commits.iter().filter(is_new).count() >= COMMITS_BETWEEN);
    }

    /// Lets the coordinator decide again.
    pub fn coordinate(&mut self) {
        self.fleet.start_coordinator();
    }

    /// Kills the worker that owns the unit, and waits until the other one has taken over and the killed one is back. Gives
    /// the time from the change of the assignment to the first commit of the new owner, in milliseconds.
    pub fn kill_owner(&mut self) -> i64 {
        let (owner, epoch) = self.moved();
        let victim = (0..2).find(|worker| self.fleet.slot_of(*worker).as_ref() == Some(&owner)).expect("it has a slot");
        self.fleet.workers()[victim].kill();
        let assigned = wait_for("takeover", LIMIT, || {
            (self.moved().1 > epoch).then(|| self.fleet.assigned_at(PIPELINE).expect("it is there"))
        });
        let is_new = |commit: &&Commit| commit.unit == MOVED && commit.epoch > epoch;
        self.until("a new owner", |commits| commits.iter().filter(is_new).count() >= COMMITS_BETWEEN);
        let first = self.commits().iter().find(is_new).map(|commit| commit.at_ms).expect("there are some");
        self.fleet.workers()[victim].start();
        wait_for("a slot", LIMIT, || self.fleet.slot_of(victim));
        // Units are shared out again before the next one.
        wait_for("both workers with units", LIMIT, || (self.fleet.owners(PIPELINE).len() == 2).then_some(()));
        let epochs = self.fleet.assignment(PIPELINE)["spec"]["units"].clone();
        let is_settled = |commits: &[Commit]| {
            let last = |unit: &str| commits.iter().rev().find(|commit| commit.unit == unit).map(|commit| commit.epoch);
            (0..2).all(|index| last(&format!("0-{index}")) == epochs[index]["epoch"].as_u64())
        };
        self.until("a commit of each owner", is_settled);
        first - millis(assigned)
    }

    /// The owner and the epoch of the unit.
    fn moved(&self) -> (String, u64) {
        let unit = &self.fleet.assignment(PIPELINE)["spec"]["units"][0];
        (unit["owner"].as_str().unwrap_or_default().to_owned(), unit["epoch"].as_u64().unwrap_or_default())
    }

    /// All commits so far, in the order of time.
    pub fn commits(&mut self) -> Vec<Commit> {
        self.fleet.commits_told(PIPELINE)
    }

    /// How long the store alone takes to give this many bytes of state, in milliseconds: whoever takes over state in a bucket reads
    /// all of it. Of no store but a bucket.
    pub fn store_ms(&self, bytes: u64) -> Option<i64> {
        let read = self.s3.as_ref()?.read_all("state", ".sst", CONNECTIONS);
        Some((read.took.as_secs_f64() * 1_000.0 * bytes as f64 / read.bytes as f64) as i64)
    }

    /// Copies what everybody said into a folder.
    pub fn keep_logs(&self, folder: &std::path::Path) {
        self.fleet.keep_logs(folder);
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&[Commit]) -> bool) {
        let started = Instant::now();
        while !is_so(&self.commits()) {
            assert!(started.elapsed() < LIMIT, "no {what} within {LIMIT:?}\n{}", self.fleet.said());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
