//! Leader election by a Lease: of several replicas one works, and the others take over when it stops.
//!
//! Clocks of two machines are never compared: a Lease counts as abandoned when *this* process has seen it unchanged for
//! its duration. Each write carries a resourceVersion, so that of two takers one gets a conflict. The model is
//! `client-go`'s `leaderelection`.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use prometheus::IntGauge;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::error::is_status;

/// Name of the Lease.
pub(crate) const NAME: &str = "thalweg-operator";
/// How long an unchanged Lease is respected. Not longer than a worker's: whoever takes over from a node that fell silent with
/// workers on it is there when their Leases run out.
const DURATION: Duration = Duration::from_secs(12);
/// How long the leader works without a successful renewal: less than others wait.
const DEADLINE: Duration = Duration::from_secs(8);
/// How often the leader renews it.
const PERIOD: Duration = Duration::from_secs(2);
/// How often others look at it, and so how long one that was let go of is nobody's.
const LOOK: Duration = Duration::from_secs(1);

/// Whether this process leads.
#[derive(Clone)]
pub struct Leadership(Arc<watch::Receiver<Option<Instant>>>);

impl Leadership {
    /// Whether the last renewal is recent enough to write.
    pub fn holds(&self) -> bool {
        self.0.borrow().is_some_and(|renewed| renewed.elapsed() < DEADLINE)
    }

    /// A leadership that nobody contests.
    pub fn uncontested() -> Self {
        // Far enough that no process lives to see it.
        let far = Instant::now() + Duration::from_secs(86_400 * 365);
        Self(Arc::new(watch::channel(Some(far)).1))
    }
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Create,
    Renew,
    Take,
    Wait,
}

fn decide(lease: Option<&LeaseSpec>, me: &str, unchanged_for: Duration) -> Decision {
    let Some(spec) = lease else { return Decision::Create };
    match spec.holder_identity.as_deref() {
        Some(holder) if holder == me => Decision::Renew,
        None | Some("") => Decision::Take,
        Some(_) if unchanged_for >= DURATION => Decision::Take,
        Some(_) => Decision::Wait,
    }
}

/// Takes part in the election.
pub struct Elector {
    api: Api<Lease>,
    me: String,
    held: watch::Sender<Option<Instant>>,
    /// The version that was last seen, and since when.
    seen: Option<(String, Instant)>,
    /// How often it has changed hands.
    changes: IntGauge,
}

impl Elector {
    /// An elector, and where it tells whether this process leads; `changes` is told how often the Lease has changed hands.
    pub fn new(api: Api<Lease>, me: String, changes: IntGauge) -> (Self, Leadership) {
        let (held, receiver) = watch::channel(None);
        (Self { api, me, held, seen: None, changes }, Leadership(Arc::new(receiver)))
    }

    /// Waits until this process leads.
    pub async fn lead(&mut self) {
        while !self.turn().await {
            sleep(LOOK).await;
        }
        info!(me = self.me, "leading");
    }

    /// Renews for as long as it leads; returns when that is over.
    pub async fn keep(&mut self) {
        loop {
            sleep(PERIOD).await;
            let renewed = self.turn().await;
            let held = (*self.held.borrow()).is_some_and(|at| at.elapsed() < DEADLINE);
            if !renewed && !held {
                warn!(me = self.me, "leading no longer");
                return;
            }
        }
    }

    /// Lets go of the Lease, so that the next one need not wait.
    pub async fn release(&mut self) {
        let Ok(Some(mut lease)) = self.api.get_opt(NAME).await else { return };
        let mine = lease.spec.as_ref().is_some_and(|spec| spec.holder_identity.as_ref() == Some(&self.me));
        if let Some(spec) = lease.spec.as_mut().filter(|_| mine) {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            let _ = self.api.replace(NAME, &PostParams::default(), &lease).await;
        }
        let _ = self.held.send(None);
    }

    /// One look at the Lease; whether this process holds it afterwards.
    async fn turn(&mut self) -> bool {
        let started = Instant::now();
        let held = match timeout(DEADLINE / 2, self.try_turn()).await {
            Ok(Ok(held)) => {
                if !held {
                    // Somebody else leads: what was renewed last counts no more.
                    let _ = self.held.send(None);
                }
                held
            }
            Ok(Err(error)) => {
                warn!(%error, "electing a leader");
                false
            }
            Err(_) => {
                warn!("electing a leader: no answer in time");
                false
            }
        };
        if held {
            let _ = self.held.send(Some(started));
        }
        held
    }

    async fn try_turn(&mut self) -> kube::Result<bool> {
        let lease = self.api.get_opt(NAME).await?;
        let unchanged_for = self.unchanged_for(lease.as_ref());
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        self.changes.set(spec.and_then(|spec| spec.lease_transitions).unwrap_or_default().into());
        let now = MicroTime(Timestamp::now());
        let (decision, written) = match (decide(spec, &self.me, unchanged_for), lease) {
            (Decision::Wait, _) => return Ok(false),
            (decision, Some(mut lease)) => {
                let old = lease.spec.take();
                lease.spec = Some(self.claimed(old, now, decision == Decision::Take));
                (decision, self.api.replace(NAME, &PostParams::default(), &lease).await)
            }
            (decision, None) => {
                let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(self.claimed(None, now, false)) };
                (decision, self.api.create(&PostParams::default(), &lease).await)
            }
        };
        match written {
            Ok(_) => Ok(true),
            // Who leads has written it in between, or nobody knows: the next look does.
            Err(error) if is_status(&error, 409) && decision != Decision::Renew => {
                info!(?decision, "another replica was quicker");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn claimed(&self, old: Option<LeaseSpec>, now: MicroTime, changes_hands: bool) -> LeaseSpec {
        let old = old.unwrap_or_default();
        let transitions = old.lease_transitions.unwrap_or(0) + i32::from(changes_hands);
        let acquired = if changes_hands { None } else { old.acquire_time };
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    fn unchanged_for(&mut self, lease: Option<&Lease>) -> Duration {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone()).unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed(),
            _ => {
                self.seen = Some((version, Instant::now()));
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec { holder_identity: Some(holder.to_owned()), ..LeaseSpec::default() }
    }

    #[test]
    fn a_lease_of_another_is_taken_only_after_it_was_seen_unchanged_for_its_duration() {
        let almost = DURATION - Duration::from_millis(1);
        assert_eq!(decide(Some(&held_by("b")), "a", almost), Decision::Wait);
        assert_eq!(decide(Some(&held_by("b")), "a", DURATION), Decision::Take);
        assert_eq!(decide(Some(&held_by("a")), "a", Duration::ZERO), Decision::Renew);
        assert_eq!(decide(Some(&held_by("")), "a", Duration::ZERO), Decision::Take);
        assert_eq!(decide(Some(&LeaseSpec::default()), "a", Duration::ZERO), Decision::Take);
        assert_eq!(decide(None, "a", Duration::ZERO), Decision::Create);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_stops_writing_before_another_may_take_over() {
        let (held, receiver) = watch::channel(None);
        let leadership = Leadership(Arc::new(receiver));
        assert!(!leadership.holds());
        let _ = held.send(Some(Instant::now()));
        assert!(leadership.holds());
        tokio::time::advance(DEADLINE).await;
        assert!(!leadership.holds());
        assert!(DEADLINE + DEADLINE / 2 <= DURATION);
        assert!(Leadership::uncontested().holds());
    }
}
