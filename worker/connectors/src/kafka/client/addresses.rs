//! Whether brokers may be reached, by the addresses that their names lead to.
//!
//! Neither library lets somebody else look names up or connect in its place, so names are looked up before it does: those of the
//! resource before each connection is made, those that the cluster gives its brokers (`advertised.listeners`) at the start and
//! again and again while it runs. A name that gets another address between our look and the library's, and a broker that names
//! another one between two looks, are met by a request of the protocol of Kafka, which nothing but a broker answers.

use std::time::Duration;

use futures::TryFutureExt;
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::{ANSWER, ClientError, Result};
use crate::kafka::config::Connection;

/// How often the brokers that a cluster names are judged.
const EVERY: Duration = Duration::from_secs(10);
/// How long a cluster may take to name them.
const LOOK: Duration = Duration::from_secs(3);

/// Judges brokers, each `host:port`.
///
/// # Errors
/// `Forbidden` where one is at an address that is refused, `Away` where nobody says in time where one is.
pub(super) async fn judge(connection: &Connection, brokers: &[String]) -> Result<()> {
    for broker in brokers {
        let looked_up = timeout(ANSWER, lookup_host(broker.as_str())).await;
        let looked_up = looked_up.map_err(|_| ClientError::Away(format!("looking up `{broker}`: no answer")))?;
        // A name that leads nowhere is for the library to tell: others may do.
        let Ok(found) = looked_up else { continue };
        let host = broker.rsplit_once(':').map_or(broker.as_str(), |(host, _)| host).trim_matches(['[', ']']);
        connection.reachable.judge_all(host, found.map(|address| address.ip()))?;
    }
    Ok(())
}

/// When the brokers that a cluster names were judged last.
#[derive(Default)]
pub(super) struct Advertised(Mutex<Option<Instant>>);

impl Advertised {
    /// Judges the brokers that the cluster names, and those of the resource, where that was not done a moment ago. A cluster that
    /// does not say who its brokers are (KIP-700) is asked again later.
    ///
    /// # Errors
    /// As [`judge`].
    pub(super) async fn judge(
        &self,
        connection: &Connection,
        ask: impl Future<Output = Result<Vec<String>>>,
    ) -> Result<()> {
        let mut judged = self.0.lock().await;
        if judged.is_some_and(|judged| judged.elapsed() < EVERY) {
            return Ok(());
        }
        let named = timeout(
            LOOK,
            ask.unwrap_or_else(|error| {
                tracing::debug!("asking who the brokers are: {error}");
                Vec::new()
            }),
        );
        let mut brokers = named.await.unwrap_or_default();
        brokers.extend_from_slice(&connection.brokers);
        judge(connection, &brokers).await?;
        *judged = Some(Instant::now());
        Ok(())
    }
}

/// A broker as addresses are written.
pub(super) fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use thalweg_core::address::{Reachable, Reason, Surroundings};

    use super::super::{Library, Reach};
    use super::*;
    use crate::kafka::played;

    fn connection(brokers: &[&str], exceptions: &[&str]) -> Connection {
        let exceptions = exceptions.iter().map(|range| range.parse().expect("a range")).collect();
        let pod = Surroundings::new(Some("10.96.0.1".to_owned()));
        let brokers = brokers.iter().map(|broker| (*broker).to_owned()).collect();
        let reachable = Reachable::new("kafka.allowPrivateAddresses", exceptions, pod);
        Connection { brokers, reachable, ..played::connection() }
    }

    /// Why a cluster is not reached, told at once: in this time the library would not give up.
    async fn refused(connection: &Connection) -> Option<ClientError> {
        timeout(Duration::from_secs(5), Library.reach(connection)).await.expect("it is told at once").err()
    }

    #[tokio::test]
    async fn brokers_at_refused_addresses_are_not_reached_whether_they_are_named_or_numbered() {
        for (broker, host, reason) in [
            ("169.254.169.254:80", "169.254.169.254", Reason::Metadata),
            ("10.96.0.1:443", "10.96.0.1", Reason::ApiServer),
            ("[fe80::1]:9092", "fe80::1", Reason::LinkLocal),
            ("localhost:8080", "localhost", Reason::Loopback),
        ] {
            let Some(ClientError::Forbidden(refused)) = refused(&connection(&["10.0.0.1:1", broker], &[])).await else {
                panic!("{broker} is not refused");
            };
            assert_eq!((refused.host.as_str(), refused.reason), (host, reason));
        }
    }

    #[tokio::test]
    async fn a_broker_that_is_named_as_an_exception_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let broker = listener.local_addr().expect("bound").to_string();
        let connection = connection(&[&broker], &["127.0.0.1/32"]);
        tokio::select! {
            accepted = timeout(Duration::from_secs(20), listener.accept()) => {
                accepted.expect("in time").expect("connected");
            }
            reached = Library.reach(&connection) => panic!("nobody answers: {:?}", reached.err()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_cluster_calls_its_brokers_is_judged_again_and_again() {
        let connection = connection(&["10.0.0.1:9092"], &[]);
        let named = |broker: &str| ready(Ok(vec![broker.to_owned()]));
        let advertised = Advertised::default();
        assert_eq!(advertised.judge(&connection, named("10.0.0.2:9092")).await, Ok(()));
        assert_eq!(advertised.judge(&connection, named("169.254.169.254:80")).await, Ok(()), "not yet");
        tokio::time::advance(EVERY).await;
        for _ in 0..2 {
            let judged = advertised.judge(&connection, named("169.254.169.254:80")).await;
            assert!(matches!(judged, Err(ClientError::Forbidden(_))), "{judged:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_does_not_say_who_its_brokers_are_is_used() {
        let connection = connection(&["10.0.0.1:9092"], &[]);
        let unknown = ready(Err(ClientError::Refused("UnsupportedVersion".to_owned())));
        assert_eq!(Advertised::default().judge(&connection, unknown).await, Ok(()));
        assert_eq!(Advertised::default().judge(&connection, std::future::pending()).await, Ok(()));
    }

    #[test]
    fn a_broker_is_written_as_it_is_looked_up() {
        assert_eq!(
            (address("kafka", 9092), address("fd00::1", 9092)),
            ("kafka:9092".to_owned(), "[fd00::1]:9092".to_owned())
        );
    }
}
