//! One of several replicas: it keeps its caches warm, waits for its turn, and works until it leads no longer.
//!
//! A replica that waits knows what the leader knows: its watches run, it has seen by its own clock for how long each worker's
//! Lease has stood still, and it hears the workers. So the moment at which it leads is the moment at which it acts. Until then
//! it writes nothing.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::select_all;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::controller::{Parts, Started};
use crate::error::Error;
use crate::leader::Elector;
use crate::metrics::Metrics;

/// How long it waits for the caches of all namespaces before it goes on with those that are filled.
const FILL_LIMIT: Duration = Duration::from_secs(10);

/// Fills the caches, which makes it ready, waits for its turn and works, until `ended`; then it lets go of the leader's Lease, so
/// that the next one need not wait. Its end is to be the end of the process: a fresh one knows nothing that is old.
///
/// # Errors
/// That of `ended`, or a watch has ended, or this replica leads no longer.
pub async fn run<E: From<Error>>(
    parts: Vec<Parts>,
    mut elector: Elector,
    metrics: &Metrics,
    ready: &AtomicBool,
    ended: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    let result = tokio::select! {
        result = ended => result,
        worked = work(parts, &mut elector, metrics, ready) => worked.map(|never| match never {}).map_err(E::from),
    };
    metrics.leader.set(0);
    info!("letting go of the leader's Lease");
    elector.release().await;
    result
}

async fn work(
    parts: Vec<Parts>,
    elector: &mut Elector,
    metrics: &Metrics,
    ready: &AtomicBool,
) -> Result<Infallible, Error> {
    let (filled, of) = (watch::Sender::new(0_usize), parts.len());
    let leads = watch::Sender::new(false);
    let scopes = parts.into_iter().map(|parts| Box::pin(operate(parts, &filled, leads.subscribe())));
    let led = async {
        enough(filled.subscribe(), of).await;
        ready.store(true, Ordering::Relaxed);
        elector.lead().await;
        metrics.leader.set(1);
        leads.send_replace(true);
        elector.keep().await;
        Err(Error::NotLeader)
    };
    tokio::select! {
        over = led => over,
        (over, ..) = select_all(scopes) => over,
    }
}

/// Looks after one namespace, or all of them: each begins once its own caches are filled, so that one that is gone, or that the
/// operator has no rights in, holds up no other.
async fn operate(
    parts: Parts,
    filled: &watch::Sender<usize>,
    mut leads: watch::Receiver<bool>,
) -> Result<Infallible, Error> {
    let namespace = parts.namespace.clone().unwrap_or_default();
    let starting = Started::new(parts);
    tokio::pin!(starting);
    let started = match timeout(FILL_LIMIT, &mut starting).await {
        Ok(started) => started,
        Err(_) => {
            warn!(namespace, "the caches are not filled: is the namespace there, and may the operator watch it?");
            starting.await
        }
    };
    let mut started = started?;
    filled.send_modify(|filled| *filled += 1);
    tokio::select! {
        _ = leads.wait_for(|leads| *leads) => {}
        () = started.stand_by() => return Err(over()),
    }
    started.run().await;
    Err(over())
}

/// Waits until all caches are filled, or, once some time has passed, some of them.
async fn enough(mut filled: watch::Receiver<usize>, of: usize) {
    let all = timeout(FILL_LIMIT, filled.wait_for(|filled| *filled == of)).await.is_ok();
    if !all {
        // The sender outlives it.
        let _ = filled.wait_for(|filled| *filled > 0).await;
    }
}

fn over() -> Error {
    Error::Internal("a loop that does not end has ended".to_owned())
}
