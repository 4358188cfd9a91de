//! What librdkafka says beside its answers: events, which the thread that fetches them hands on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use thalweg_core::clock::{Clock, SystemClock};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::super::{ClientError, Result};
use super::error::from;
use crate::kafka::config::Connection;
use crate::kafka::login::{Login, Token};

/// For how long a token counts that does not say so, in milliseconds. The library asks for the next one after four fifths of it:
/// every five minutes.
const UNTOLD_LIFE_MILLIS: i64 = 375_000;
/// Whom a token belongs to; brokers read it from the token itself.
const PRINCIPAL: &str = "thalweg";

/// Keeps what was said.
pub(super) struct Ear {
    token: Option<Token>,
    clock: SystemClock,
    said: Mutex<Said>,
    delivered: Notify,
}

#[derive(Default)]
struct Said {
    last: Option<String>,
    refused: Option<String>,
    all_are_away: bool,
    end: Option<End>,
    failed: Option<ClientError>,
}

/// The end of a partition, as a broker has just told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The next offset: nothing that is decided follows.
    pub at: u64,
    /// Behind the last record, decided or not.
    pub high: u64,
}

impl End {
    /// Reads librdkafka's sentence. The crate hands the event on without its offset, which stands nowhere else.
    fn read(sentence: &str) -> Option<Self> {
        let number = |after: &str| {
            let rest = sentence.split_once(after)?.1;
            rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
        };
        Some(Self { at: number("at offset ")?, high: number("HighwaterMark ")? })
    }
}

impl Ear {
    /// An ear for a handle of this connection.
    pub(super) fn of(connection: &Connection) -> Self {
        let login = connection.security.as_ref().and_then(|security| security.login.as_ref());
        let token = match login {
            Some(Login::Token(token)) => Some(token.clone()),
            _ => None,
        };
        Self { token, clock: SystemClock::new(), said: Mutex::default(), delivered: Notify::new() }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last error's sentence.
    pub(super) fn last_said(&self) -> Option<String> {
        self.said().last.clone()
    }

    /// Why a broker did not let us in, or we left one.
    pub(super) fn refused(&self) -> Option<String> {
        self.said().refused.clone()
    }

    /// Whether no broker could be reached.
    pub(super) fn all_are_away(&self) -> bool {
        self.said().all_are_away
    }

    /// The end that was told last.
    pub(super) fn end(&self) -> Option<End> {
        self.said().end
    }

    /// Why the first record failed of those that did, once.
    pub(super) fn take_failed(&self) -> Option<ClientError> {
        self.said().failed.take()
    }

    /// Waits until a record is done with: there is room for another one.
    pub(super) fn delivered(&self) -> Notified<'_> {
        self.delivered.notified()
    }

    /// The token as it stands now, where brokers ask for one.
    pub(super) fn token(&self) -> Result<Option<OAuthToken>> {
        let now = self.clock.wall_millis();
        let Some(token) = &self.token else { return Ok(None) };
        let (token, until) = token.now(now).map_err(|error| ClientError::Refused(error.to_string()))?;
        let lifetime_ms = until.unwrap_or(now + UNTOLD_LIFE_MILLIS);
        Ok(Some(OAuthToken { token, principal_name: PRINCIPAL.to_owned(), lifetime_ms }))
    }
}

/// Certificates that one side does not take may come as a broken connection.
fn is_tls_refusal(sentence: &str) -> bool {
    sentence.contains("certificate verify failed") || (sentence.contains("alert") && sentence.contains("SSL"))
}

impl ClientContext for Ear {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", "{facility}: {message}");
    }

    fn error(&self, error: KafkaError, sentence: &str) {
        let code = error.rdkafka_error_code();
        tracing::debug!(target: "librdkafka", "{code:?}: {sentence}");
        let mut said = self.said();
        match code {
            Some(RDKafkaErrorCode::PartitionEOF) => {
                said.end = End::read(sentence);
                return;
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                said.all_are_away = true;
                return;
            }
            Some(RDKafkaErrorCode::Authentication) => said.refused = Some(sentence.to_owned()),
            _ if is_tls_refusal(sentence) => said.refused = Some(sentence.to_owned()),
            _ => {}
        }
        said.last = Some(sentence.to_owned());
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        match self.token() {
            Ok(Some(token)) => Ok(token),
            Ok(None) => Err("there is no token".into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl ConsumerContext for Ear {}

impl ProducerContext for Ear {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.said().failed.get_or_insert_with(|| from(error));
        }
        self.delivered.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_partition_is_read_from_its_sentence() {
        let told = "Fetch from broker 1 reached end of partition at offset 12 (HighwaterMark 34)";
        assert_eq!(End::read(told), Some(End { at: 12, high: 34 }));
        assert_eq!(End::read("Fetch from broker 1 reached end of partition at offset -1 (HighwaterMark 34)"), None);
        assert_eq!(End::read("the end"), None);
    }

    #[test]
    fn a_certificate_that_one_side_does_not_take_is_told_from_a_broken_network() {
        for refused in [
            "ssl://localhost:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: \
             broker certificate could not be verified",
            "ssl://localhost:1/0: Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert \
             number 116",
        ] {
            assert!(is_tls_refusal(refused), "{refused}");
        }
        assert!(!is_tls_refusal("ssl://localhost:1/bootstrap: Disconnected while requesting ApiVersion"));
        assert!(!is_tls_refusal("localhost:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused"));
    }
}
