//! Two replicas and the Lease by which one of them leads.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use kube::client::Body;
use kube::{Api, Client};
use serde_json::{Value, json};
use thalweg_operator::controller::{Parts, Started};
use thalweg_operator::error::Error;
use thalweg_operator::leader::{Elector, Leadership};
use thalweg_operator::metrics::Metrics;
use thalweg_operator::replica;
use thalweg_operator_plan::observed::SILENCE_LIMIT;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::fake::{FakeApi, Write};
use crate::harness::{Cluster, OTHER_SQL, SQL, led, pipeline_key, resources};
use crate::kubelet::{LEASES, PODS, of_kind, uid};
use crate::lost::{owned_by, owner};

const LEADER: &str = "thalweg-operator";
/// The bar for a node that falls silent with the only worker on it.
const BAR: Duration = Duration::from_secs(25);
const PATIENCE: Duration = Duration::from_secs(60);

/// A replica of the operator.
struct Replica {
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    ended: Arc<Notify>,
    task: JoinHandle<Result<(), Error>>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn elector(api: &FakeApi, name: &str, metrics: &Metrics) -> (Elector, Leadership) {
    Elector::new(Api::namespaced(api.client(), "thalweg"), name.to_owned(), metrics.leader_changes.clone())
}

/// An API server that has no rights for who asks.
fn forbidden() -> Client {
    let refuse = |_: Request<Body>| async {
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403});
        let answer = Response::builder().status(403).header("content-type", "application/json");
        Ok::<_, Infallible>(answer.body(Body::from(status.to_string().into_bytes())).expect("a response"))
    };
    Client::new(tower::service_fn(refuse), "default")
}

impl Replica {
    async fn start(api: &FakeApi, name: &str, metrics: Arc<Metrics>) -> Self {
        Self::start_with(api, name, metrics, |parts| vec![parts]).await
    }

    /// One that looks after other namespaces.
    async fn start_with(
        api: &FakeApi,
        name: &str,
        metrics: Arc<Metrics>,
        scopes: impl FnOnce(Parts) -> Vec<Parts>,
    ) -> Self {
        let (ready, ended) = (Arc::<AtomicBool>::default(), Arc::<Notify>::default());
        let (elector, leadership) = elector(api, name, &metrics);
        let parts = scopes(led(api, &metrics, leadership));
        let (shown, until, counted) = (Arc::clone(&ready), Arc::clone(&ended), Arc::clone(&metrics));
        let task = tokio::spawn(async move {
            let until = async {
                until.notified().await;
                Ok(())
            };
            replica::run(parts, elector, &counted, &shown, until).await
        });
        let replica = Self { metrics, ready, ended, task };
        replica.until("ready", |replica| replica.ready.load(Ordering::Relaxed)).await;
        replica
    }

    async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        let found = timeout(PATIENCE, async {
            while !test(self) {
                sleep(Duration::from_millis(20)).await;
            }
        });
        found.await.unwrap_or_else(|_| panic!("a replica is never {what}: {}", self.metrics.text()));
    }

    fn leads(&self) -> bool {
        self.metrics.leader.get() == 1
    }
}

