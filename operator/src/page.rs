//! A page that shows pipelines live, as `thalweg top` does: read-only, off unless it is asked for. What lies behind it, without
//! the page, is what `thalweg status` and `thalweg top` ask for.
//!
//! Nobody is asked who he is. So both listen on the loopback address by default, where `kubectl port-forward` reaches them, which
//! asks Kubernetes. It answers GET, from what this process has in memory: no Secret is there, and nothing is written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use serde::Serialize;
use thalweg_crds::StreamPipeline;
use thalweg_operator_plan::names::{Names, PIPELINE};
use thalweg_operator_plan::observed::{SILENCE_LIMIT, pod_uid};
use thalweg_operator_plan::view::{Found, Heard, View};

use crate::pods::is_lookout;
use crate::reports::{Reports, holder};
use crate::world::World;

/// What a browser may do with the page: load its own script and style, and ask where they came from. Nothing else, nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
/// On every answer.
const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];
/// Most pipelines that are listed.
const MOST: usize = 1_000;

/// What is shown: a part for each namespace that is looked after, or one for all of them; none before the
/// caches of this replica are filled. One that waits for its turn shows the same as the one that leads.
#[derive(Default)]
pub struct Shown(Mutex<Vec<Part>>);

#[derive(Clone)]
struct Part {
    world: Arc<World>,
    reports: Arc<Reports>,
}

/// A pipeline in the list.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    name: String,
    phase: Option<String>,
    workers: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rows {
    pipelines: Vec<Row>,
    /// How many more there are.
    left_out: usize,
}

impl Shown {
    /// From now on this is shown, too.
    pub fn add(&self, world: &Arc<World>, reports: &Arc<Reports>) {
        self.lock().push(Part { world: Arc::clone(world), reports: Arc::clone(reports) });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts; `None` while caches are being filled.
    fn parts(&self) -> Option<Vec<Part>> {
        Some(self.lock().clone()).filter(|parts| !parts.is_empty())
    }
}

impl Part {
    fn view(&self, namespace: &str, name: &str) -> Option<View> {
        let pipeline = self.world.pipelines.get(&ObjectRef::new(name).within(namespace))?.object()?;
        let assignment = self.world.assignments.get(&ObjectRef::new(name).within(namespace));
        let assignment = assignment.and_then(|assignment| Some(assignment.object()?.spec)).unwrap_or_default();
        let label = Names::new(name).label();
        let is_theirs = |pod: &k8s_openapi::api::core::v1::Pod| {
            pod.namespace().as_deref() == Some(namespace)
                && pod.labels().get(PIPELINE) == Some(&label)
                && !is_lookout(pod)
        };
        let pods: Vec<_> = self.world.pods.state_filter(is_theirs).iter().map(|pod| (**pod).clone()).collect();
        let heard = self.heard(namespace, name)?;
        Some(View::new(&Found {
            pipeline: &pipeline,
            assignment: &assignment,
            pods: &pods,
            heard: &heard,
            unasked: None,
        }))
    }
}

impl Part {
    /// What workers said, by UID of their pods: those that the assignment names, and any that hold a slot beside.
    fn heard(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, Heard>> {
        self.world.pipelines.get(&ObjectRef::new(name).within(namespace))?;
        let assignment = self.world.assignments.get(&ObjectRef::new(name).within(namespace));
        let named = assignment.and_then(|assignment| Some(assignment.object()?.spec.workers)).unwrap_or_default();
        let label = Names::new(name).label();
        let is_theirs = |lease: &Lease| {
            lease.namespace().as_deref() == Some(namespace) && lease.labels().get(PIPELINE) == Some(&label)
        };
        let leases = self.world.leases.state_filter(is_theirs);
        let runs = named.into_iter().map(|worker| worker.run_id).chain(leases.iter().filter_map(|it| holder(it)));
        Some(runs.map(|run| (pod_uid(&run).to_owned(), heard(self.reports.of(&run)))).collect())
    }
}

/// What a worker said, unless that is too long ago to be shown as now.
fn heard(report: Option<(thalweg_crds::report::Report, Duration)>) -> Heard {
    match report {
        Some((report, age)) if age <= SILENCE_LIMIT => Ok(report),
        Some((_, age)) => Err(format!("it last reported {} s ago", age.as_secs())),
        None => Err("it has not reported yet".to_owned()),
    }
}

fn row(pipeline: &StreamPipeline) -> Row {
    let status = pipeline.status.as_ref();
    Row {
        namespace: pipeline.namespace().unwrap_or_default(),
        name: pipeline.name_any(),
        phase: status.and_then(|status| status.phase).map(|phase| format!("{phase:?}")),
        workers: status.and_then(|status| Some(status.workers.as_ref()?.summary.clone())),
    }
}

/// Serves the page, or what lies behind it, until the process ends.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(listen: SocketAddr, router: Router) -> std::io::Result<()> {
    axum::serve(tokio::net::TcpListener::bind(listen).await?, router).await
}

/// The routes of the page, for an address that is listened on.
pub fn router(listen: SocketAddr, shown: Arc<Shown>) -> Router {
    let file = |kind: &'static str, text: &'static str| get(move || async move { ([(CONTENT_TYPE, kind)], text) });
    let page = Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page/page.html")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("page/page.js")))
        .route("/page.css", file("text/css; charset=utf-8", include_str!("page/page.css")));
    guarded(listen, page.merge(answers(shown)))
}

/// What lies behind the page, without it, for an address that is listened on.
pub fn api(listen: SocketAddr, shown: Arc<Shown>) -> Router {
    guarded(listen, answers(shown))
}

fn answers(shown: Arc<Shown>) -> Router {
    Router::new()
        .route("/api/pipelines", get(list))
        .route("/api/pipelines/{namespace}/{name}", get(one))
        .route("/api/pipelines/{namespace}/{name}/reports", get(reports))
        .with_state(shown)
}

fn guarded(listen: SocketAddr, router: Router) -> Router {
    router.layer(from_fn_with_state(listen, only_by_its_name)).layer(from_fn(with_headers))
}

async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    HEADERS.into_iter().for_each(|(name, value)| {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    });
    response
}

