//! A row that the sink refuses: it stops its unit, and no other.

use thalweg_e2e::wait_for;

use crate::bed::{LIMIT, Numbers, number};

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_sink_refuses_stops_its_unit_and_the_others_go_on() {
    let Numbers { kafka, mut fleet, worker } = Numbers::start(&[("max.message.bytes", "1000")]).await;
    kafka.send([number(0, 0).key("k".repeat(2_000))]).await;
    let report = wait_for("a report of what was refused", LIMIT, || {
        fleet.report_of(worker).filter(|report| report["failures"][0]["reason"] == "RowsRejected")
    });
    let units = report["units"].as_array().expect("units").iter();
    let stopped: Vec<_> = units.filter(|unit| unit["error"].is_string()).map(|unit| &unit["unit"]["index"]).collect();
    assert_eq!(stopped, [0], "{report}");
    let there = || kafka.committed("out").iter().filter_map(|seen| seen.json()["n"].as_u64()).collect::<Vec<_>>();
    for n in 1..=20 {
        kafka.send([number(n, 1).key(n.to_string())]).await;
    }
    wait_for("rows of the other partition", LIMIT, || (there() == (1..=20).collect::<Vec<_>>()).then_some(()));
    // It was tried again meanwhile, alone.
    let said = fleet.workers()[worker].said();
    assert!(said.contains("stands still; tried again after") && said.contains("expected at most 904 bytes"), "{said}");
    assert!(!said.contains("standing still"), "the job has not failed: {said}");
    assert_eq!(said.matches("named by the assignment").count(), 1, "{said}");
}
