//! Objects that this version cannot read: their definition in the cluster allows, or allowed once, what is none of their kind here.

use std::path::Path;

use serde_json::{Value, json};
use thalweg_crds::API_VERSION;
use thalweg_crds::condition::Reason;
use thalweg_crds::manifest::read_text;

use crate::problem::Problem;

const HELP: &str = "mend it there, or bring the operator and the resource definitions to one version (helm upgrade)";

/// What is amiss with an object as it is stored: every field that the schema of this version does not allow, or where it allows
/// them all, what stood in the way of reading it.
pub fn problems(kind: &str, name: &str, object: &Value, error: &str) -> Vec<Problem> {
    let manifest = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": object["spec"]});
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    let (_, found) = read_text(Path::new("object.json"), &text);
    let problem = |path: &str, message: &str, help: Option<&str>| Problem {
        reason: Reason::Unreadable,
        resource: format!("{kind}/{name}"),
        path: path.to_owned(),
        place: None,
        message: format!("this version cannot read it: {message}"),
        help: Some(help.into_iter().chain([HELP]).collect::<Vec<_>>().join("; ")),
    };
    match found.is_empty() {
        true => vec![problem("", error, None)],
        false => found.iter().map(|found| problem(&found.path, &found.message, found.help.as_deref())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_this_version_does_not_know_is_told_with_what_stands_there() {
        let object = json!({"metadata": {"name": "trips"}, "spec": {
            "generator": {"taxi": {}}, "schema": [{"name": "fare", "type": "DOUBLE", "from": "fare_amount"}],
            "onError": "Explode", "colour": "red",
        }});
        let found = problems("StreamSource", "trips", &object, "unknown variant");
        let told: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:#?}");
        let begins = "StreamSource/trips spec.onError: this version cannot read it: expected Fail, Drop or DeadLetter, \
                      found `Explode`";
        let on_error = told.iter().find(|told| told.starts_with(begins));
        assert!(on_error.is_some_and(|told| told.ends_with(HELP)), "{told:#?}");
        assert!(told.iter().any(|told| told.starts_with("StreamSource/trips spec.colour: ")), "{told:#?}");
        assert!(found.iter().all(|problem| problem.reason == Reason::Unreadable));
    }

    #[test]
    fn what_the_schema_does_not_explain_is_told_as_the_reader_tells_it() {
        let found = problems("StreamAssignment", "fares", &json!({"spec": {}}), "missing field `plan`");
        let told = format!("StreamAssignment/fares: this version cannot read it: missing field `plan`; {HELP}");
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
    }
}
