//! Slot Leases: seen, claimed, renewed, released. What to do with them is decided in [`super::slot`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use thalweg_core::clock::SharedClock;
use thalweg_core::unit::RunId;
use thalweg_crds::ids::Slot;
use thalweg_mtls::identity::Fingerprint;

use super::error::ClusterError;
use super::folder::{self, Objects};
use super::slot::{LASTS, Seen, still_holds};

/// Slots that are looked for at the most.
const MOST_SLOTS: u32 = 1_000;

/// What a worker writes into the Lease of its slot.
#[derive(Clone, Debug)]
pub struct Card {
    /// This process.
    pub run_id: RunId,
    /// Its pod.
    pub pod_uid: String,
    /// The hash of the plan that it has mounted.
    pub plan: String,
    /// Where other workers reach it.
    pub address: SocketAddr,
    /// What others pin of its key.
    pub key_fingerprint: Fingerprint,
    /// Where its report is served.
    pub report: SocketAddr,
}

/// What became of a write.
pub type Written = folder::Written<Lease>;

/// Where the slot Leases of one pipeline are kept.
#[async_trait]
pub trait Store: Send + Sync {
    /// Every slot, by number from 0.
    ///
    /// # Errors
    /// Nobody answered, or the first slot is refused already.
    async fn all(&self) -> Result<Vec<Lease>, ClusterError>;

    /// A slot; `None` where there is none of this name.
    ///
    /// # Errors
    /// Nobody answered.
    async fn get(&self, name: &str) -> Result<Option<Lease>, ClusterError>;

    /// Replaces a Lease that nobody changed since it was read.
    ///
    /// # Errors
    /// Nobody answered.
    async fn replace(&self, lease: Lease) -> Result<Written, ClusterError>;
}

/// Leases in the API server.
pub struct ClusterStore {
    api: Api<Lease>,
    prefix: String,
}

impl ClusterStore {
    /// Leases that are called `prefix`, a dash, and a number.
    pub fn new(client: Client, namespace: &str, prefix: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), prefix: prefix.to_owned() }
    }
}

#[async_trait]
impl Store for ClusterStore {
    /// There is no list: a worker's Role names its Leases one by one.
    async fn all(&self) -> Result<Vec<Lease>, ClusterError> {
        let mut leases = Vec::new();
        for number in 0..MOST_SLOTS {
            let name = format!("{}-{number}", self.prefix);
            match self.api.get(&name).await {
                Ok(lease) => leases.push(lease),
                Err(kube::Error::Api(status)) if status.code == 404 => break,
                // What the Role does not name is forbidden, whether it is there or not.
                Err(kube::Error::Api(status)) if status.code == 403 && number > 0 => break,
                Err(error) => return Err(ClusterError::api(format!("reading Lease `{name}`"), &error)),
            }
        }
        Ok(leases)
    }

    async fn get(&self, name: &str) -> Result<Option<Lease>, ClusterError> {
        let found = self.api.get_opt(name).await;
        found.map_err(|error| ClusterError::api(format!("reading Lease `{name}`"), &error))
    }

    async fn replace(&self, lease: Lease) -> Result<Written, ClusterError> {
        let name = lease.name_any();
        match self.api.replace(&name, &PostParams::default(), &lease).await {
            Ok(lease) => Ok(Written::Done(Box::new(lease))),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Written::Overtaken),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Written::Gone),
            Err(error) => Err(ClusterError::api(format!("writing Lease `{name}`"), &error)),
        }
    }
}

/// Leases in a folder.
pub struct FolderStore {
    leases: Objects<Lease>,
    prefix: String,
}

impl FolderStore {
    /// Leases that are called `prefix`, a dash, and a number.
    pub fn new(leases: Objects<Lease>, prefix: &str) -> Self {
        Self { leases, prefix: prefix.to_owned() }
    }
}

#[async_trait]
impl Store for FolderStore {
    async fn all(&self) -> Result<Vec<Lease>, ClusterError> {
        let numbered = (0..MOST_SLOTS).map(|number| self.leases.get(&format!("{}-{number}", self.prefix)).transpose());
        numbered.map_while(|found| found).collect()
    }

    async fn get(&self, name: &str) -> Result<Option<Lease>, ClusterError> {
        self.leases.get(name)
    }

    async fn replace(&self, lease: Lease) -> Result<Written, ClusterError> {
        self.leases.replace(lease).await
    }
}

/// The slot Leases of one pipeline, as one worker writes them.
pub struct Leases {
    store: Arc<dyn Store>,
    card: Card,
    clock: SharedClock,
}

impl Leases {
    /// Leases where they are kept, and who claims one.
    pub fn new(store: Arc<dyn Store>, card: Card, clock: SharedClock) -> Self {
        Self { store, card, clock }
    }

    /// Who claims.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Every slot, by number.
    ///
    /// # Errors
    /// Nobody answered, or the first slot is refused already.
    pub async fn all(&self) -> Result<Vec<Lease>, ClusterError> {
        self.store.all().await
    }

    /// Writes this worker into a Lease that nobody changed since it was read.
    ///
    /// # Errors
    /// Nobody answered.
    pub async fn claim(&self, lease: &Lease) -> Result<Written, ClusterError> {
        self.store.replace(claimed(lease, &self.card, self.now())).await
    }

