//! A worker that is told to end while another one stays.

use std::time::{Duration, Instant};

use thalweg_e2e::bank::{COPIES, SUMS, judge};
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::{Bank, LIMIT, PARTITIONS};

/// Seconds until a silent worker's units are given to others: nothing here comes of that.
const SILENCE: &str = "300";
/// A worker that nobody asks for its units ends after ten seconds.
const PROMPT: Duration = Duration::from_secs(8);

/// How many units a pipeline's worker owns in that slot; `None` while some are on their way.
fn owned(fleet: &Fleet, pipeline: &str, slot: &str) -> Option<usize> {
    let assignment = fleet.assignment(pipeline);
    let units = assignment["spec"]["units"].as_array()?;
    let stay = units.iter().all(|unit| unit["owner"].is_string() && unit["previous"].is_null());
    stay.then(|| units.iter().filter(|unit| unit["owner"] == slot).count())
}

/// A figure of each assignment that was published for a pipeline, such as `takeovers`, added up.
fn published(said: &str, pipeline: &str, what: &str) -> usize {
    let lines = said.lines().filter(|line| line.contains("published") && line.contains(pipeline));
    let figures = lines.filter_map(|line| {
        line.split_whitespace().find_map(|word| word.strip_prefix(what)?.strip_prefix('=')?.parse::<usize>().ok())
    });
    figures.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_end_is_asked_for_its_units_and_is_soon_gone() {
    let mut bank = Bank::start(&["--silence", SILENCE]).await;
    for pipeline in [COPIES, SUMS] {
        let (victim, lost) = wait_for("two owners", LIMIT, || {
            let owners = bank.fleet.owners(pipeline);
            let victim = *owners.first().filter(|_| owners.len() == 2)?;
            let lost = owned(&bank.fleet, pipeline, &bank.fleet.slot_of(victim)?)?;
            Some((victim, lost)).filter(|_| lost > 0)
        });
        let before = bank.fleet.coordinator_said().len();
        let told = Instant::now();
        assert!(bank.fleet.workers()[victim].terminate(), "{}", bank.fleet.said());
        let (ended, took) = (Instant::now(), told.elapsed());
        let said = bank.fleet.coordinator_said()[before..].to_owned();
        let (handoffs, takeovers) = (published(&said, pipeline, "handoffs"), published(&said, pipeline, "takeovers"));
        assert!(handoffs >= lost && takeovers == 0, "{handoffs} of {lost} handed over, {takeovers} taken: {said}");
        wait_for("one owner of all", LIMIT, || {
            let owners = bank.fleet.owners(pipeline);
            (owners.len() == 1 && !owners.contains(&victim)).then_some(())
        });
        // Units speak again: of copies each, of sums those whose windows are over.
        let all = if pipeline == COPIES { PARTITIONS as usize } else { 1 };
        let watch = bank.watch(pipeline);
        wait_for("rows by the other worker", LIMIT, || (watch.units_since(ended) >= all).then_some(()));
        let silent = watch.longest(told, Instant::now());
        println!(
            "leaving: {pipeline}: {lost} units handed over, gone after {took:?}, a unit silent for {silent:?} at most"
        );
        assert!(took < PROMPT, "it ended after {took:?}: {}", bank.fleet.said());
    }
    let ledger = bank.ledger().await;
    let verdict = judge(&bank.kafka, &ledger);
    assert!(verdict.is_clean(), "{verdict:?}\n{}", bank.fleet.said());
}
