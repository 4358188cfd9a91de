//! What the operator knows of workers: workers themselves answer nobody who has no key. It is asked by way of the API server, at
//! the loopback address of its pod, which whoever reaches has been let do that (`pods/portforward`).

use std::collections::BTreeMap;

use axum::http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use thalweg_mtls::client::{AskError, Connection};
use thalweg_operator_plan::names::{APP_NAME, MANAGER, OPERATOR};
use thalweg_operator_plan::objects::OPERATOR_REPORTS_PORT;
use thalweg_operator_plan::view::Heard;
use tokio::io::{AsyncRead, AsyncWrite};

use super::kubernetes::Place;

/// Most that it says: 1,000 workers with some kilobytes each.
const MOST_BYTES: usize = 64 << 20;

/// What the workers of a pipeline said last, by UID of their pods; or why that cannot be known, in words.
///
/// # Errors
/// The operator is not found, may not be reached, or does not answer.
pub async fn reports(place: &Place, pods: &[Pod]) -> Result<BTreeMap<String, Heard>, String> {
    let Some(first) = pods.first() else { return Ok(BTreeMap::new()) };
    let namespaces = pods.iter().find_map(|pod| pod.annotations().get(OPERATOR));
    let Some(namespace) = namespaces else {
        return Err(format!(
            "pod {} has no annotation {OPERATOR}, which names the operator's namespace",
            first.name_any()
        ));
    };
    let operators: Api<Pod> = Api::namespaced(place.client.clone(), namespace);
    let found = operators.list(&ListParams::default().labels(&format!("{APP_NAME}={MANAGER}"))).await;
    let found = found.map_err(|error| refused(namespace, &error))?;
    let Some(operator) = found.items.iter().find(|pod| is_ready(pod)).map(ResourceExt::name_any) else {
        return Err(format!("no operator is ready in namespace {namespace}"));
    };
    let port = OPERATOR_REPORTS_PORT;
    let mut forwarded = operators.portforward(&operator, &[port]).await.map_err(|error| refused(namespace, &error))?;
    let stream = forwarded.take_stream(port).ok_or("the API server forwards no port")?;
    let path = format!("/api/pipelines/{}/{}/reports", place.namespace, place.name);
    let asked = ask(stream, &path).await;
    forwarded.abort();
    asked.map_err(|said| format!("asking pod {operator} of namespace {namespace}: {said}"))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Why the operator is not reached, and what to do.
fn refused(namespace: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            let said = &status.message;
            format!("{said} (the chart's Role `…-reports` has to be bound to you in namespace {namespace})")
        }
        error => format!("reaching the operator in namespace {namespace}: {error}"),
    }
}

/// Asks over a connection.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    path: &str,
) -> Result<BTreeMap<String, Heard>, String> {
    let answer = async { Connection::over(stream).await?.get("localhost", path, MOST_BYTES).await }.await;
    let (status, body) = answer.map_err(|error: AskError| error.to_string())?;
    if status != StatusCode::OK {
        return Err(String::from_utf8_lossy(&body).trim_end().to_owned());
    }
    serde_json::from_slice(&body).map_err(|error| format!("its answer: {error}"))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::response::IntoResponse;
    use axum::routing::get;
    use serde_json::json;

    use super::super::status::tests::{Answers, place};
    use super::*;

    /// What is made of what an operator answers.
    async fn asked(
        answer: impl IntoResponse + Clone + Send + Sync + 'static,
    ) -> Result<BTreeMap<String, Heard>, String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/reports", get(|| async { answer }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        ask(tokio::net::TcpStream::connect(address).await.expect("it listens"), "/reports").await
    }

    #[tokio::test]
    async fn what_the_operator_heard_is_read_and_what_it_says_instead_is_told() {
        let heard: BTreeMap<String, Heard> = [
            ("a".to_owned(), Ok(thalweg_crds::report::Report::default())),
            ("b".to_owned(), Err("it has not reported yet".to_owned())),
        ]
        .into();
        let text = serde_json::to_string(&heard).expect("JSON");
        assert_eq!(asked(text).await, Ok(heard));
        let starts = asked((StatusCode::SERVICE_UNAVAILABLE, "this replica has just started\n")).await;
        assert_eq!(starts, Err("this replica has just started".to_owned()));
        assert!(asked("no JSON").await.expect_err("it is none").starts_with("its answer: "));
    }

    fn worker(annotations: serde_json::Value) -> Vec<Pod> {
        let pod = json!({"metadata": {"name": "fares-x", "uid": "pod-a", "annotations": annotations}});
        vec![serde_json::from_value(pod).expect("a pod")]
    }

    async fn refusal(answers: Answers, annotations: serde_json::Value) -> String {
        reports(&place(&answers).await, &worker(annotations)).await.expect_err("it is refused")
    }

    #[tokio::test]
    async fn what_keeps_the_operator_from_being_asked_is_told_with_what_to_do() {
        let named = json!({OPERATOR: "thalweg"});
        let pods = |items: serde_json::Value| {
            Answers::default().with("/api/v1/namespaces/thalweg/pods", 200, json!({"metadata": {}, "items": items}))
        };
        let none = refusal(Answers::default(), json!({})).await;
        assert!(none.starts_with("pod fares-x has no annotation thalweg.dev/operator"), "{none}");
        let denied = |what: &str| {
            let message = format!("{what} is forbidden");
            json!({"kind": "Status", "status": "Failure", "message": message, "code": 403})
        };
        let list = Answers::default().with("/api/v1/namespaces/thalweg/pods", 403, denied("pods"));
        let list = refusal(list, named.clone()).await;
        assert!(list.starts_with("pods is forbidden (the chart's Role"), "{list}");
        let away = refusal(pods(json!([{"metadata": {"name": "thalweg-a"}}])), named.clone()).await;
        assert_eq!(away, "no operator is ready in namespace thalweg");
        let ready = json!([{
            "metadata": {"name": "thalweg-a"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }]);
        let forward =
            pods(ready).with("/api/v1/namespaces/thalweg/pods/thalweg-a/portforward", 403, denied("pods/portforward"));
        let forward = refusal(forward, named).await;
        assert!(forward.starts_with("pods/portforward is forbidden (the chart's Role"), "{forward}");
        assert_eq!(reports(&place(&Answers::default()).await, &[]).await, Ok(BTreeMap::new()));
    }
}
