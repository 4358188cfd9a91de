//! What a resource says, with its secrets read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use krafka::auth::{AuthConfig, TlsConfig};
use thalweg_core::address::Reachable;
use thalweg_core::error::{Error, Result};
use thalweg_crds::connector::{self, CreateTopic, KafkaCompression, StartPosition};
use thalweg_crds::pipeline::Delivery as Promise;
use thalweg_crds::secret::{Sasl, Tls, ValueFrom};

use super::client::Wanted;
use super::login::Login;
use super::patience::Waits;
use crate::registry::{Values, reachable};

/// Certificates that the system trusts, where Linux distributions keep them.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The field that names addresses which brokers may have although they are refused.
const EXCEPTIONS: &str = "kafka.allowPrivateAddresses";

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// What the brokers' logs call this client.
    pub client_id: String,
    /// TLS and log-in; none over a plain connection.
    pub security: Option<Security>,
    /// How readers fetch.
    pub fetching: Fetching,
    /// Which addresses brokers may have.
    pub reachable: Reachable,
}

impl Connection {
    /// As messages name it.
    pub fn shown(&self) -> String {
        format!("Kafka at {}", self.brokers.join(","))
    }
}

/// How readers fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetching {
    /// Bytes of a partition that one answer holds at the most, but for a batch that is longer.
    pub partition_bytes: i32,
    /// How long a broker may keep a request that it has nothing for.
    pub max_wait: Duration,
    /// Where this worker is, to read from near replicas.
    pub rack: Option<String>,
}

impl Default for Fetching {
    fn default() -> Self {
        Self { partition_bytes: 1 << 20, max_wait: Duration::from_millis(500), rack: None }
    }
}

/// TLS and log-in.
#[derive(Clone, PartialEq)]
pub struct Security {
    pub(super) tls: Option<TlsValues>,
    pub(super) login: Option<Login>,
}

/// It holds passwords and keys.
impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Security").field("tls", &self.tls.is_some()).field("login", &self.login.is_some()).finish()
    }
}

/// Certificates and keys, as PEM.
#[derive(Clone, PartialEq)]
pub(super) struct TlsValues {
    /// Who is trusted; by default whom the system trusts.
    pub roots: Option<Vec<u8>>,
    /// Our certificate, and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// What the brokers' certificates are made out to, in place of their addresses.
    pub server_name: Option<String>,
    /// Whether certificates are checked at all.
    pub verify: bool,
}

impl Security {
    fn resolve(tls: Option<&Tls>, sasl: Option<&Sasl>, values: &dyn Values) -> Result<Option<Self>> {
        let tls = tls.map(|tls| TlsValues::resolve(tls, values)).transpose()?;
        let login = sasl.map(|sasl| Login::resolve(sasl, values)).transpose()?;
        Ok((tls.is_some() || login.is_some()).then_some(Self { tls, login }))
    }

    /// In the words of the client library.
    pub(super) fn to_krafka(&self) -> AuthConfig {
        let login = self.login.as_ref().map_or_else(AuthConfig::plaintext, Login::to_krafka);
        match &self.tls {
            Some(tls) => login.with_tls(tls.to_krafka()),
            // It is never without TLS.
            None if login.requires_tls() => login.with_tls(TlsValues::default().to_krafka()),
            None => login,
        }
    }
}

/// Where the system keeps whom it trusts.
pub(super) fn system_roots() -> Option<&'static str> {
    SYSTEM_ROOTS.into_iter().find(|path| std::path::Path::new(path).exists())
}

/// What the system trusts.
impl Default for TlsValues {
    fn default() -> Self {
        Self { roots: None, identity: None, server_name: None, verify: true }
    }
}

impl TlsValues {
    fn resolve(tls: &Tls, values: &dyn Values) -> Result<Self> {
        let read = |from: &Option<ValueFrom>| from.as_ref().map(|from| values.read(from)).transpose();
        let identity = read(&tls.cert_from)?.zip(read(&tls.key_from)?);
        Ok(Self {
            roots: read(&tls.ca_from)?,
            identity,
            server_name: tls.server_name.clone(),
            verify: !tls.insecure_skip_verify,
        })
    }

