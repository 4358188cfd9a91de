//! The operator's process: settings, logs, leader election, and the end by a signal.

mod memory;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use kube::{Api, Client};
use rand::{Rng, SeedableRng};
use thalweg_mtls::identity::Identity;
use thalweg_operator::checks::Checks;
use thalweg_operator::controller::Parts;
use thalweg_operator::definitions;
use thalweg_operator::installation;
use thalweg_operator::leader::{Elector, Leadership};
use thalweg_operator::metrics::Metrics;
use thalweg_operator::page;
use thalweg_operator::replica;
use thalweg_operator::requests;
use thalweg_operator::rollouts::Rollouts;
use thalweg_operator::server::{Shown, serve};
use thalweg_operator::settings::Settings;
use thalweg_operator::tally::Tally;
use thalweg_operator_plan::objects;
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;
use tracing_subscriber::EnvFilter;

/// Anything that ends the process.
type Fatal = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let settings = Settings::parse();
    let filter = EnvFilter::try_new(&settings.log).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).init();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        error!("another TLS provider is installed");
        return ExitCode::FAILURE;
    }
    match run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "ending");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> Result<(), Fatal> {
    let metrics = Arc::new(Metrics::new()?);
    metrics.started.set(k8s_openapi::jiff::Timestamp::now().as_second() as f64);
    let shown = Arc::new(Shown { metrics: Arc::clone(&metrics), ready: AtomicBool::new(false) });
    let client = requests::client(&metrics, settings.test_kills.as_deref()).await?;
    let leases = Api::namespaced(client.clone(), &settings.namespace);
    let (elector, leadership) = Elector::new(leases, settings.pod_name.clone(), metrics.leader_changes.clone());
    let (mut ended, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let page = Arc::<page::Shown>::default();
    let identity = Identity::read(&settings.report_key)?;
    let config_maps = Api::namespaced(client.clone(), &settings.namespace);
    let installation = tokio::select! {
        id = installation::id(&config_maps) => id?,
        _ = ended.recv() => return Ok(()),
        _ = interrupted.recv() => return Ok(()),
    };
    let (asked, namespace, pod) = (client.clone(), settings.namespace.clone(), settings.pod_name.clone());
    // Beside all else: nothing waits for it.
    tokio::spawn(async move { definitions::tell(asked, &namespace, &pod).await });
    let parts = parts(&settings, &installation, client, leadership, &metrics, &page, &identity);
    let api = page::api(settings.reports_listen, Arc::clone(&page));
    let ended = async {
        tokio::select! {
            served = serve(settings.listen, Arc::clone(&shown)) => served.map_err(Fatal::from),
            served = page::serve(settings.reports_listen, api) => served.map_err(Fatal::from),
            served = serve_page(settings.page_listen, Arc::clone(&page)) => served.map_err(Fatal::from),
            _ = ended.recv() => Ok(()),
            _ = interrupted.recv() => Ok(()),
        }
    };
    replica::run(parts, elector, &metrics, &shown.ready, ended).await
}

/// Serves the page, where it is asked for.
async fn serve_page(listen: Option<std::net::SocketAddr>, shown: Arc<page::Shown>) -> std::io::Result<()> {
    match listen {
        Some(listen) => page::serve(listen, page::router(listen, shown)).await,
        None => std::future::pending().await,
    }
}

/// A controller for each namespace that is looked after.
fn parts(
    settings: &Settings,
    installation: &str,
    client: Client,
    leadership: Leadership,
    metrics: &Arc<Metrics>,
    page: &Arc<page::Shown>,
    identity: &Identity,
) -> Vec<Parts> {
    let checks = Arc::new(Checks::new(settings.check_binary.clone(), Arc::clone(metrics)));
    let tally = Arc::new(Tally::default());
    let rollouts = Arc::new(Rollouts::new(settings.max_concurrent_rollouts));
    let mut random = rand::rngs::StdRng::from_os_rng();
    let scopes = settings.scopes().into_iter();
    let parts = scopes.map(|namespace| Parts {
        client: client.clone(),
        namespace,
        settings: objects::Settings {
            worker_image: settings.worker_image.clone(),
            image_pull_policy: settings.image_pull_policy.clone(),
            installation: installation.to_owned(),
            operator_namespace: settings.namespace.clone(),
            operator_keys: settings.operator_keys(identity),
            metrics_from: settings.metrics_from.0.clone(),
        },
        identity: identity.clone(),
        checks: Arc::clone(&checks),
        metrics: Arc::clone(metrics),
        tally: Arc::clone(&tally),
        page: Arc::clone(page),
        leadership: leadership.clone(),
        concurrency: settings.concurrency,
        rollouts: Arc::clone(&rollouts),
        instance: settings.pod_name.clone(),
        seed: random.random(),
    });
    parts.collect()
}
