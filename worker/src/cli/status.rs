//! `thalweg status`: a pipeline as it is now, by its status, its assignment and what its workers told the operator.

mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::ListParams;
use thalweg_crds::StreamPipeline;
use thalweg_crds::assignment::StreamAssignment;
use thalweg_crds::condition::{ConditionStatus, ConditionType};
use thalweg_operator_plan::names::{Names, PIPELINE};
use thalweg_operator_plan::view::{Found, View};
use tokio::time::timeout;

use super::args::{Output, StatusArgs};
use super::kubernetes::{Place, Refusal};
use super::operator::reports;
use super::{Exit, print, tell};

/// How long the operator's answer may take.
const REPORTS: Duration = Duration::from_secs(5);
/// How often it is looked again with `--watch`.
const AGAIN: Duration = Duration::from_secs(2);

/// Shows a pipeline.
pub fn run(args: &StatusArgs) -> Exit {
    on_one_thread(async {
        let place = match Place::find(&args.pipeline).await {
            Ok(place) => place,
            Err(refusal) => return refused(&refusal),
        };
        if let Some(wanted) = args.until {
            match timeout(args.timeout.as_std(), wait(&place, wanted)).await {
                Ok(Ok(())) => {}
                Ok(Err(refusal)) => return refused(&refusal),
                Err(_) => {
                    tell(&format!("error: {} is not {wanted} after {}", place.name, args.timeout));
                    return Exit::Failed;
                }
            }
        }
        loop {
            let exit = match look(&place).await {
                Ok(view) => print(&shown(&view, args)),
                Err(refusal) => return refused(&refusal),
            };
            if !args.watch || exit != Exit::Done {
                return exit;
            }
            tokio::time::sleep(AGAIN).await;
        }
    })
}