    /// Renews a Lease that this worker holds; where somebody wrote in between, by what it says now.
    ///
    /// # Errors
    /// Nobody answered.
    pub async fn renew(&self, lease: &Lease) -> Result<Written, ClusterError> {
        let written = self.store.replace(renewed(lease, self.now())).await?;
        let Written::Overtaken = written else { return Ok(written) };
        let name = lease.name_any();
        match self.store.get(&name).await? {
            Some(lease) if still_holds(Some(&seen(&lease)), &self.card.run_id) => {
                self.store.replace(renewed(&lease, self.now())).await
            }
            Some(_) => Ok(Written::Overtaken),
            None => Ok(Written::Gone),
        }
    }

    /// Leaves a Lease that this worker holds.
    ///
    /// # Errors
    /// Nobody answered.
    pub async fn release(&self, lease: &Lease) -> Result<Written, ClusterError> {
        self.store.replace(released(lease)).await
    }

    fn now(&self) -> MicroTime {
        MicroTime(Timestamp::from_millisecond(self.clock.wall_millis()).unwrap_or_default())
    }
}

/// What a Lease says.
pub fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    let lasts = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        slot: Slot(lease.name_any()),
        version: lease.resource_version().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        lasts: lasts.filter(|seconds| *seconds > 0).map_or(LASTS, Duration::from_secs),
    }
}

fn claimed(lease: &Lease, card: &Card, now: MicroTime) -> Lease {
    let mut lease = lease.clone();
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_deref() != Some(&card.run_id.0) {
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        spec.acquire_time = Some(now.clone());
    }
    spec.holder_identity = Some(card.run_id.0.clone());
    if spec.lease_duration_seconds.is_none_or(|seconds| seconds <= 0) {
        spec.lease_duration_seconds = i32::try_from(LASTS.as_secs()).ok();
    }
    spec.renew_time = Some(now);
    lease.metadata.annotations.get_or_insert_with(BTreeMap::new).extend(annotations(card));
    lease
}

fn annotations(card: &Card) -> [(String, String); 4] {
    [
        ("address", card.address.to_string()),
        ("key-fingerprint", card.key_fingerprint.to_string()),
        ("report", card.report.to_string()),
        ("plan", card.plan.clone()),
    ]
    .map(|(name, value)| (format!("{}/{name}", thalweg_crds::GROUP), value))
}

fn renewed(lease: &Lease, now: MicroTime) -> Lease {
    let mut lease = lease.clone();
    lease.spec.get_or_insert_with(LeaseSpec::default).renew_time = Some(now);
    lease
}

/// The Lease without a holder.
pub fn released(lease: &Lease) -> Lease {
    let mut lease = lease.clone();
    lease.spec.get_or_insert_with(LeaseSpec::default).holder_identity = None;
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        Card {
            run_id: RunId("me/1".to_owned()),
            pod_uid: "me".to_owned(),
            plan: "hash".to_owned(),
            address: "10.0.0.1:8443".parse().expect("an address"),
            key_fingerprint: "0f".repeat(32).parse().expect("64 digits"),
            report: "[fd00::1]:8081".parse().expect("an address"),
        }
    }

    fn at(seconds: i64) -> MicroTime {
        MicroTime(Timestamp::from_second(seconds).expect("a time"))
    }

    #[test]
    fn a_claimed_lease_says_who_holds_it_and_how_to_reach_it_and_a_released_one_has_no_holder() {
        let mut lease = Lease::default();
        lease.metadata.name = Some("p-0".to_owned());
        lease.metadata.resource_version = Some("7".to_owned());
        let claimed = claimed(&lease, &card(), at(100));
        let said = seen(&claimed);
        assert_eq!((said.slot.0.as_str(), said.version.as_str()), ("p-0", "7"));
        assert_eq!((said.holder.as_deref(), said.lasts), (Some("me/1"), LASTS));
        let annotations = claimed.annotations();
        assert_eq!(annotations["thalweg.dev/report"], "[fd00::1]:8081");
        assert_eq!(annotations["thalweg.dev/address"], "10.0.0.1:8443");
        assert_eq!(annotations["thalweg.dev/plan"], "hash");
        assert_eq!(annotations["thalweg.dev/key-fingerprint"], "0f".repeat(32));
        assert_eq!(seen(&released(&claimed)).holder, None);
    }

    #[test]
    fn a_change_of_holder_is_counted_and_a_second_claim_of_the_same_run_is_none() {
        let once = claimed(&Lease::default(), &card(), at(100));
        let twice = claimed(&once, &card(), at(105));
        let spec = twice.spec.expect("claimed");
        assert_eq!(spec.lease_transitions, Some(1));
        assert_eq!((spec.acquire_time, spec.renew_time), (Some(at(100)), Some(at(105))));
    }

    #[test]
    fn whoever_made_a_lease_may_say_how_long_it_lasts() {
        let mut made = Lease::default();
        made.spec.get_or_insert_default().lease_duration_seconds = Some(3);
        assert_eq!(seen(&claimed(&made, &card(), at(100))).lasts, Duration::from_secs(3));
    }
}