    fn to_krafka(&self) -> TlsConfig {
        let config = if self.verify { TlsConfig::new() } else { TlsConfig::insecure() };
        let config = match (&self.roots, system_roots()) {
            (Some(pem), _) => config.with_ca_cert_pem(pem.clone()),
            (None, Some(path)) => config.with_ca_cert(path),
            (None, None) => config,
        };
        let config = match &self.identity {
            Some((certificate, key)) => config.with_client_cert_pem(certificate.clone(), key.clone()),
            None => config,
        };
        self.server_name.iter().fold(config, |config, name| config.with_sni_hostname(name))
    }
}

/// A source, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// The cluster.
    pub connection: Connection,
    /// The topic.
    pub topic: Arc<str>,
    /// Where partitions start that are there when a pipeline starts for the first time.
    pub start_at: StartAt,
    /// A longer record is a bad one.
    pub most_bytes: usize,
    /// What the query reads beside values.
    pub wanted: Wanted,
    /// The consumer group that is shown how far partitions were taken.
    pub group: Option<String>,
    /// How long a start waits.
    pub waits: Waits,
}

/// Where partitions start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest record kept.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// At the first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
    /// At these offsets; others at their beginning.
    Offsets(BTreeMap<u32, u64>),
}

impl SourceConfig {
    /// Reads secrets and settings.
    ///
    /// # Errors
    /// *User*: a secret that is not there, a time or a range of addresses that is none, a property that is not known.
    pub fn resolve(
        kafka: &connector::KafkaSource,
        most_bytes: usize,
        wanted: Wanted,
        values: &dyn Values,
    ) -> Result<Self> {
        let mut connection = Connection {
            brokers: kafka.brokers.clone(),
            client_id: "thalweg".to_owned(),
            security: Security::resolve(kafka.tls.as_ref(), kafka.sasl.as_ref(), values)?,
            fetching: Fetching::default(),
            reachable: reachable(EXCEPTIONS, &kafka.allow_private_addresses)?,
        };
        for (name, value) in &kafka.properties {
            match name.as_str() {
                "client.id" => connection.client_id.clone_from(value),
                "client.rack" => connection.fetching.rack = Some(value.clone()),
                "max.partition.fetch.bytes" => connection.fetching.partition_bytes = parsed(name, value)?,
                "fetch.max.wait.ms" => connection.fetching.max_wait = Duration::from_millis(parsed(name, value)?),
                _ => return Err(unknown(name, "client.id, client.rack, max.partition.fetch.bytes, fetch.max.wait.ms")),
            }
        }
        let start_at = StartAt::resolve(&kafka.start_at)?;
        let (topic, group) = (kafka.topic.as_str().into(), kafka.commit_to_group.clone());
        Ok(Self { connection, topic, start_at, most_bytes, wanted, group, waits: Waits::default() })
    }
}

impl StartAt {
    fn resolve(start_at: &connector::StartAt) -> Result<Self> {
        Ok(match start_at.position {
            StartPosition::Earliest => Self::Earliest,
            StartPosition::Latest => Self::Latest,
            StartPosition::Timestamp => {
                let text = start_at.timestamp.as_deref().unwrap_or_default();
                let time = DateTime::parse_from_rfc3339(text);
                let time = time.map_err(|error| Error::user("`kafka.startAt.timestamp`", format!("`{text}`: {error}")));
                Self::Timestamp(time?.timestamp_millis())
            }
            StartPosition::Offsets => {
                let pairs = start_at.offsets.iter();
                // The schema keeps both above zero.
                Self::Offsets(pairs.map(|at| (at.partition.unsigned_abs(), at.offset.unsigned_abs())).collect())
            }
        })
    }
}

/// A sink, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    /// The cluster.
    pub connection: Connection,
    /// The topic.
    pub topic: Arc<str>,
    /// Columns of the key.
    pub key: Vec<String>,
    /// Columns that are headers, and not in the value.
    pub headers: Vec<String>,
    /// Whether a row with nothing for the value is a tombstone.
    pub tombstones: bool,
    /// How batches are compressed.
    pub compression: KafkaCompression,
    /// What is made where there is no such topic.
    pub create: Option<CreateTopic>,
    /// How long a batch waits for more.
    pub linger: Duration,
    /// Bytes of a batch.
    pub batch_bytes: usize,
    /// What is promised.
    pub promise: Promise,
}

