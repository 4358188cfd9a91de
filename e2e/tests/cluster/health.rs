//! What Argo CD says of pipelines, by the check that is shipped. These tests need Lua, and no cluster.

use serde_json::{Value, json};
use thalweg_e2e::cluster::argo::health;

/// A pipeline of generation 2 whose status speaks of one, with some conditions: type, status and message.
fn pipeline(observed: i64, conditions: &[(&str, &str, &str)]) -> Value {
    let condition = |(kind, status, message): &(&str, &str, &str)| {
        json!({
            "type": kind, "status": status, "message": message, "reason": "AsExpected", "observedGeneration": observed,
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        })
    };
    let conditions: Vec<_> = conditions.iter().map(condition).collect();
    json!({
        "apiVersion": "thalweg.dev/v1alpha1",
        "kind": "StreamPipeline",
        "metadata": {"name": "fares", "generation": 2},
        "spec": {"sql": "INSERT INTO out\nSELECT \"zone\" FROM trips"},
        "status": {"observedGeneration": observed, "phase": "Running", "conditions": conditions},
    })
}

const CALM: (&str, &str, &str) = ("Reconciling", "False", "nothing is being changed");
const WELL: (&str, &str, &str) = ("Stalled", "False", "nothing stands in the way");
const RUNS: (&str, &str, &str) = ("Ready", "True", "16 units run");

#[test]
fn each_state_of_a_pipeline_has_the_health_that_argo_cd_waits_for() {
    let paused = "spec.paused is true: set it to false to go on";
    let unknown_column = "spec.sql: 2:8: there is no column \"zone\"";
    let idle = ("Ready", "True", "no worker is asked for: scaling.workers is 0");
    let complete = ("Ready", "True", "all input was read and delivered");
    let cases = [
        (pipeline(2, &[RUNS, CALM, WELL]), "Healthy", RUNS.2),
        (pipeline(2, &[idle, CALM, WELL]), "Healthy", idle.2),
        (pipeline(2, &[complete, CALM, WELL, ("Complete", "True", complete.2)]), "Healthy", complete.2),
        // While an edit is on its way what ran goes on.
        (pipeline(2, &[RUNS, ("Reconciling", "True", "3 units move"), WELL]), "Progressing", "3 units move"),
        (pipeline(2, &[("Ready", "False", "16 units move"), CALM, WELL]), "Progressing", "16 units move"),
        // What is there is of the edit before this one.
        (pipeline(1, &[RUNS, CALM, WELL]), "Progressing", "the operator has not seen this version yet"),
        (pipeline(2, &[]), "Progressing", "nothing is known yet"),
        // A bad edit disturbs nothing that runs, and is told.
        (pipeline(2, &[RUNS, CALM, ("Stalled", "True", unknown_column)]), "Degraded", unknown_column),
        (
            pipeline(2, &[("Ready", "False", "out"), ("Reconciling", "True", "x"), ("Stalled", "True", "out")]),
            "Degraded",
            "out",
        ),
        (pipeline(2, &[("Ready", "False", paused), CALM, WELL, ("Paused", "True", paused)]), "Suspended", paused),
        (pipeline(2, &[RUNS, CALM, WELL, ("Paused", "False", "spec.paused is false")]), "Healthy", RUNS.2),
    ];
    for (object, status, message) in cases {
        assert_eq!(health(&object), (status.to_owned(), message.to_owned()), "{object:#}");
    }
}

#[test]
fn a_pipeline_that_nobody_has_looked_at_is_on_its_way() {
    let mut untouched = pipeline(2, &[]);
    untouched.as_object_mut().expect("an object").remove("status");
    assert_eq!(health(&untouched).0, "Progressing");
}
