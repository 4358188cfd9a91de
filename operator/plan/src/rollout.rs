//! How many pipelines replace their pods at once because the installation has changed: an upgrade of the chart changes the
//! image of all workers, and each roll-out moves all units of a pipeline.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::applied::differs;
use crate::names::PLAN;

/// How long a roll-out keeps its place: one that never ends holds up the others for so long, and no longer.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Whether pods of a Deployment are to be replaced though nobody has changed the pipeline: another image, or another
/// version of the operator, which writes other pods.
pub fn is_upgrade(found: &Value, wanted: &Value, is_edited: bool) -> bool {
    let (found, wanted) = (&found["spec"]["template"], &wanted["spec"]["template"]);
    let plan = |template: &Value| template["metadata"]["annotations"][PLAN].clone();
    !is_edited && plan(found) == plan(wanted) && differs(wanted, found)
}

/// Pipelines that replace their pods, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places<K: Ord>(BTreeMap<K, Duration>);

impl<K: Ord> Places<K> {
    /// Whether one more may begin; then it has a place. Times are of one monotonic clock.
    pub fn take(&mut self, pipeline: K, limit: usize, now: Duration) -> bool {
        self.0.retain(|_, since| now.saturating_sub(*since) < PATIENCE);
        let may = self.0.contains_key(&pipeline) || self.0.len() < limit;
        if may {
            self.0.entry(pipeline).or_insert(now);
        }
        may
    }

    /// One that has begun already has a place, however many there are: whoever led before gave it one.
    pub fn occupy(&mut self, pipeline: K, now: Duration) {
        self.0.entry(pipeline).or_insert(now);
    }

    /// It has ended, or is gone.
    pub fn leave(&mut self, pipeline: &K) {
        self.0.remove(pipeline);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str, plan: &str) -> Value {
        let pod = json!({"containers": [{"name": "worker", "image": image}]});
        json!({"spec": {"template": {"metadata": {"annotations": {PLAN: plan}}, "spec": pod}}})
    }

    #[test]
    fn another_image_of_the_installation_waits_and_what_a_user_has_changed_does_not() {
        let found = deployment("a", "1");
        assert!(is_upgrade(&found, &deployment("b", "1"), false));
        assert!(!is_upgrade(&found, &deployment("b", "1"), true), "the spec was edited");
        assert!(!is_upgrade(&found, &deployment("b", "2"), false), "there is another plan");
        assert!(!is_upgrade(&found, &found, false));
    }

    #[test]
    fn so_many_begin_at_once_and_one_that_ends_makes_place() {
        let mut places = Places::default();
        let at = Duration::from_secs;
        assert!(places.take("a", 2, at(0)));
        assert!(places.take("b", 2, at(1)));
        assert!(!places.take("c", 2, at(2)));
        assert!(places.take("a", 2, at(3)), "it has begun");
        places.leave(&"b");
        assert!(places.take("c", 2, at(4)));
        assert!(!places.take("d", 2, at(599)));
        assert!(places.take("d", 2, at(600)), "the first one never ends");
    }

    #[test]
    fn those_that_were_under_way_before_take_places_beyond_the_limit_too() {
        let mut places = Places::default();
        let at = Duration::from_secs;
        places.occupy("a", at(0));
        places.occupy("b", at(0));
        assert!(!places.take("c", 1, at(1)));
        places.leave(&"a");
        assert!(!places.take("c", 1, at(2)), "the other one is still under way");
        places.leave(&"b");
        assert!(places.take("c", 1, at(3)));
    }
}
