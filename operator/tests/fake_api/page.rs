//! The page that shows pipelines live: what it answers of a cluster, and what a real browser makes of it.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use thalweg_operator::page::router;
use tower::ServiceExt;

use crate::fake::FakeApi;
use crate::harness::{Cluster, SQL, pipeline_key, resources};

const LISTEN: &str = "127.0.0.1:8082";

/// A pipeline with two splits, of which much waits.
async fn started() -> Cluster {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(2);
    cluster.api.set_load(40.0, 500.0, 3_000);
    resources(&cluster.api);
    cluster.until_workers(SQL, 1).await;
    cluster
}

async fn get(cluster: &Cluster, path: &str) -> (StatusCode, Value) {
    let router = router(LISTEN.parse().expect("an address"), Arc::clone(&cluster.page));
    let request = Request::get(path).header("host", "localhost:8082").body(Body::empty()).expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// Waits until the splits are shown with what their reader says.
async fn until_heard(cluster: &Cluster) -> Value {
    let heard = async {
        loop {
            let (_, view) = get(cluster, "/api/pipelines/shop/fares").await;
            let splits = view["splits"].as_array().cloned().unwrap_or_default();
            if splits.len() == 2 && splits.iter().all(|split| split["ratePerSecond"].is_number()) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), heard).await.expect("workers are heard")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lists_pipelines_and_shows_one_as_its_workers_say() {
    let cluster = started().await;
    let view = until_heard(&cluster).await;
    assert_eq!((&view["namespace"], &view["name"]), (&json!("shop"), &json!("fares")));
    assert_eq!(view["workers"].as_array().map(Vec::len), Some(1));
    assert_eq!(view["workers"][0]["state"], "Running");
    assert_eq!(view["splits"][0]["reader"], view["workers"][0]["slot"]);
    assert_eq!(view["sinks"], json!([{"sink": "out", "ratePerSecond": 80.0}]));
    assert!(
        view["units"].as_array().is_some_and(|units| units.iter().all(|unit| unit["state"] == "Owned")),
        "{view:#}"
    );
    let (status, list) = get(&cluster, "/api/pipelines").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&list["pipelines"][0]["name"], &list["leftOut"]), (&json!("fares"), &json!(0)));
    let (status, reports) = get(&cluster, "/api/pipelines/shop/fares/reports").await;
    assert_eq!((status, reports.as_object().map(serde_json::Map::len)), (StatusCode::OK, Some(1)));
    let report = reports.as_object().and_then(|reports| reports.values().next()).expect("of the only worker");
    assert_eq!(report["Ok"]["state"], "Running", "{reports:#}");
    for path in [
        "/api/pipelines/shop/other",
        "/api/pipelines/other/fares",
        "/api/pipelines/shop",
        "/api/pipelines/shop/other/reports",
    ] {
        assert_eq!(get(&cluster, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

/// What a headless Chromium makes of a page after some seconds of its own time.
async fn browsed(url: &str) -> Output {
    let profile = std::env::temp_dir().join(format!("thalweg-browser-{}", std::process::id()));
    let mut chromium = tokio::process::Command::new("chromium");
    chromium
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=7000", "--window-size=1400,700"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .kill_on_drop(true);
    match std::env::var("THALWEG_SCREENSHOT") {
        Ok(path) => chromium.arg(format!("--screenshot={path}")),
        Err(_) => chromium.arg("--dump-dom"),
    };
    let output = tokio::time::timeout(Duration::from_secs(120), chromium.arg(url).output()).await;
    let _ = std::fs::remove_dir_all(&profile);
    output.expect("it ends").expect("chromium is installed")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's chromium: make e2e-tools"]
async fn a_real_browser_draws_the_pipeline_within_its_policy_and_text_stays_text() {
    let cluster = started().await;
    until_heard(&cluster).await;
    let hostile = "<img src=x onerror=alert(1)>";
    cluster.api.store().edit(&pipeline_key(), |pipeline| {
        pipeline["status"]["scaling"]["lastDecision"] = json!({
            "from": 1, "to": 2, "reason": hostile, "inputs": "y", "time": "2026-01-02T03:04:05Z",
        });
    });
    cluster.api.changed();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listen: SocketAddr = listener.local_addr().expect("an address");
    let router = router(listen, Arc::clone(&cluster.page));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let output = browsed(&format!("http://{listen}/#shop%2Ffares")).await;
    server.abort();
    let (page, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if std::env::var_os("THALWEG_SCREENSHOT").is_some() {
        return;
    }
    assert!(page.contains("<option value=\"shop/fares\">shop/fares</option>"), "{page}\n{told}");
    assert!(page.contains("<td>trips/0</td>") && page.contains("<td>trips/1</td>"), "{page}");
    assert!(page.contains("<td>Running</td>") && page.contains("<progress"), "{page}");
    assert!(page.contains("<td>out</td><td class=\"number\">80</td>"), "{page}");
    assert!(page.contains("1 → 2 workers") && page.contains("&lt;img src=x onerror=alert(1)&gt;"), "{page}");
    assert!(!page.contains("<img"), "{page}");
    let broken: Vec<_> = told.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}
