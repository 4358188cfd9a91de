//! Whether an object in the cluster is as it was applied: without it, each look would be a write.

use serde_json::{Map, Value};

use crate::names::{APPLIED, hash};

/// Notes the hash of an object on it, so that what was applied is known without a memory of it.
pub fn stamp(mut desired: Value) -> Value {
    let digest = hash(desired.to_string().as_bytes());
    let metadata = child(&mut desired, "metadata");
    child(metadata, "annotations")[APPLIED] = digest.into();
    desired
}

fn child<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    let child = &mut value[key];
    if child.is_null() {
        *child = Value::Object(Map::new());
    }
    child
}

/// Whether an object is to be applied: it was last applied as something else, or somebody changed a field of it.
pub fn differs(desired: &Value, observed: &Value) -> bool {
    !contains(observed, desired, "")
}

/// Whether `observed` says all that `desired` says. The API server fills in defaults and others add fields of their own,
/// so more may be there.
fn contains(observed: &Value, desired: &Value, field: &str) -> bool {
    match (observed, desired) {
        (Value::Object(observed), Value::Object(desired)) => {
            let is_whole = !is_selector(field) || observed.keys().all(|key| desired.contains_key(key));
            is_whole
                && desired.iter().all(|(key, desired)| {
                    let observed = observed.get(key).unwrap_or(&Value::Null);
                    // Keys of resource lists are resources: there the field stays that of the list.
                    let field = if field == "requests" || field == "limits" { field } else { key };
                    contains(observed, desired, field)
                })
        }
        (Value::Array(observed), Value::Array(desired)) => contains_items(observed, desired, field),
        (Value::Null, desired) => is_nothing(desired),
        (Value::String(a), Value::String(b)) if a != b => {
            is_quantity(field) && quantity(a).is_some_and(|a| quantity(b) == Some(a))
        }
        (observed, desired) => observed == desired,
    }
}

/// Whether the API server may leave a value out where it is written: Go's `omitempty`.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Bool(true) => false,
    }
}

/// Items with a key are found by it; others are compared in order.
fn contains_items(observed: &[Value], desired: &[Value], field: &str) -> bool {
    let key = ["name", "uid"].into_iter().find(|key| desired.iter().all(|item| item.get(key).is_some()));
    match key {
        Some(key) => desired.iter().all(|desired| {
            let found = observed.iter().find(|observed| observed.get(key) == desired.get(key));
            found.is_some_and(|observed| contains(observed, desired, field))
        }),
        None => {
            observed.len() == desired.len()
                && observed.iter().zip(desired).all(|(observed, desired)| contains(observed, desired, field))
        }
    }
}

/// Whether a key that is added changes what is meant: these are owned as a whole (`x-kubernetes-map-type: atomic`).
fn is_selector(field: &str) -> bool {
    matches!(field, "selector" | "podSelector" | "namespaceSelector" | "labelSelector" | "matchLabels" | "nodeSelector")
}

fn is_quantity(field: &str) -> bool {
    field == "requests" || field == "limits"
}

/// A quantity in thousandths, as the API server rewrites `1024Mi` to `1Gi` and `0.5` to `500m`.
fn quantity(text: &str) -> Option<i128> {
    const SUFFIXES: [(&str, i128); 13] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
        ("", 1),
    ];
    if let Some(thousandths) = text.strip_suffix('m') {
        return thousandths.parse().ok();
    }
    let (number, factor) = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = fraction.get(..fraction.len().min(3))?;
    let thousandths =
        digits.parse::<i128>().or_else(|error| if digits.is_empty() { Ok(0) } else { Err(error) }).ok()?;
    let thousandths = thousandths * 10_i128.pow(3 - u32::try_from(digits.len()).ok()?);
    whole.parse::<i128>().ok()?.checked_mul(1_000)?.checked_add(thousandths)?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_and_the_fields_of_others_are_no_difference() {
        let desired =
            stamp(json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "worker", "image": "x"}]}}));
        let mut observed = desired.clone();
        observed["metadata"]["resourceVersion"] = "7".into();
        observed["spec"]["containers"][0]["terminationMessagePath"] = "/dev/termination-log".into();
        observed["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({"name": "sidecar"}));
        assert!(!differs(&desired, &observed));
    }

    #[test]
    fn a_changed_field_a_removed_one_and_another_hash_are_differences() {
        let old = stamp(json!({"spec": {"replicas": 1, "paused": true}}));
        assert!(differs(&stamp(json!({"spec": {"replicas": 2}})), &old));
        assert!(differs(&old, &json!({"metadata": old["metadata"], "spec": {"replicas": 1}})));
        // A field that is no longer wanted is still there: only the hash tells.
        assert!(differs(&stamp(json!({"spec": {"replicas": 1}})), &old));
    }

    #[test]
    fn a_key_that_is_added_to_a_selector_is_a_difference() {
        let service = |selector: Value| json!({"spec": {"selector": selector, "clusterIP": "None"}});
        let ours = service(json!({"a": "1"}));
        assert!(!differs(&ours, &ours));
        assert!(differs(&ours, &service(json!({"a": "1", "b": "2"}))));
        let policy = |labels: Value| json!({"spec": {"podSelector": {"matchLabels": labels}}});
        assert!(differs(&policy(json!({"a": "1"})), &policy(json!({"a": "1", "b": "2"}))));
        assert!(!differs(&json!({"spec": {"podSelector": {}}}), &json!({"spec": {"podSelector": {}}})));
    }

    #[test]
    fn what_the_api_server_leaves_out_is_no_difference() {
        let desired =
            json!({"tolerations": [{"key": "spot", "value": ""}], "affinity": {"nodeAffinity": {}}, "weight": 0});
        assert!(!differs(&desired, &json!({"tolerations": [{"key": "spot"}]})));
        assert!(differs(&json!({"value": "a"}), &json!({})));
    }

    #[test]
    fn quantities_are_compared_by_what_they_say() {
        for (a, b) in [("1024Mi", "1Gi"), ("0.5", "500m"), ("1000m", "1"), ("1", "1.0"), ("2k", "2000")] {
            assert_eq!(quantity(a), quantity(b), "{a} {b}");
            let limits = |text: &str| json!({"resources": {"limits": {"memory": text}}});
            assert!(!differs(&limits(a), &limits(b)));
        }
        assert_ne!(quantity("1Gi"), quantity("1G"));
        assert_eq!(quantity("many"), None);
        assert!(differs(&json!({"name": "1024Mi"}), &json!({"name": "1Gi"})));
    }
}
