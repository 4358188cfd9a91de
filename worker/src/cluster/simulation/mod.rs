//! The workers of a pipeline, played through: their real code over a network, a clock, an object store and brokers that are
//! played, with a seed. `docs/design/0012-simulation.md` says what is real and what is not.
//!
//! | To find | look in |
//! |---|---|
//! | what comes in, what goes wrong, and what must come of it | [`history`] |
//! | one worker, and how it is stopped and killed | [`process`] |
//! | time, chance, and what is out of order | [`world`] |
//! | what is played | [`broker`], [`objects`], [`network`], [`control`] |
//! | how a history repeats itself to the last hash map | [`entropy`] |

mod broker;
mod control;
mod entropy;
mod history;
mod network;
mod objects;
mod process;
mod world;

use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use history::{Expected, Plans, disturbed, left_alone, undisturbed, violations};
use process::GRACE;

/// A rule that is broken on purpose: what must be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A producer of transactions does not end those of earlier ones with its id, nor fence them.
    NoFence,
    /// What was written in a transaction shows although it was aborted.
    AbortedShows,
    /// Objects are written whether or not somebody else has written them meanwhile.
    NoConditionalWrites,
}

const MUTANTS: [Mutant; 3] = [Mutant::NoFence, Mutant::AbortedShows, Mutant::NoConditionalWrites];

/// The rules of what is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules(Option<Mutant>);

impl Rules {
    /// Whether a rule is broken.
    pub fn breaks(self, mutant: Mutant) -> bool {
        self.0 == Some(mutant)
    }
}

/// Histories that are played: `200`, or `17..=17`.
const SEEDS: &str = "THALWEG_SEEDS";
/// The name of the mutant, where one is played.
const MUTANT: &str = "THALWEG_MUTANT";
/// Whether everything is told.
const TOLD: &str = "THALWEG_TOLD";
/// How long a history may take by the machine's clock: on two quiet cores it takes seconds.
const LONGEST: Duration = Duration::from_secs(300);
/// How histories end in the words of who plays one.
const TRACE: &str = "trace ";
const VIOLATION: &str = "violation ";

/// Plays what a test of this module plays in a process of its own, so that nothing of an earlier history is left.
fn player(test: &str, seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    let test = format!("cluster::simulation::{test}");
    command.args(["--exact", &test, "--ignored", "--nocapture", "--test-threads", "1"]);
    command.env(entropy::SEED, seed.to_string()).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Plays one history.
fn play(seed: u64, mutant: Option<Mutant>) -> Output {
    let mut command = player("one_history", seed);
    if let Some(mutant) = mutant {
        command.env(MUTANT, format!("{mutant:?}"));
    }
    command.output().expect("it starts")
}

fn lines(output: &Output, beginning: &str) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().filter_map(|line| line.strip_prefix(beginning)).map(str::to_owned).collect()
}

/// What is wrong with a history; a process that ends without saying is wrong, too.
fn wrongs(output: &Output) -> Vec<String> {
    let mut wrongs = lines(output, VIOLATION);
    if lines(output, TRACE).is_empty() {
        let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
        wrongs.push(format!("it stopped: {}", said.join("\n")));
    }
    wrongs
}

fn seeds() -> Vec<u64> {
    let Ok(asked) = std::env::var(SEEDS) else {
        return (1..=50).collect();
    };
    let (first, last) = asked.split_once("..=").unwrap_or(("1", &asked));
    let number = |text: &str| text.trim().parse::<u64>().expect("a number of histories, or FIRST..=LAST");
    (number(first)..=number(last)).collect()
}

