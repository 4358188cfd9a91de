//! Reports of workers: pulled every few seconds, passed on when they mean something new.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use thalweg_crds::ids::RunId;
use thalweg_crds::report::Report;
use thalweg_mtls::client::{Client, Server};
use thalweg_mtls::identity::{Fingerprint, Identity};
use thalweg_operator_plan::names::{KEY_FINGERPRINT, PIPELINE};
use thalweg_operator_plan::objects::REPORT_PORT;
use thalweg_operator_plan::observed::{SILENCE_LIMIT, SUSPICION_LIMIT, pod_uid};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tracing::debug;

use crate::metrics::Metrics;
use crate::pods::is_lookout;
use crate::silence::Silence;
use crate::watch::{PipelineRef, Triggers, owner};
use crate::world::World;

/// How often each worker is asked, and how long an answer may take.
const CALM: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));
/// The same for workers of pipelines that start or move: nobody is to wait for what a worker has done already.
const HURRIED: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(400));
/// How often it is looked whether a Lease has fallen silent.
const SILENT: Duration = Duration::from_millis(500);
/// Who has not answered for so long, three questions, is asked among those that do not answer, and so is who never did after
/// this time.
const UNANSWERED: Duration = Duration::from_secs(6);
/// Workers that are asked at once.
const AT_ONCE: usize = 64;
/// Longest report: 256 units of some hundred bytes, and splits.
const MOST_BYTES: usize = 4 << 20;
/// How long a connection to a worker is kept that is asked no more.
const UNUSED: Duration = Duration::from_secs(10);

/// The last report of each life of a worker.
#[derive(Default)]
pub struct Reports {
    last: Mutex<HashMap<RunId, (Report, Instant)>>,
    /// Since when each life of a worker is known.
    known: Mutex<HashMap<RunId, Instant>>,
    /// The last report of each lookout, by the UID of its pod.
    lookouts: Mutex<HashMap<String, (Report, Instant)>>,
    /// Pipelines whose workers are asked more often.
    hurried: Mutex<HashSet<PipelineRef>>,
}

/// How often the workers of a pipeline are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Each second or two.
    Calm,
    /// Several times a second: something is awaited of them.
    Hurried,
}

impl Reports {
    /// The last report of a worker, and how old it is.
    pub fn of(&self, run_id: &RunId) -> Option<(Report, Duration)> {
        self.lock().get(run_id).map(|(report, at)| (report.clone(), at.elapsed()))
    }

    /// Forgets what workers have said, as one who has just started: they have told another one more since.
    pub fn forget(&self) {
        self.lock().clear();
        self.known().clear();
    }

    /// For how long a worker has been known.
    pub fn known_for(&self, run_id: &RunId) -> Duration {
        self.known().entry(run_id.clone()).or_insert_with(Instant::now).elapsed()
    }