/// On the loopback address, whoever is called by another name is not meant: a page of elsewhere that had its own name lead here
/// (DNS rebinding) would read the answer in the user's browser.
async fn only_by_its_name(State(listen): State<SocketAddr>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if listen.ip().is_loopback() && !is_loopback(host) {
        let said = format!("this page is at localhost and 127.0.0.1, and was called `{}`\n", host.escape_default());
        return (StatusCode::FORBIDDEN, said).into_response();
    }
    next.run(request).await
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

async fn list(State(shown): State<Arc<Shown>>) -> Response {
    let Some(parts) = shown.parts() else { return starts() };
    let all = parts.iter().flat_map(|part| part.world.pipelines.state());
    let mut rows: Vec<Row> = all.filter_map(|pipeline| Some(row(&pipeline.object()?))).collect();
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let left_out = rows.len().saturating_sub(MOST);
    rows.truncate(MOST);
    json(&Rows { pipelines: rows, left_out })
}

async fn one(State(shown): State<Arc<Shown>>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let Some(parts) = shown.parts() else { return starts() };
    match parts.iter().find_map(|part| part.view(&namespace, &name)) {
        Some(view) => json(&view),
        None => (StatusCode::NOT_FOUND, "there is no such StreamPipeline\n").into_response(),
    }
}

/// What the workers of a pipeline said, as `thalweg status` asks for it.
async fn reports(State(shown): State<Arc<Shown>>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let Some(parts) = shown.parts() else { return starts() };
    match parts.iter().find_map(|part| part.heard(&namespace, &name)) {
        Some(heard) => json(&heard),
        None => (StatusCode::NOT_FOUND, "it looks after no such StreamPipeline\n").into_response(),
    }
}

fn starts() -> Response {
    let said = "this replica has just started and does not know of pipelines yet\n";
    (StatusCode::SERVICE_UNAVAILABLE, said).into_response()
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Method;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn asked(listen: &str, method: Method, path: &str, host: &str) -> (StatusCode, Response) {
        let router = router(listen.parse().expect("an address"), Arc::new(Shown::default()));
        let request = Request::builder().method(method).uri(path).header(HOST, host).body(Body::empty());
        let response = router.oneshot(request.expect("a request")).await.expect("an answer");
        (response.status(), response)
    }

    #[tokio::test]
    async fn each_answer_has_the_policy_and_only_get_is_answered() {
        for (method, path, expected) in [
            (Method::GET, "/", 200),
            (Method::GET, "/page.js", 200),
            (Method::GET, "/page.css", 200),
            (Method::GET, "/api/pipelines", 503),
            (Method::GET, "/api/pipelines/shop/fares", 503),
            (Method::GET, "/api/pipelines/shop/fares/reports", 503),
            (Method::GET, "/metrics", 404),
            (Method::GET, "/../Cargo.toml", 404),
            (Method::POST, "/", 405),
            (Method::PUT, "/api/pipelines/shop/fares", 405),
            (Method::DELETE, "/api/pipelines/shop/fares", 405),
            (Method::PATCH, "/api/pipelines", 405),
        ] {
            let (status, response) = asked("127.0.0.1:8082", method.clone(), path, "localhost:8082").await;
            assert_eq!(status.as_u16(), expected, "{method} {path}");
            for (name, value) in HEADERS {
                assert_eq!(
                    response.headers().get(&name).and_then(|it| it.to_str().ok()),
                    Some(value),
                    "{method} {path}"
                );
            }
        }
    }

    #[tokio::test]
    async fn on_the_loopback_address_no_other_name_is_answered() {
        for (listen, host, expected) in [
            ("127.0.0.1:8082", "127.0.0.1:8082", 200),
            ("127.0.0.1:8082", "[::1]:8082", 200),
            ("[::1]:8082", "LOCALHOST", 200),
            ("127.0.0.1:8082", "evil.example:8082", 403),
            ("127.0.0.1:8082", "127.0.0.1.evil.example", 403),
            ("127.0.0.1:8082", "", 403),
            ("0.0.0.0:8082", "operator.thalweg", 200),
        ] {
            assert_eq!(asked(listen, Method::GET, "/", host).await.0.as_u16(), expected, "{listen} {host}");
        }
    }

    #[tokio::test]
    async fn the_page_names_nothing_of_elsewhere_and_holds_no_script_of_its_own() {
        let (_, response) = asked("127.0.0.1:8082", Method::GET, "/", "localhost").await;
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("text");
        assert!(text.contains("<script src=\"page.js\" defer></script>") && !text.contains("style="), "{text}");
        let all = [text.as_str(), include_str!("page/page.js"), include_str!("page/page.css")].concat();
        assert!(!all.contains("http://") && !all.contains("https://") && !all.contains("innerHTML"));
    }

    #[test]
    fn what_was_said_long_ago_is_not_shown_as_now() {
        let report = thalweg_crds::report::Report::default();
        assert!(heard(Some((report.clone(), Duration::from_secs(2)))).is_ok());
        assert_eq!(heard(Some((report, Duration::from_secs(60)))), Err("it last reported 60 s ago".to_owned()));
        assert_eq!(heard(None), Err("it has not reported yet".to_owned()));
    }
}
