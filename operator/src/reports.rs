//! Reports of workers: pulled every few seconds, passed on when they mean something new.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use thalweg_crds::ids::RunId;
use thalweg_crds::report::Report;
use thalweg_operator_plan::objects::REPORT_PORT;
use thalweg_operator_plan::observed::{SILENCE_LIMIT, pod_uid};
use tokio::time::{Instant, interval_at, timeout};
use tracing::debug;

use crate::metrics::Metrics;
use crate::silence::Silence;
use crate::watch::{Triggers, owner};
use crate::world::World;

/// How often each worker is asked.
const PERIOD: Duration = Duration::from_secs(2);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Workers that are asked at once.
const AT_ONCE: usize = 64;
/// Longest report: 256 units of some hundred bytes, and splits.
const MOST_BYTES: usize = 4 << 20;

type HttpClient = Client<HttpConnector, Empty<Bytes>>;

/// The last report of each life of a worker.
#[derive(Default)]
pub struct Reports {
    last: Mutex<HashMap<RunId, Report>>,
}

impl Reports {
    /// The last report of a worker.
    pub fn of(&self, run_id: &RunId) -> Option<Report> {
        self.lock().get(run_id).cloned()
    }

    /// Keeps a report; whether it means something new.
    fn keep(&self, report: Report) -> bool {
        let meaning = meaning(&report);
        let before = self.lock().insert(report.run_id.clone(), report);
        before.is_none_or(|before| self::meaning(&before) != meaning)
    }

    fn retain(&self, alive: &HashSet<RunId>) {
        self.lock().retain(|run_id, _| alive.contains(run_id));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Report>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A report without its figures: what a decision could depend on.
fn meaning(report: &Report) -> Report {
    let mut meaning =
        Report { splits: Vec::new(), commit: None, busy_share: 0.0, blocked_share: 0.0, ..report.clone() };
    for unit in &mut meaning.units {
        unit.commits = 0;
        unit.dead_letters = 0;
    }
    meaning
}

/// Asks workers for their reports, and watches for Leases that fall silent.
pub struct Poller {
    leases: Store<Lease>,
    pods: Store<Pod>,
    silence: Arc<Silence>,
    reports: Arc<Reports>,
    triggers: Triggers,
    metrics: Arc<Metrics>,
    client: HttpClient,
    /// Leases, each at its version, that were told to be silent.
    silent: HashSet<(Option<String>, Option<String>)>,
}

impl Poller {
    /// Asks the workers of a world; `triggers` is where pipelines are named whose workers said something new.
    pub fn new(world: &World, reports: Arc<Reports>, triggers: Triggers, metrics: Arc<Metrics>) -> Self {
        Self {
            leases: world.leases.clone(),
            pods: world.pods.clone(),
            silence: Arc::clone(&world.silence),
            reports,
            triggers,
            metrics,
            client: Client::builder(TokioExecutor::new()).build_http(),
            silent: HashSet::new(),
        }
    }

    /// Polls for as long as it is awaited.
    pub async fn run(mut self) {
        let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
        loop {
            ticks.tick().await;
            self.round().await;
        }
    }

    /// Asks every worker once.
    pub async fn round(&mut self) {
        let held: Vec<_> = self.leases.state().into_iter().filter(|lease| holder(lease).is_some()).collect();
        self.reports.retain(&held.iter().filter_map(|lease| holder(lease)).collect());
        self.tell_silent(&held);
        let addresses = self.addresses();
        let ask = |lease| self.ask(lease, &addresses);
        futures::stream::iter(held).for_each_concurrent(AT_ONCE, ask).await;
    }

    /// Names the pipelines of Leases that have just been unchanged for too long: no event comes of that.
    fn tell_silent(&mut self, held: &[Arc<Lease>]) {
        let now: HashSet<_> = held
            .iter()
            .filter(|lease| self.silence.of(lease) >= SILENCE_LIMIT)
            .map(|lease| (lease.uid(), lease.resource_version()))
            .collect();
        let fresh = held.iter().filter(|lease| {
            let key = (lease.uid(), lease.resource_version());
            now.contains(&key) && !self.silent.contains(&key)
        });
        fresh.for_each(|lease| self.trigger(lease));
        self.silent = now;
    }

    /// Addresses of pods by UID. What a Lease says is not followed: whoever may write Leases would make the operator
    /// open connections.
    fn addresses(&self) -> HashMap<String, String> {
        let address = |pod: &Arc<Pod>| Some((pod.uid()?, pod.status.as_ref()?.pod_ip.clone()?));
        self.pods.state().iter().filter_map(address).collect()
    }

    async fn ask(&self, lease: Arc<Lease>, addresses: &HashMap<String, String>) {
        let Some(holder) = holder(&lease) else { return };
        let Some(address) = addresses.get(pod_uid(&holder)) else { return };
        let result = match timeout(PATIENCE, fetch(&self.client, address)).await {
            // Another life of the worker may answer under the address that the Lease still names.
            Ok(Ok(report)) if report.run_id == holder => {
                if self.reports.keep(report) {
                    self.trigger(&lease);
                }
                "Received"
            }
            Ok(Ok(report)) => {
                debug!(%address, found = %report.run_id, expected = %holder, "a report of another worker");
                "Failed"
            }
            Ok(Err(error)) => {
                debug!(%address, error, "asking for a report");
                "Failed"
            }
            Err(_) => "Failed",
        };
        self.metrics.reports.with_label_values(&[result]).inc();
    }

    fn trigger(&self, lease: &Lease) {
        if let Some(pipeline) = owner(lease) {
            // Without a receiver the process is about to end.
            let _ = self.triggers.unbounded_send(pipeline);
        }
    }
}

fn holder(lease: &Lease) -> Option<RunId> {
    let holder = lease.spec.as_ref()?.holder_identity.clone()?;
    (!holder.is_empty()).then_some(RunId(holder))
}

async fn fetch(client: &HttpClient, address: &str) -> Result<Report, String> {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let uri = format!("http://{host}:{REPORT_PORT}/report");
    let uri = uri.parse().map_err(|error| format!("its address: {error}"))?;
    let response = client.get(uri).await.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("it answered {}", response.status()));
    }
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| format!("its answer: {error}"))
}

#[cfg(test)]
mod tests {
    use thalweg_crds::report::{SplitReport, UnitReport, WorkerState};

    use super::*;

    #[test]
    fn figures_alone_mean_nothing_new() {
        let reports = Reports::default();
        let report =
            Report { run_id: RunId("a/0".to_owned()), units: vec![UnitReport::default()], ..Report::default() };
        assert!(reports.keep(report.clone()));
        let figures = Report {
            busy_share: 0.7,
            splits: vec![SplitReport::default()],
            units: vec![UnitReport { commits: 9, ..UnitReport::default() }],
            ..report.clone()
        };
        assert!(!reports.keep(figures.clone()));
        assert_eq!(reports.of(&report.run_id), Some(figures));
        assert!(reports.keep(Report { state: WorkerState::Running, ..report }));
    }
}