/// Plays the history that the environment names. `THALWEG_TOLD=1` tells all of it.
#[test]
#[ignore = "one history, which the others of this module play in a process of its own"]
fn one_history() {
    let seed = std::env::var(entropy::SEED).expect("THALWEG_SEED names a history").parse().expect("a number");
    let named = std::env::var(MUTANT).ok();
    let mutant = named.map(|name| MUTANTS.into_iter().find(|mutant| format!("{mutant:?}") == name).expect("a mutant"));
    let is_told = std::env::var_os(TOLD).is_some();
    if is_told {
        let filter = tracing_subscriber::EnvFilter::new("info");
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
    }
    #[expect(clippy::disallowed_methods, reason = "it waits for what must not come: that nothing else ends this")]
    std::thread::spawn(move || {
        std::thread::sleep(LONGEST);
        let at = Duration::from_millis(entropy::wall_clock().saturating_sub(world::BEGINNING).unsigned_abs());
        println!("\nhistory {seed} did not end within {LONGEST:?}; it is at {at:?} of its own time");
        // Where it is, where somebody can tell: it may not come again.
        let of = std::process::id().to_string();
        let _ =
            Command::new("timeout").args(["60", "gdb", "-p", &of, "-batch", "-ex", "thread apply all bt 40"]).status();
        std::process::exit(1);
    });
    // Behind the name of the test.
    println!();
    let plans = Plans::of(seed);
    let whole = undisturbed(seed, &plans.first);
    let next = plans.next.as_ref().map(|next| undisturbed(seed, next));
    let expected = Expected::new(plans, &whole.outputs, next.as_ref().map(|next| &next.outputs));
    let ended = disturbed(seed, Rules(mutant), &expected, is_told);
    for wrong in violations(&expected, &ended) {
        println!("{VIOLATION}{wrong}");
    }
    let rows = expected.least();
    let seconds = ended.lasted.as_secs_f64();
    println!("{TRACE}{:016x} {} {:016x} {rows} rows, {seconds} s", ended.trace.0, ended.trace.1, whole.trace.0);
}

#[test]
fn whatever_goes_wrong_the_output_is_that_of_a_worker_to_which_nothing_happens() {
    let seeds = seeds();
    let next = Mutex::new(seeds.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&seed) = { next.lock().expect("not poisoned").next() } {
                    let wrongs = wrongs(&play(seed, None));
                    if let Some(first) = wrongs.first() {
                        println!(
                            "seed {seed}: {} violations, such as {first}\n  replay: make simulate SEED={seed}",
                            wrongs.len()
                        );
                        failed.lock().expect("not poisoned").push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("not poisoned");
    println!("{} histories, {} with violations", seeds.len(), failed.len());
    assert!(failed.is_empty(), "replay with make simulate SEED=…: {failed:?}");
}

/// Plays a worker that is told to end while nobody leads.
#[test]
#[ignore = "one history, which another test of this module plays in a process of its own"]
fn one_that_is_left_alone() {
    let seed = std::env::var(entropy::SEED).expect("THALWEG_SEED names a history").parse().expect("a number");
    let looks = left_alone(seed);
    let works_on = GRACE - GRACE / 3;
    let working: Vec<_> = looks.iter().take_while(|look| look.since < works_on).collect();
    assert!(working.len() >= 45, "it has ended early: {looks:?}");
    for three_seconds in working.windows(4) {
        let (from, to) = (three_seconds[0], three_seconds[3]);
        assert!(to.rows > from.rows, "nothing was committed: {from:?} {to:?}");
        assert!(to.holds_slot && to.version != from.version, "its Lease was not renewed: {from:?} {to:?}");
    }
    let last = looks.last().expect("a look");
    assert!(last.has_ended && !last.holds_slot && last.since < GRACE, "it would be killed: {last:?}");
}

#[test]
fn a_worker_that_is_told_to_end_while_nobody_leads_works_on_and_keeps_its_slot_until_its_time_is_nearly_over() {
    let played = player("one_that_is_left_alone", 1).output().expect("it starts");
    let said = [&played.stdout, &played.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    assert!(played.status.success(), "{}", said.join("\n"));
}

#[test]
fn a_history_repeats_itself() {
    for seed in [3, 11] {
        let traces = [(); 2].map(|()| lines(&play(seed, None), TRACE));
        assert_eq!(traces[0], traces[1], "seed {seed}");
        assert_eq!(traces[0].len(), 1);
    }
}

#[test]
fn rules_that_are_broken_are_found_out() {
    const HISTORIES: u64 = 30;
    for mutant in MUTANTS {
        let found = (1..=HISTORIES).find(|seed| !wrongs(&play(*seed, Some(mutant))).is_empty());
        println!("{mutant:?} is found out by history {found:?}");
        assert!(found.is_some(), "{mutant:?} is not found out by {HISTORIES} histories");
    }
}
