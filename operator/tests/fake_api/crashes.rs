//! Each write, met by each fault: the end is that of an undisturbed run, and so is what was written on the way.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use serde_json::Value;

use crate::fake::{FakeApi, Fault, Write};
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
    let mut cluster = Cluster::start(api);
    resources(&cluster.api);
    if kills {
        // The kill may come in the second half of the run as well.
        tokio::select! {
            () = cluster.api.killed() => cluster.restart_operator(),
            () = cluster.until_running(SQL) => {}
        }
    }
    cluster.until_running(SQL).await;
    edit_sql(&cluster, OTHER_SQL);
    if kills {
        let running = cluster.until_running(OTHER_SQL);
        let killed = tokio::select! {
            () = cluster.api.killed() => true,
            () = running => false,
        };
        if killed {
            cluster.restart_operator();
        }
    }
    cluster.until_running(OTHER_SQL).await;
    cluster.looks(3).await;
    Run { end: cluster.end_state(), writes: cluster.writes(), asked: cluster.api.asked() }
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
