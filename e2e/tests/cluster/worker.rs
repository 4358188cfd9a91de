//! Workers on real nodes, without an operator: the assignment is written by the tests.

use std::time::{Duration, Instant};

use serde_json::Value;
use thalweg_e2e::cluster::faults::{Host, Partition};
use thalweg_e2e::cluster::kubectl::{Namespace, name};
use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::wait_for;

use crate::hand::{ByHand, Holder, LIMIT, metric, report};
use crate::pipelines::Counts;

/// The definition that the chart installs.
const DEFINITION: &str = include_str!("../../../charts/thalweg/templates/crds/streamassignments.yaml");

fn state(holder: &Holder) -> Option<String> {
    report(holder)?["state"].as_str().map(str::to_owned)
}

/// Kills a pod as a lost machine would, and hands its units to the one that replaces it.
fn kill_and_take_over(cluster: &ByHand<'_>, owner: &Holder, epoch: u64) -> Holder {
    let pod = cluster.ready();
    let before = cluster.holders();
    let killed = Instant::now();
    cluster.namespace.succeed(&["delete", "pod", name(&pod), "--grace-period=0", "--force", "--wait=false"]);
    let next = cluster.new_holder(&before);
    let held = killed.elapsed();
    cluster.publish(Some(&next), epoch);
    let published = Instant::now();
    wait_for("worker that runs", LIMIT, || (state(&next)? == "Running").then_some(()));
    println!(
        "pod killed: a slot held after {held:.1?}, units owned {:.1?} after the assignment ({} -> {})",
        published.elapsed(),
        owner.slot,
        next.slot
    );
    next
}

#[test]
fn a_worker_owns_what_it_is_assigned_and_kills_and_a_silent_api_server_change_no_row() {
    let namespace = Namespace::fresh("e2e-worker");
    let s3 = S3::start(9_101);
    let counts = Counts { name: "counts".to_owned(), rows: 120_000, rate: 1_500 };
    let expected = counts.expected();
    namespace.apply(DEFINITION);
    namespace.apply(S3::secret());
    let cluster = ByHand { namespace: &namespace, pipeline: &counts.name };
    let applied = Instant::now();
    cluster.deploy(&counts.manifests(&s3));

    // A worker without units has a slot, says so, and is not ready.
    let first = cluster.new_holder(&[]);
    println!("applied: a slot held after {:.1?}", applied.elapsed());
    assert_eq!(state(&first).as_deref(), Some("Waiting"));
    assert_eq!(report(&first).expect("it answers")["slot"], Value::from(first.slot.clone()));
    cluster.publish(Some(&first), 1);
    cluster.ready();
    wait_for("first output", LIMIT, || (!counts.found(&s3).is_empty()).then_some(()));
    println!("applied: first committed output after {:.1?}", applied.elapsed());

    // Killed with the pod, twice.
    let second = kill_and_take_over(&cluster, &first, 2);
    wait_for("commits of the second", LIMIT, || (metric(&second, "thalweg_stage_commits_total")? > 4.0).then_some(()));
    let third = kill_and_take_over(&cluster, &second, 3);

    // Without an API server everything goes on.
    wait_for("ready worker", LIMIT, || namespace.ready_worker(&counts.name));
    let partition = Partition::of(Host::ControlPlane);
    let (away, before) = (Instant::now(), metric(&third, "thalweg_source_rows_total").expect("it answers"));
    wait_for("20 s without an API server", LIMIT, || (away.elapsed() > Duration::from_secs(20)).then_some(()));
    let after = metric(&third, "thalweg_source_rows_total").expect("it answers");
    println!("API server away for 20 s: {} rows read meanwhile", after - before);
    assert!(after > before + 20.0 * 1_500.0 * 0.5, "{before} rows, then {after}");
    drop(partition);
    wait_for("API server", LIMIT, || namespace.get(&["namespace", namespace.name()]));

    // Asked to go, it commits and leaves its slot at once.
    let pod = cluster.ready();
    let before = cluster.holders();
    let asked = Instant::now();
    namespace.succeed(&["delete", "pod", name(&pod), "--wait=false"]);
    wait_for("free slot", LIMIT, || (!cluster.holders().contains(&third)).then_some(()));
    println!("asked to end: left its slot after {:.1?}", asked.elapsed());
    let fourth = cluster.new_holder(&before);
    cluster.publish(Some(&fourth), 4);
    wait_for("end of the input", LIMIT, || (state(&fourth)? == "Completed").then_some(()));
    let found = counts.found(&s3);
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "the rows differ from those of an undisturbed run");
    println!("{} rows, each as in an undisturbed run", found.len());
    namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
}
