//! Each write, met by each fault: the end is that of an undisturbed run, and so is what was written on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::Value;

use crate::fake::{FakeApi, Fault, Weather, Write};
use crate::harness::{Cluster, OTHER_SQL, SQL, pipeline_key, resources};
use crate::kubelet::ASSIGNMENTS;

/// Runs at once: most of each is waiting for reports.
const AT_ONCE: usize = 12;

/// How a run ended, and what was written on the way.
struct Run {
    end: BTreeMap<String, String>,
    writes: BTreeMap<Write, usize>,
    asked: usize,
}

/// From nothing to running, on to other SQL, and to the end of all work.
async fn run(api: FakeApi, kills: bool) -> Run {
    run_in(Cluster::start(api), kills).await
}

async fn run_in(mut cluster: Cluster, kills: bool) -> Run {
    resources(&cluster.api);
    for sql in [SQL, OTHER_SQL] {
        edit_sql(&cluster, sql);
        if kills {
            // A kill may come at any time, after the last write that a user waits for as well.
            let killed = tokio::select! {
                () = cluster.api.killed() => true,
                () = settled(&cluster, sql) => false,
            };
            if killed {
                cluster.restart_operator();
            }
        }
        settled(&cluster, sql).await;
    }
    Run { end: cluster.end_state(), writes: cluster.writes(), asked: cluster.api.asked() }
}

async fn settled(cluster: &Cluster, sql: &str) {
    cluster.until_running(sql).await;
    cluster.looks(3).await;
}

fn edit_sql(cluster: &Cluster, sql: &str) {
    cluster.api.store().edit(&pipeline_key(), |pipeline: &mut Value| pipeline["spec"]["sql"] = sql.into());
    cluster.api.changed();
}

/// Bookkeeping of the assignment that may come in one write or in two: that a handoff was answered, and that a worker left.
const BOOKKEEPING: usize = 2;

fn assert_same(found: &Run, expected: &Run, what: &str) {
    let writes = found.writes.keys().chain(expected.writes.keys());
    for write in writes {
        let counts = [found, expected].map(|run| run.writes.get(write).copied().unwrap_or_default());
        // How often units changed hands is in their epochs, which the end state holds.
        let slack = if write.kind == ASSIGNMENTS && write.verb == "update" { BOOKKEEPING } else { 0 };
        assert!(counts[0].abs_diff(counts[1]) <= slack, "{what}: {write:?} {} times, not {}", counts[0], counts[1]);
    }
    for (name, object) in &expected.end {
        assert_eq!(found.end.get(name), Some(object), "{what}: {name}");
    }
    assert_eq!(found.end.len(), expected.end.len(), "{what}: objects");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_write_changes_neither_the_end_nor_what_is_written() {
    let expected = run(FakeApi::default(), false).await;
    println!("{} writes in an undisturbed run", expected.asked);
    let faults = Fault::ALL.into_iter().flat_map(|fault| (0..expected.asked).map(move |number| (fault, number)));
    let faults: Vec<_> = faults.collect();
    let plans = faults.len();
    let runs = faults.into_iter().map(|(fault, number)| async move {
        let kills = matches!(fault, Fault::KillBefore | Fault::KillAfter);
        (format!("{fault:?} at write {number}"), run(FakeApi::with_fault(number, fault), kills).await)
    });
    let mut runs = stream::iter(runs).buffer_unordered(AT_ONCE);
    while let Some((what, found)) = runs.next().await {
        assert_same(&found, &expected, &what);
    }
    println!("{plans} fault plans");
    assert!(plans >= 6 * 15, "{plans} fault plans are too few to mean anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_that_are_late_lead_to_no_second_write_and_no_second_epoch() {
    let expected = run(FakeApi::default(), false).await;
    for milliseconds in [100, 400, 1_500] {
        let weather = Weather { lag: Duration::from_millis(milliseconds), ..Weather::default() };
        let found = run(FakeApi::with_weather(weather), false).await;
        assert_same(&found, &expected, &format!("watches {milliseconds} ms late"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_expire_again_and_again_change_nothing() {
    let expected = run(FakeApi::default(), false).await;
    for events in [1, 2, 5] {
        let weather = Weather { expires_after: Some(events), ..Weather::default() };
        let found = run(FakeApi::with_weather(weather), false).await;
        assert_same(&found, &expected, &format!("watches that expire after {events} events"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_at_once_end_where_one_does_with_the_same_epochs() {
    let expected = run(FakeApi::default(), false).await;
    let mut cluster = Cluster::start(FakeApi::default());
    cluster.add_operator();
    let found = run_in(cluster, false).await;
    assert_eq!(found.end, expected.end);
}
