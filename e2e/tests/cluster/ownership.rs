//! Who owns what, as the operator publishes it, and what pipelines say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use thalweg_e2e::cluster::faults::{Host, Partition, is_elsewhere, leave_out};
use thalweg_e2e::cluster::kubectl::{Namespace, delete_now, name};
use thalweg_e2e::wait_for;

use crate::LIMIT;

/// The owner and the epoch of each unit, by its number.
pub type Owned = BTreeMap<u64, (String, i64)>;

/// The status of a condition of a pipeline.
pub fn condition(namespace: &Namespace, pipeline: &str, wanted: &str) -> Option<String> {
    condition_in(&status(namespace, pipeline), wanted).map(|(status, _)| status)
}

/// The status and the message of a condition, in what a pipeline says of itself.
pub fn condition_in(said: &Value, wanted: &str) -> Option<(String, String)> {
    let mine = said["conditions"].as_array()?.iter().find(|condition| condition["type"] == wanted)?;
    let text = |field: &str| mine[field].as_str().map(str::to_owned);
    Some((text("status")?, text("message")?))
}

/// Waits until a condition is true.
pub fn wait_until(namespace: &Namespace, pipeline: &str, wanted: &str) {
    wait_for(&format!("condition {wanted} of {pipeline}"), LIMIT, || {
        condition(namespace, pipeline, wanted).filter(|status| status == "True")
    });
}

/// What a pipeline says of itself.
pub fn status(namespace: &Namespace, pipeline: &str) -> Value {
    namespace.get(&["streampipeline", pipeline]).map(|it| it["status"].clone()).unwrap_or_default()
}

/// What is published of a pipeline.
pub fn assignment(namespace: &Namespace, pipeline: &str) -> Option<Value> {
    Some(namespace.get(&["streamassignment", pipeline])?["spec"].clone())
}

/// The units of a pipeline, where each is owned and none is on its way.
pub fn owned(namespace: &Namespace, pipeline: &str) -> Option<Owned> {
    let said = status(namespace, pipeline);
    let all = said["units"]["owned"] == said["units"]["total"] && said["units"]["moving"] == 0;
    let units = assignment(namespace, pipeline)?["units"].as_array()?.clone();
    let unit = |unit: &Value| {
        let owner = unit["owner"].as_str()?.to_owned();
        Some((unit["unit"]["index"].as_u64()?, (owner, unit["epoch"].as_i64()?)))
    };
    let owned: Owned = units.iter().map(unit).collect::<Option<_>>()?;
    (all && !owned.is_empty()).then_some(owned)
}

/// [`owned`], once so many workers share the units.
pub fn owned_by(namespace: &Namespace, pipeline: &str, workers: usize) -> Option<Owned> {
    let entered = assignment(namespace, pipeline)?["workers"].as_array().map_or(0, Vec::len);
    let owned = owned(namespace, pipeline)?;
    let owners: BTreeSet<_> = owned.values().map(|(owner, _)| owner).collect();
    (owners.len() == workers && entered == workers).then_some(owned)
}

/// [`owned`], once some unit has another owner than before.
pub fn owned_anew(namespace: &Namespace, pipeline: &str, before: &Owned) -> Option<Owned> {
    owned(namespace, pipeline).filter(|now| now.iter().any(|(unit, (_, epoch))| *epoch > before[unit].1))
}

/// Asks for so many workers.
pub fn ask_for(namespace: &Namespace, pipeline: &str, workers: usize) {
    let patch = format!(r#"{{"spec": {{"scaling": {{"workers": {workers}}}}}}}"#);
    namespace.succeed(&["patch", "streampipeline", pipeline, "--type=merge", "-p", &patch]);
}

/// Cuts off the node of a pod. On another cluster than the test bed's own the pod is deleted in place of that.
pub fn cut_off(pod: &Value) -> Partition {
    if is_elsewhere() {
        leave_out(&format!("no node is cut off; pod {} is deleted in place of that", name(pod)));
        delete_now(pod);
        return Partition::default();
    }
    let node = pod["spec"]["nodeName"].as_str().and_then(|node| node.strip_prefix('n')).and_then(|n| n.parse().ok());
    Partition::of(Host::Node(node.expect("n1 or n2")))
}
