//! A progress topic that was deleted under a worker: nothing begins anew by itself.

use std::time::Duration;

use thalweg_e2e::wait_for;

use crate::bed::{LIMIT, NUMBERS, Numbers, number};

const PROGRESS: &str = "thalweg-progress.default.numbers";

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_topic_that_was_deleted_is_data_loss_for_workers_before_and_after_their_restart() {
    let Numbers { kafka, mut fleet, worker } = Numbers::start(&[]).await;
    kafka.send((0..10).map(|n| number(n, (n % 2) as i32))).await;
    wait_for("rows", LIMIT, || (kafka.committed("out").len() == 10).then_some(()));
    let known = fleet.assignment(NUMBERS)["spec"]["progress"].as_str().map(str::to_owned);
    assert!(known.is_some_and(|known| known.len() == 32), "{}", fleet.assignment(NUMBERS));
    kafka.delete_topic(PROGRESS).await;
    kafka.send([number(10, 0), number(11, 1)]).await;
    // Whoever was there says so once the brokers have told that the topic is missing, and whoever comes later at once.
    for limit in [Duration::from_secs(240), LIMIT] {
        let message = wait_for("what was lost", limit, || {
            let report = fleet.report_of(worker)?;
            // Of the whole job, and not only of a unit whose writes fail.
            let is_all = report["units"].as_array().is_some_and(Vec::is_empty);
            let failure = report["failures"][0].as_object().filter(|_| is_all)?;
            (failure["reason"] == "DataLoss").then(|| failure["message"].as_str().unwrap_or_default().to_owned())
        });
        assert!(message.contains(PROGRESS) && message.contains("restart.nonce"), "{message}");
        fleet.workers()[worker].kill();
        assert_eq!(kafka.committed("out").len(), 10, "nothing was written without progress");
        assert!(kafka.committed(PROGRESS).is_empty(), "nobody has made it again");
        fleet.workers()[worker].start();
    }
}
