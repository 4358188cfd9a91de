//! Who lives, and what workers report: what an operator is told by the API server and by its pods.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use thalweg_core::clock::SharedClock;
use thalweg_crds::ids::RunId;
use thalweg_crds::report::Report;
use thalweg_operator_plan::names::{ADDRESS, KEY_FINGERPRINT, PLAN, REPORT};
use thalweg_operator_plan::observed::{Observed, Readiness, SILENCE_LIMIT, SlotLease, WorkerPod, pod_uid};

use crate::cluster::lease::seen;
use crate::cluster::slot::Watch;

/// How long a report may take: a worker that is stopped answers nothing.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest report.
const MOST_BYTES: usize = 4 << 20;

/// What is known of the workers of one pipeline from one look to the next.
pub struct Eyes {
    clock: SharedClock,
    watch: Watch,
    reports: BTreeMap<RunId, Report>,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Eyes {
    /// Nothing is known yet: whoever holds a slot counts as alive for as long as its Lease lasts.
    pub fn new(clock: SharedClock) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { clock, watch: Watch::default(), reports: BTreeMap::new(), client }
    }

    /// Looks at slots that were just read, and asks their holders. There are no pods here: a holder is one for as long as
    /// it renews its Lease, and says itself that it is to end.
    pub async fn observe(&mut self, leases: &[Lease]) -> Observed {
        let (slots, mut pods) = observed_slots(&mut self.watch, leases, self.clock.monotonic());
        self.ask(&slots).await;
        mark_leaving(&mut pods, &self.reports);
        Observed { pods, reports: self.reports.clone(), slots, ..Observed::default() }
    }

    async fn ask(&mut self, slots: &[SlotLease]) {
        let held: Vec<_> = slots.iter().filter_map(|slot| Some((slot.holder.clone()?, slot.report.clone()))).collect();
        self.reports.retain(|run_id, _| held.iter().any(|(holder, _)| holder == run_id));
        let answers = join_all(held.iter().map(|(_, address)| fetch(&self.client, address))).await;
        for ((holder, address), answer) in held.into_iter().zip(answers) {
            match answer {
                // Another life of the worker may answer under the address that the Lease still names.
                Ok(report) if report.run_id == holder => drop(self.reports.insert(holder, report)),
                Ok(report) => tracing::debug!(address, found = %report.run_id, "a report of another worker"),
                Err(error) => tracing::debug!(address, error, "asking for a report"),
            }
        }
    }
}

/// The slots that were just read, and a pod for each holder that renews its Lease.
pub fn observed_slots(watch: &mut Watch, leases: &[Lease], now: Duration) -> (Vec<SlotLease>, Vec<WorkerPod>) {
    let silences = watch.silences(&leases.iter().map(seen).collect::<Vec<_>>(), now);
    let slots: Vec<_> =
        leases.iter().zip(&silences).map(|(lease, silent_for)| slot_lease(lease, *silent_for)).collect();
    let pods = slots.iter().filter(|slot| slot.silent_for.is_zero()).filter_map(pod).collect();
    (slots, pods)
}

fn pod(slot: &SlotLease) -> Option<WorkerPod> {
    let holder = slot.holder.as_ref()?;
    let uid = pod_uid(holder).to_owned();
    Some(WorkerPod { name: slot.slot.0.clone(), uid, ready: Readiness::Ready, ..WorkerPod::default() })
}

/// Whoever was told to end is as a pod that is being deleted.
fn mark_leaving(pods: &mut [WorkerPod], reports: &BTreeMap<RunId, Report>) {
    for (run_id, _) in reports.iter().filter(|(_, report)| report.leaving) {
        let of_it = pods.iter_mut().filter(|pod| pod.uid == pod_uid(run_id));
        of_it.for_each(|pod| pod.terminating = true);
    }
}

/// A slot as the operator sees it; silent for no time, or for longer than its Lease lasts.
fn slot_lease(lease: &Lease, silent_for: Duration) -> SlotLease {
    let seen = seen(lease);
    let annotation = |name: &str| lease.annotations().get(name).cloned().unwrap_or_default();
    SlotLease {
        holder: seen.holder.map(RunId),
        slot: seen.slot,
        silent_for: if silent_for >= seen.lasts { SILENCE_LIMIT } else { Duration::ZERO },
        plan: annotation(PLAN),
        address: annotation(ADDRESS),
        report: annotation(REPORT),
        key_fingerprint: annotation(KEY_FINGERPRINT),
    }
}

async fn fetch(client: &Client<HttpConnector, Empty<Bytes>>, address: &str) -> Result<Report, String> {
    let uri = format!("http://{address}/report").parse().map_err(|error| format!("its address: {error}"))?;
    let answer = async {
        let response = client.get(uri).await.map_err(|error| error.to_string())?;
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| format!("its answer: {error}"))
    };
    tokio::time::timeout(PATIENCE, answer).await.map_err(|_| "no answer".to_owned())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_was_told_to_end_is_as_a_pod_that_is_deleted() {
        let mut pods = ["a", "b"].map(|uid| WorkerPod { uid: uid.to_owned(), ..WorkerPod::default() });
        let report = |leaving| Report { leaving, ..Report::default() };
        let reports = [("a/1", false), ("b/1", true)].map(|(id, leaving)| (RunId(id.to_owned()), report(leaving)));
        mark_leaving(&mut pods, &BTreeMap::from(reports));
        assert_eq!(pods.map(|pod| pod.terminating), [false, true]);
    }
}