/// Waits until a condition is True, and tells what is in the way whenever that changes.
async fn wait(place: &Place, wanted: ConditionType) -> Result<(), Refusal> {
    let mut told = String::new();
    loop {
        let pipeline = place.pipeline().await?;
        match in_the_way(&pipeline, wanted) {
            None => return Ok(()),
            Some(said) if said == told => {}
            Some(said) => {
                tell(&said);
                told = said;
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What a pipeline says where a condition is not True, of this generation of it.
fn in_the_way(pipeline: &StreamPipeline, wanted: ConditionType) -> Option<String> {
    let conditions = pipeline.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let find = |kind: ConditionType| conditions.iter().find(|condition| condition.type_ == kind.as_str());
    let is_new = |condition: &&Condition| condition.observed_generation == pipeline.metadata.generation;
    let found = find(wanted).filter(is_new);
    if found.is_some_and(|found| found.status == ConditionStatus::True.as_str()) {
        return None;
    }
    let stalled = find(ConditionType::Stalled).filter(|stalled| stalled.status == ConditionStatus::True.as_str());
    Some(match stalled.filter(is_new).or(found) {
        Some(Condition { type_, status, reason, message, .. }) => format!("{type_}: {status} ({reason}): {message}"),
        None => format!("{wanted}: the operator has not looked at this pipeline yet"),
    })
}

/// Runs a command that waits for answers and does nothing else.
///
/// # Panics
/// The system gives no file descriptors.
pub fn on_one_thread<T>(command: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("an event loop needs a few file descriptors").block_on(command)
}

/// Tells why a command cannot do its work, and how the process ends.
pub fn refused(refusal: &Refusal) -> Exit {
    tell(&format!("error: {refusal}"));
    refusal.exit()
}

fn shown(view: &View, args: &StatusArgs) -> String {
    match args.output {
        Output::Text => text::text(view, args.watch),
        Output::Json => json(view),
    }
}

/// A line for scripts.
pub fn json(view: &View) -> String {
    format!("{}\n", serde_json::to_string(view).unwrap_or_default())
}

/// Looks at a pipeline: all that `status` and `top` show. What only some may read (pods, reports) is left out where it cannot be had, and that is told.
pub async fn look(place: &Place) -> Result<View, Refusal> {
    let pipeline = place.pipeline().await?;
    let assignments: Api<StreamAssignment> = Api::namespaced(place.client.clone(), &place.namespace);
    let assignment = assignments.get_opt(&place.name).await;
    let assignment = assignment.map_err(|error| place.refusal("reading the StreamAssignment", &error))?;
    let pods: Api<Pod> = Api::namespaced(place.client.clone(), &place.namespace);
    let label = format!("{PIPELINE}={}", Names::new(&place.name).label());
    let listed = pods.list(&ListParams::default().labels(&label)).await;
    let listed = listed.map_err(|error| place.refusal("listing the workers' pods", &error).to_string());
    let (pods, heard, unasked) = match listed {
        Ok(pods) => match timeout(REPORTS, reports(place, &pods.items)).await {
            Ok(Ok(heard)) => (pods.items, heard, None),
            Ok(Err(said)) => (pods.items, BTreeMap::new(), Some(said)),
            Err(_) => {
                let said = format!("the operator does not answer within {} s", REPORTS.as_secs());
                (pods.items, BTreeMap::new(), Some(said))
            }
        },
        Err(said) => (Vec::new(), BTreeMap::new(), Some(said)),
    };
    let assignment = assignment.map(|assignment| assignment.spec).unwrap_or_default();
    Ok(View::new(&Found { pipeline: &pipeline, assignment: &assignment, pods: &pods, heard: &heard, unasked }))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::header::CONTENT_TYPE;
    use axum::http::{Method, StatusCode, Uri};
    use axum::response::IntoResponse;
    use kube::Config;
    use serde_json::{Value, json};

    use super::*;

    /// What an API server answers, by path.
    #[derive(Clone, Default)]
    pub struct Answers(Arc<Mutex<Inner>>);

    #[derive(Default)]
    struct Inner {
        answers: BTreeMap<String, (u16, Value)>,
        patches: Vec<Value>,
    }

    impl Answers {
        pub fn with(self, path: &str, code: u16, body: Value) -> Self {
            self.0.lock().expect("unpoisoned").answers.insert(path.to_owned(), (code, body));
            self
        }

        pub fn patches(&self) -> Vec<Value> {
            self.0.lock().expect("unpoisoned").patches.clone()
        }
    }

    async fn answer(State(answers): State<Answers>, method: Method, uri: Uri, body: String) -> impl IntoResponse {
        let mut inner = answers.0.lock().expect("unpoisoned");
        if method == Method::PATCH {
            inner.patches.push(serde_json::from_str(&body).expect("JSON"));
        }
        let not_found =
            json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "none", "code": 404});
        let (code, body) = inner.answers.get(uri.path()).cloned().unwrap_or((404, not_found));
        (StatusCode::from_u16(code).expect("a status"), [(CONTENT_TYPE, "application/json")], body.to_string())
    }

    /// The pipeline `shop/fares` in a cluster that answers so.
    pub async fn place(answers: &Answers) -> Place {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(answer).with_state(answers.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Place::at(Config::new(url.parse().expect("a URL")), "shop".to_owned(), "fares".to_owned()).expect("a client")
    }

    const PIPELINES: &str = "/apis/thalweg.dev/v1alpha1/namespaces/shop/streampipelines";

    async fn said(answers: Answers) -> String {
        look(&place(&answers).await).await.map(|_| ()).expect_err("it is refused").to_string()
    }

    #[tokio::test]
    async fn what_stands_in_the_way_is_told_with_what_to_do() {
        let installed = |items: Value| {
            Answers::default().with(PIPELINES, 200, json!({"kind": "List", "metadata": {}, "items": items}))
        };
        let none = said(Answers::default()).await;
        assert!(none.contains("knows no StreamPipeline (thalweg.dev/v1alpha1)"), "{none}");
        assert!(none.contains("helm install thalweg charts/thalweg"), "{none}");
        let spec = json!({"sources": [], "sinks": [], "sql": "x"});
        let other = said(installed(json!([{"metadata": {"name": "counts"}, "spec": spec}]))).await;
        assert_eq!(other, "there is no StreamPipeline `fares` in namespace shop\n  there are: counts");
        let empty = said(installed(json!([]))).await;
        assert!(empty.contains("in namespace shop, nor any other"), "{empty}");
        let denied =
            json!({"kind": "Status", "status": "Failure", "message": "streampipelines is forbidden", "code": 403});
        let denied = said(Answers::default().with(&format!("{PIPELINES}/fares"), 403, denied)).await;
        assert!(denied.starts_with("streampipelines is forbidden\n") && denied.contains("namespace shop"), "{denied}");
    }

    #[test]
    fn what_is_waited_for_is_of_this_generation_and_what_stalls_is_told_first() {
        let with = |conditions: &[(&str, &str, i64)]| -> StreamPipeline {
            let condition = |&(type_, status, generation): &(&str, &str, i64)| {
                json!({
                    "type": type_, "status": status, "reason": "Some", "message": "words", "observedGeneration": generation,
                    "lastTransitionTime": "2026-01-02T03:04:05Z",
                })
            };
            let conditions: Vec<_> = conditions.iter().map(condition).collect();
            serde_json::from_value(json!({
                "apiVersion": "thalweg.dev/v1alpha1", "kind": "StreamPipeline",
                "metadata": {"name": "fares", "generation": 2},
                "spec": {"sources": [], "sinks": [], "sql": "x"},
                "status": {"conditions": conditions},
            }))
            .expect("a pipeline")
        };
        let said = |conditions: &[(&str, &str, i64)]| in_the_way(&with(conditions), ConditionType::Complete);
        let unseen = "Complete: the operator has not looked at this pipeline yet";
        assert_eq!(said(&[("Complete", "True", 2)]), None);
        assert_eq!(said(&[]).as_deref(), Some(unseen));
        assert_eq!(said(&[("Complete", "True", 1), ("Ready", "True", 2)]).as_deref(), Some(unseen));
        assert_eq!(said(&[("Complete", "False", 2)]).as_deref(), Some("Complete: False (Some): words"));
        let stalled = said(&[("Complete", "False", 2), ("Stalled", "True", 2)]);
        assert_eq!(stalled.as_deref(), Some("Stalled: True (Some): words"));
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_named() {
        let config = Config::new("http://127.0.0.1:9".parse().expect("a URL"));
        let place = Place::at(config, "shop".to_owned(), "fares".to_owned()).expect("a client");
        let said = look(&place).await.map(|_| ()).expect_err("nobody is there").to_string();
        assert!(said.starts_with("http://127.0.0.1:9 does not answer: "), "{said}");
    }

    #[tokio::test]
    async fn a_pipeline_is_shown_and_a_note_says_why_its_workers_are_not_asked() {
        let pipeline = json!({
            "metadata": {"name": "fares", "namespace": "shop", "uid": "u"},
            "spec": {"sources": [{"name": "trips"}], "sinks": [{"name": "out"}], "sql": "x"},
            "status": {"phase": "Running", "conditions": [], "scaling": {"lastDecision": {
                "from": 1, "to": 2, "reason": "Busy: x", "inputs": "y", "time": "2026-01-02T03:04:05Z",
            }}},
        });
        let assignment = json!({
            "metadata": {"name": "fares"},
            "spec": {
                "pipeline": "fares", "plan": "p1",
                "units": [{"unit": {"stage": 0, "index": 0}, "owner": "fares-0", "epoch": 1}],
                "splits": [{"source": "trips", "split": "0", "reader": "fares-0"}],
                "workers": [{"slot": "fares-0", "runId": "pod-a/0", "address": "", "keyFingerprint": ""}],
            },
        });
        let pods = json!({"metadata": {}, "items": [{"metadata": {"name": "fares-x", "uid": "pod-a"}}]});
        let answers = Answers::default()
            .with(&format!("{PIPELINES}/fares"), 200, pipeline)
            .with("/apis/thalweg.dev/v1alpha1/namespaces/shop/streamassignments/fares", 200, assignment)
            .with("/api/v1/namespaces/shop/pods", 200, pods);
        let view = look(&place(&answers).await).await.expect("it is found");
        let shown = serde_json::to_value(&view).expect("JSON");
        assert_eq!(shown["splits"][0]["reader"], "fares-0");
        assert_eq!(shown["units"][0]["state"], "Unknown");
        assert_eq!(shown["workers"][0]["pod"], "fares-x");
        assert_eq!(shown["lastDecision"]["to"], 2);
        let note = shown["notes"][0].as_str().unwrap_or_default();
        assert!(note.starts_with("workers cannot be asked: pod fares-x has no annotation"), "{note}");
    }
}