/// What a replica has counted of this.
fn counted(metrics: &Metrics, name: &str) -> Vec<String> {
    metrics.text().lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

fn writes(metrics: &Metrics) -> Vec<String> {
    counted(metrics, "thalweg_operator_writes_total")
}

/// Writes of anything but the leader's Lease.
fn others(api: &FakeApi) -> Vec<Write> {
    api.writes().into_iter().filter(|write| write.name != LEADER).collect()
}

fn edit_sql(cluster: &Cluster, sql: &str) {
    cluster.api.store().edit(&pipeline_key(), |pipeline: &mut Value| pipeline["spec"]["sql"] = sql.into());
    cluster.api.changed();
}

/// A pipeline that runs under one replica while another one waits.
async fn running() -> (Cluster, Replica, Replica) {
    let cluster = Cluster::start_alone(FakeApi::default());
    let leader = Replica::start(&cluster.api, "a", Arc::clone(&cluster.metrics)).await;
    leader.until("leading", Replica::leads).await;
    let standby = Replica::start(&cluster.api, "b", Arc::new(Metrics::new().expect("metrics"))).await;
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    (cluster, leader, standby)
}

fn wrote_nothing(standby: &Replica) {
    let looks = counted(&standby.metrics, "thalweg_operator_reconciles_total");
    assert_eq!((writes(&standby.metrics), looks, standby.leads()), (Vec::new(), Vec::new(), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_one_works_and_the_other_hears_workers_and_writes_nothing() {
    let (cluster, leader, standby) = running().await;
    let heard = || standby.metrics.reports.with_label_values(&["Received"]).get();
    let before = heard();
    edit_sql(&cluster, OTHER_SQL);
    cluster.until_running(OTHER_SQL).await;
    standby.until("one that hears", |_| heard() > before).await;
    wrote_nothing(&standby);
    assert!(leader.leads());
    // At rest the leader's Lease is all that is written.
    cluster.looks(3).await;
    let before = others(&cluster.api);
    cluster.looks(3).await;
    assert_eq!(others(&cluster.api), before);
    wrote_nothing(&standby);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_gone_holds_up_no_other() {
    let cluster = Cluster::start_alone(FakeApi::default());
    let scopes = |parts: Parts| {
        let of = |namespace: &str| Parts { namespace: Some(namespace.to_owned()), ..parts.clone() };
        vec![Parts { client: forbidden(), ..of("gone") }, of("shop")]
    };
    let replica = Replica::start_with(&cluster.api, "a", Arc::clone(&cluster.metrics), scopes).await;
    replica.until("leading", Replica::leads).await;
    resources(&cluster.api);
    cluster.until_running(SQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_falls_silent_with_the_only_worker_and_the_leader_is_made_up_for_within_the_bar() {
    let (cluster, leader, standby) = running().await;
    let pod = of_kind(&cluster.api, PODS).remove(0);
    let since = Instant::now();
    drop(leader);
    cluster.api.cut_off(uid(&pod));
    standby.until("leading", Replica::leads).await;
    println!("the other one leads after {:.1?}", since.elapsed());
    let is_owned =
        |pipeline: &Value| owner(&cluster) == owned_by("fares-1", 2) && pipeline["status"]["units"]["summary"] == "1/1";
    cluster.until("taken over", is_owned).await;
    println!("units work again after {:.1?}", since.elapsed());
    // It has known for how long the worker had been silent: nothing begins anew with the other leader.
    assert!(since.elapsed() < SILENCE_LIMIT + Duration::from_secs(5), "after {:?}", since.elapsed());
    const { assert!(SILENCE_LIMIT.as_secs() + 5 < BAR.as_secs()) };
    standby.until("told of the change", |standby| standby.metrics.leader_changes.get() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_finds_another_one_in_its_lease_writes_nothing_from_then_on() {
    let (cluster, leader, standby) = running().await;
    drop(standby);
    let since = Instant::now();
    let lease = (LEASES.to_owned(), "thalweg".to_owned(), LEADER.to_owned());
    cluster.api.store().edit(&lease, |lease| lease["spec"]["holderIdentity"] = "another".into());
    cluster.api.changed();
    leader.until("at its end", |leader| leader.task.is_finished()).await;
    assert!(since.elapsed() < Duration::from_secs(5), "after {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_ends_lets_go_of_its_lease_and_the_other_one_goes_on_at_once() {
    let (cluster, mut leader, standby) = running().await;
    let since = Instant::now();
    leader.ended.notify_one();
    (&mut leader.task).await.expect("it ends").expect("well");
    standby.until("leading", Replica::leads).await;
    assert!(since.elapsed() < Duration::from_secs(5), "after {:?}", since.elapsed());
    let before = writes(&leader.metrics);
    edit_sql(&cluster, OTHER_SQL);
    cluster.until_running(OTHER_SQL).await;
    assert_eq!((writes(&leader.metrics), leader.leads()), (before, false));
    // One that has ended and only waited lets go of nothing.
    let third = Replica::start(&cluster.api, "c", Arc::new(Metrics::new().expect("metrics"))).await;
    third.ended.notify_one();
    third.until("at its end", |replica| replica.task.is_finished()).await;
    let lease = of_kind(&cluster.api, LEASES).into_iter().find(|lease| lease["metadata"]["name"] == LEADER);
    assert_eq!(lease.expect("a Lease")["spec"]["holderIdentity"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_writes_nothing_when_it_goes_on_and_finds_that_another_one_leads() {
    let cluster = Cluster::start_alone(FakeApi::default());
    // Its process stands still but for the looks: nobody renews its Lease.
    let stopped = Arc::new(Metrics::new().expect("metrics"));
    let (mut elector, leadership) = elector(&cluster.api, "a", &stopped);
    elector.lead().await;
    let looks = Started::new(led(&cluster.api, &stopped, leadership.clone())).await.expect("caches");
    let looks = tokio::spawn(looks.run());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    let other = Replica::start(&cluster.api, "b", Arc::clone(&cluster.metrics)).await;
    other.until("leading", Replica::leads).await;
    assert!(!leadership.holds());
    let before = writes(&stopped);
    edit_sql(&cluster, OTHER_SQL);
    cluster.until_running(OTHER_SQL).await;
    assert_eq!(writes(&stopped), before);
    let refused = counted(&stopped, "thalweg_operator_reconciles_total{result=\"NotLeader\"}");
    assert_eq!(refused.len(), 1, "it has looked, and was held back: {}", stopped.text());
    timeout(PATIENCE, elector.keep()).await.expect("it learns that another one leads");
    looks.abort();
    assert!(other.leads());
}
