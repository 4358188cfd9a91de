//! One of several replicas: it keeps its caches warm, waits for its turn, and works until it leads no longer.
//!
//! A replica that waits knows what the leader knows: its watches run, it has seen by its own clock for how long each worker's
//! Lease has stood still, and it hears the workers. So the moment at which it leads is the moment at which it acts. Until then
//! it writes nothing.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{join_all, select_all};
use tracing::info;

use crate::controller::{Parts, Started};
use crate::error::Error;
use crate::leader::Elector;
use crate::metrics::Metrics;

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
    let started = join_all(parts.into_iter().map(Started::new)).await;
    let mut started = started.into_iter().collect::<Result<Vec<_>, _>>()?;
    ready.store(true, Ordering::Relaxed);
    tokio::select! {
        () = elector.lead() => {}
        _ = join_all(started.iter_mut().map(Started::stand_by)) => return Err(over()),
    }
    metrics.leader.set(1);
    let controllers = select_all(started.into_iter().map(|started| Box::pin(started.run())));
    tokio::select! {
        () = elector.keep() => Err(Error::NotLeader),
        _ = controllers => Err(over()),
    }
}

fn over() -> Error {
    Error::Internal("a loop that does not end has ended".to_owned())
}