    /// Whether a worker answers, or has had no time yet to.
    fn answers(&self, run_id: &RunId) -> bool {
        let since = self.lock().get(run_id).map(|(_, at)| at.elapsed());
        since.unwrap_or_else(|| self.known_for(run_id)) < UNANSWERED
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Instant>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last report of a lookout, by the UID of its pod, and how old it is.
    pub fn of_lookout(&self, pod: &str) -> Option<(Report, Duration)> {
        self.lookouts().get(pod).map(|(report, at)| (report.clone(), at.elapsed()))
    }

    fn lookouts(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Report, Instant)>> {
        self.lookouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the workers of a pipeline are asked at this pace.
    pub fn ask_at(&self, pipeline: &PipelineRef, pace: Pace) {
        let mut hurried = self.hurried.lock().unwrap_or_else(PoisonError::into_inner);
        match pace {
            Pace::Calm => drop(hurried.remove(pipeline)),
            Pace::Hurried => drop(hurried.insert(pipeline.clone())),
        }
    }

    fn is_hurried(&self, pipeline: &PipelineRef) -> bool {
        self.hurried.lock().unwrap_or_else(PoisonError::into_inner).contains(pipeline)
    }

    /// Keeps a report; whether it means something new.
    fn keep(&self, report: Report) -> bool {
        let meaning = meaning(&report);
        let before = self.lock().insert(report.run_id.clone(), (report, Instant::now()));
        before.is_none_or(|(before, _)| self::meaning(&before) != meaning)
    }

    fn retain(&self, alive: &HashSet<RunId>) {
        self.lock().retain(|run_id, _| alive.contains(run_id));
        self.known().retain(|run_id, _| alive.contains(run_id));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, (Report, Instant)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A report without its figures: what a decision could depend on.
fn meaning(report: &Report) -> Report {
    let mut meaning = Report {
        splits: Vec::new(),
        sinks: Vec::new(),
        commit: None,
        busy_share: 0.0,
        blocked_share: 0.0,
        ..report.clone()
    };
    for unit in &mut meaning.units {
        unit.commits = 0;
        unit.busy_share = 0.0;
        unit.dead_letters = 0;
    }
    meaning
}

/// Asks workers for their reports, and watches for Leases that fall silent.
pub struct Poller {
    asker: Asker,
    silence: Arc<Silence>,
}

/// A Lease at its version, and the limit that it has passed unchanged.
type Passed = (Option<String>, Option<String>, Duration);

impl Poller {
    /// Asks the workers of a world; `triggers` is where pipelines are named whose workers said something new.
    /// Workers are shown this key.
    pub fn new(
        world: &World,
        reports: Arc<Reports>,
        triggers: Triggers,
        metrics: Arc<Metrics>,
        identity: Identity,
    ) -> Self {
        let asker = Asker {
            leases: world.leases.clone(),
            pods: world.pods.clone(),
            reports,
            triggers,
            metrics,
            client: Client::new(identity),
        };
        Self { asker, silence: Arc::clone(&world.silence) }
    }

    /// Polls for as long as it is awaited.
    pub async fn run(self) {
        // Each on its own: a worker that does not answer holds nobody up who waits for another, or for its silence.
        tokio::join!(self.calm(), self.asker.hurry(), self.watch_silence());
    }

    /// Asks every worker each two seconds, for as long as it is awaited: what a replica that waits for its turn does. Those that do
    /// not answer take all the time that an answer may take, many of them many times that, and the others wait for none of it.
    pub async fn calm(&self) {
        let lookouts = async {
            let mut ticks = ticks(CALM.0);
            loop {
                ticks.tick().await;
                self.asker.client.close_unused(UNUSED);
                self.asker.ask_lookouts().await;
            }
        };
        tokio::join!(self.asker.rounds(true), self.asker.rounds(false), lookouts);
    }

    /// Asks every worker once.
    pub async fn round(&self) {
        tokio::join!(self.asker.ask_all(self.asker.held(), CALM.1), self.asker.ask_lookouts());
    }

    /// Names the pipelines of Leases that have just been unchanged for too long: no event comes of that.
    async fn watch_silence(&self) {
        let (mut ticks, mut told) = (ticks(SILENT), HashSet::new());
        loop {
            ticks.tick().await;
            let held = self.asker.held();
            let passed: HashMap<Passed, _> = held.iter().flat_map(|lease| self.passed(lease)).collect();
            let fresh = passed.iter().filter(|(passed, _)| !told.contains(*passed));
            fresh.for_each(|(_, lease)| self.asker.trigger(lease));
            told = passed.into_keys().collect();
        }
    }

    /// The limits that a Lease has passed unchanged.
    fn passed<'a>(&self, lease: &'a Lease) -> impl Iterator<Item = (Passed, &'a Lease)> + use<'a> {
        let silent_for = self.silence.of(lease);
        let limits = [SUSPICION_LIMIT, SILENCE_LIMIT].into_iter().filter(move |limit| silent_for >= *limit);
        limits.map(move |limit| ((lease.uid(), lease.resource_version(), limit), lease))
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Asks workers for their reports.
struct Asker {
    leases: Store<Lease>,
    pods: Store<Pod>,
    reports: Arc<Reports>,
    triggers: Triggers,
    metrics: Arc<Metrics>,
    client: Client,
}

impl Asker {
    /// Asks those that answer, or those that do not.
    async fn rounds(&self, answering: bool) {
        let mut ticks = ticks(CALM.0);
        loop {
            ticks.tick().await;
            let held = self.held();
            self.reports.retain(&held.iter().filter_map(|lease| holder(lease)).collect());
            let is_asked = |lease: &Arc<Lease>| holder(lease).is_some_and(|it| self.reports.answers(&it) == answering);
            self.ask_all(held.into_iter().filter(is_asked).collect(), CALM.1).await;
        }
    }

    /// Asks workers of which something is awaited.
    async fn hurry(&self) {
        let mut ticks = ticks(HURRIED.0);
        loop {
            ticks.tick().await;
            let is_hurried = |lease: &Arc<Lease>| owner(&**lease).is_some_and(|owner| self.reports.is_hurried(&owner));
            let hurried: Vec<_> = self.held().into_iter().filter(is_hurried).collect();
            if !hurried.is_empty() {
                self.ask_all(hurried, HURRIED.1).await;
            }
        }
    }

    fn held(&self) -> Vec<Arc<Lease>> {
        self.leases.state().into_iter().filter(|lease| holder(lease).is_some()).collect()
    }

    async fn ask_all(&self, held: Vec<Arc<Lease>>, patience: Duration) {
        let addresses = self.addresses();
        let ask = |lease| self.ask(lease, &addresses, patience);
        futures::stream::iter(held).for_each_concurrent(AT_ONCE, ask).await;
    }

    /// Asks whoever watches sources where there is no worker.
    async fn ask_lookouts(&self) {
        let pods = self.pods.state_filter(is_lookout);
        let alive: HashSet<String> = pods.iter().filter_map(|pod| pod.uid()).collect();
        self.reports.lookouts().retain(|pod, _| alive.contains(pod));
        futures::stream::iter(pods).for_each_concurrent(AT_ONCE, |pod| self.ask_lookout(pod)).await;
    }

    async fn ask_lookout(&self, pod: Arc<Pod>) {
        let Some((uid, address)) = pod.uid().zip(address(&pod)) else { return };
        // It holds no Lease that could say which key it has. It answers us alone, and only where ends are.
        let server = Server { address, key: None };
        let Ok(Ok(report)) = timeout(CALM.1, fetch(&self.client, server)).await else { return };
        if pod_uid(&report.run_id) != uid {
            return;
        }
        let before = self.reports.lookouts().insert(uid, (report.clone(), Instant::now()));
        // It says nothing but where ends are, and each that moves is news. A label that was cut names nobody.
        let name = pod.labels().get(PIPELINE).filter(|name| name.len() < 63);
        if let (Some(name), Some(namespace)) = (name, pod.namespace())
            && before.is_none_or(|(before, _)| before != report)
        {
            // Without a receiver the process is about to end.
            let _ = self.triggers.unbounded_send(ObjectRef::new(name).within(&namespace));
        }
    }

    /// Addresses of pods by UID. What a Lease says is not followed: whoever may write Leases would make the operator
    /// open connections.
    fn addresses(&self) -> HashMap<String, SocketAddr> {
        self.pods.state().iter().filter_map(|pod| Some((pod.uid()?, address(pod)?))).collect()
    }

    async fn ask(&self, lease: Arc<Lease>, addresses: &HashMap<String, SocketAddr>, patience: Duration) {
        let Some(holder) = holder(&lease) else { return };
        self.reports.known_for(&holder);
        let Some(address) = addresses.get(pod_uid(&holder)).copied() else { return };
        let asked = async {
            let key = key(&lease).ok_or("its Lease does not say which key it has")?;
            fetch(&self.client, Server { address, key: Some(key) }).await
        };
        let result = match timeout(patience, asked).await {
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

/// Who holds a Lease.
pub fn holder(lease: &Lease) -> Option<RunId> {
    let holder = lease.spec.as_ref()?.holder_identity.clone()?;
    (!holder.is_empty()).then_some(RunId(holder))
}

/// Where a pod reports.
fn address(pod: &Arc<Pod>) -> Option<SocketAddr> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, REPORT_PORT.try_into().ok()?))
}

/// The key of who holds a Lease.
fn key(lease: &Lease) -> Option<Fingerprint> {
    lease.annotations().get(KEY_FINGERPRINT)?.parse().ok()
}

async fn fetch(client: &Client, server: Server) -> Result<Report, String> {
    let body = client.get(server, "/report", MOST_BYTES).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| format!("its answer: {error}"))
}

#[cfg(test)]
mod tests {
    use thalweg_crds::report::{SinkReport, SplitReport, UnitReport, WorkerState};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_new_or_has_just_answered_is_not_asked_among_those_that_do_not_answer() {
        let reports = Reports::default();
        let run_id = RunId("a/0".to_owned());
        assert!(reports.answers(&run_id), "it has had no time to");
        tokio::time::advance(UNANSWERED).await;
        assert!(!reports.answers(&run_id));
        reports.keep(Report { run_id: run_id.clone(), ..Report::default() });
        assert!(reports.answers(&run_id));
        tokio::time::advance(UNANSWERED).await;
        assert!(!reports.answers(&run_id));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_forgotten_is_heard_anew_and_has_its_time_to_answer() {
        let reports = Reports::default();
        let report = Report { run_id: RunId("a/0".to_owned()), ..Report::default() };
        reports.known_for(&report.run_id);
        assert!(reports.keep(report.clone()));
        tokio::time::advance(UNANSWERED).await;
        reports.forget();
        assert_eq!(reports.of(&report.run_id), None);
        assert_eq!(reports.known_for(&report.run_id), Duration::ZERO);
        assert!(reports.answers(&report.run_id));
        assert!(reports.keep(report));
    }

    #[test]
    fn figures_alone_mean_nothing_new() {
        let reports = Reports::default();
        let report =
            Report { run_id: RunId("a/0".to_owned()), units: vec![UnitReport::default()], ..Report::default() };
        assert!(reports.keep(report.clone()));
        let figures = Report {
            busy_share: 0.7,
            splits: vec![SplitReport::default()],
            sinks: vec![SinkReport::default()],
            units: vec![UnitReport { commits: 9, ..UnitReport::default() }],
            ..report.clone()
        };
        assert!(!reports.keep(figures.clone()));
        assert_eq!(reports.of(&report.run_id).map(|(report, _)| report), Some(figures));
        assert!(reports.keep(Report { state: WorkerState::Running, ..report }));
    }
}