impl SinkConfig {
    /// Reads secrets and settings.
    ///
    /// # Errors
    /// As [`SourceConfig::resolve`].
    pub fn resolve(kafka: &connector::KafkaSink, promise: Promise, values: &dyn Values) -> Result<Self> {
        let mut config = Self {
            connection: Connection {
                brokers: kafka.brokers.clone(),
                client_id: "thalweg".to_owned(),
                security: Security::resolve(kafka.tls.as_ref(), kafka.sasl.as_ref(), values)?,
                fetching: Fetching::default(),
                reachable: reachable(EXCEPTIONS, &kafka.allow_private_addresses)?,
            },
            topic: kafka.topic.as_str().into(),
            key: kafka.key.clone(),
            headers: kafka.headers.clone(),
            tombstones: kafka.tombstones,
            compression: kafka.compression,
            create: kafka.create_topic.clone(),
            linger: Duration::from_millis(10),
            batch_bytes: 512 << 10,
            promise,
        };
        for (name, value) in &kafka.properties {
            match name.as_str() {
                "client.id" => config.connection.client_id.clone_from(value),
                "linger.ms" => config.linger = Duration::from_millis(parsed(name, value)?),
                "batch.size" => config.batch_bytes = parsed(name, value)?,
                _ => return Err(unknown(name, "client.id, linger.ms, batch.size")),
            }
        }
        Ok(config)
    }
}

fn parsed<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| Error::user(format!("`kafka.properties`: `{name}`"), format!("`{value}` does not fit")))
}

fn unknown(name: &str, known: &str) -> Error {
    Error::user(format!("`kafka.properties`: `{name}`"), format!("is not among those that may be set: {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{ReadAgain, again};

    #[derive(Clone)]
    struct Fixed;

    impl Values for Fixed {
        fn read(&self, _from: &ValueFrom) -> Result<Vec<u8>> {
            Ok(b"s3cret\n".to_vec())
        }

        fn read_again(&self, from: &ValueFrom) -> ReadAgain {
            again(self, from)
        }
    }

    fn source(yaml: serde_json::Value) -> Result<SourceConfig> {
        let kafka: connector::KafkaSource = serde_json::from_value(yaml).expect("a source");
        SourceConfig::resolve(&kafka, 1, Wanted::default(), &Fixed)
    }

    #[test]
    fn a_property_that_is_not_on_the_list_is_refused_with_the_list() {
        let error = source(serde_json::json!({
            "brokers": ["kafka:9092"], "topic": "t", "properties": { "group.id": "mine" },
        }));
        assert_eq!(
            error.expect_err("refused").to_string(),
            "`kafka.properties`: `group.id`: is not among those that may be set: client.id, client.rack, \
             max.partition.fetch.bytes, fetch.max.wait.ms"
        );
    }

    #[test]
    fn a_range_of_addresses_that_is_none_is_refused_with_its_place() {
        let error = source(serde_json::json!({
            "brokers": ["kafka:9092"], "topic": "t", "allowPrivateAddresses": ["10.0.0.0/8", "kafka"],
        }));
        assert_eq!(
            error.expect_err("refused").to_string(),
            "`kafka.allowPrivateAddresses[1]`: `kafka` is no range of addresses; expected CIDR, such as 10.1.0.0/16, or an address"
        );
    }

    #[test]
    fn what_is_shown_of_a_connection_holds_no_secret() {
        let reference = serde_json::json!({ "secretKeyRef": { "name": "kafka", "key": "password" } });
        let config = source(serde_json::json!({
            "brokers": ["kafka:9092"], "topic": "t",
            "sasl": { "mechanism": "ScramSha512", "username": "app", "passwordFrom": reference },
        }));
        let config = config.expect("resolved");
        assert!(!format!("{config:?}").contains("s3cret") && config.connection.security.is_some());
    }

    #[test]
    fn an_identity_in_aws_goes_over_tls_whatever_else_is_said() {
        let config = source(serde_json::json!({
            "brokers": ["kafka:9098"], "topic": "t", "sasl": { "mechanism": "AwsMskIam", "region": "eu-central-1" },
        }));
        let security = config.expect("resolved").connection.security.expect("a log-in").to_krafka();
        assert!(security.requires_tls() && security.requires_sasl());
    }

    #[test]
    fn a_time_is_read_with_its_offset() {
        let config = source(serde_json::json!({
            "brokers": ["kafka:9092"], "topic": "t",
            "startAt": { "position": "Timestamp", "timestamp": "2018-01-01T01:00:00.500+01:00" },
        }));
        assert_eq!(config.expect("resolved").start_at, StartAt::Timestamp(1_514_764_800_500));
    }
}
