//! A connection in librdkafka's words.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use thalweg_crds::secret::SaslMechanism;

use super::super::{ClientError, Result};
use crate::kafka::config::{Connection, TlsValues, system_roots};
use crate::kafka::login::Login;

/// The settings that every handle of a connection has.
///
/// # Errors
/// `Refused` where the library has no words for what is wanted.
pub(super) fn of(connection: &Connection) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config
        .set_log_level(RDKafkaLogLevel::Warning)
        .set("bootstrap.servers", connection.brokers.join(","))
        .set("client.id", &connection.client_id)
        .set("enable.metrics.push", "false")
        .set("allow.auto.create.topics", "false")
        // Whoever leads a partition whose broker stands still is not told by that broker.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("reconnect.backoff.max.ms", "1000");
    let security = connection.security.as_ref();
    let (tls, login) = (security.and_then(|s| s.tls.as_ref()), security.and_then(|s| s.login.as_ref()));
    config.set("security.protocol", protocol(tls.is_some(), login.is_some()));
    if let Some(tls) = tls {
        trust(&mut config, tls)?;
    }
    if let Some(login) = login {
        log_in(&mut config, login)?;
    }
    Ok(config)
}

fn protocol(has_tls: bool, has_login: bool) -> &'static str {
    match (has_tls, has_login) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    }
}

fn trust(config: &mut ClientConfig, tls: &TlsValues) -> Result<()> {
    if tls.server_name.is_some() {
        return Err(unknown("`tls.serverName`"));
    }
    match (&tls.roots, system_roots()) {
        (Some(roots), _) => {
            config.set("ssl.ca.pem", pem(roots, "caFrom")?);
        }
        (None, Some(path)) => {
            config.set("ssl.ca.location", path);
        }
        (None, None) => {}
    }
    if let Some((certificate, key)) = &tls.identity {
        config.set("ssl.certificate.pem", pem(certificate, "certFrom")?).set("ssl.key.pem", pem(key, "keyFrom")?);
    }
    if !tls.verify {
        config.set("enable.ssl.certificate.verification", "false");
        config.set("ssl.endpoint.identification.algorithm", "none");
    }
    Ok(())
}

fn log_in(config: &mut ClientConfig, login: &Login) -> Result<()> {
    let mechanism = match login {
        Login::Password { mechanism, username, password } => {
            config.set("sasl.username", username).set("sasl.password", password);
            match mechanism {
                SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
                _ => "PLAIN",
            }
        }
        Login::Token(_) => "OAUTHBEARER",
        Login::Aws(_) => return Err(unknown("`sasl.mechanism: AwsMskIam`")),
    };
    config.set("sasl.mechanism", mechanism);
    Ok(())
}

fn pem(bytes: &[u8], field: &str) -> Result<String> {
    let text = String::from_utf8(bytes.to_vec());
    text.map_err(|_| ClientError::Refused(format!("`tls.{field}`: expected PEM, found bytes that are no text")))
}

fn unknown(what: &str) -> ClientError {
    ClientError::Refused(format!("{what}: this build reaches Kafka through librdkafka, which does not know it"))
}

#[cfg(test)]
mod tests {
    use thalweg_core::error::Result as CoreResult;
    use thalweg_crds::connector::KafkaSource;
    use thalweg_crds::secret::ValueFrom;

    use super::*;
    use crate::kafka::client::Wanted;
    use crate::kafka::config::SourceConfig;
    use crate::registry::{ReadAgain, Values, again};

    /// Every value is its key.
    #[derive(Clone)]
    struct Keys;

    impl Values for Keys {
        fn read(&self, from: &ValueFrom) -> CoreResult<Vec<u8>> {
            Ok(from.secret_key_ref.as_ref().map(|from| from.key.clone().into_bytes()).unwrap_or_default())
        }

        fn read_again(&self, from: &ValueFrom) -> ReadAgain {
            again(self, from)
        }
    }

    fn settings(security: serde_json::Value) -> Result<ClientConfig> {
        let mut source = serde_json::json!({ "brokers": ["a:1", "b:2"], "topic": "t" });
        source.as_object_mut().expect("an object").extend(security.as_object().expect("an object").clone());
        let source: KafkaSource = serde_json::from_value(source).expect("a source");
        of(&SourceConfig::resolve(&source, 1, Wanted::default(), &Keys).expect("resolved").connection)
    }

    fn secret(key: &str) -> serde_json::Value {
        serde_json::json!({ "secretKeyRef": { "name": "s", "key": key } })
    }

    #[test]
    fn without_more_a_connection_is_plain() {
        let config = settings(serde_json::json!({})).expect("settings");
        assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
        assert_eq!(config.get("security.protocol"), Some("plaintext"));
    }

    #[test]
    fn certificates_and_log_ins_are_handed_on() {
        let config = settings(serde_json::json!({
            "tls": { "caFrom": secret("ca"), "certFrom": secret("crt"), "keyFrom": secret("key") },
            "sasl": { "mechanism": "ScramSha512", "username": "app", "passwordFrom": secret("password") },
        }));
        let config = config.expect("settings");
        for (name, value) in [
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.pem", "ca"),
            ("ssl.certificate.pem", "crt"),
            ("ssl.key.pem", "key"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "app"),
            ("sasl.password", "password"),
        ] {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
        assert!(!format!("{config:?}").contains("\"password\""), "no secret is shown");
        let open = settings(serde_json::json!({ "tls": { "insecureSkipVerify": true } })).expect("settings");
        assert_eq!(open.get("enable.ssl.certificate.verification"), Some("false"));
    }

    #[test]
    fn what_the_library_does_not_know_is_refused_and_not_left_out() {
        for (security, named) in [
            (serde_json::json!({ "tls": { "serverName": "kafka" } }), "serverName"),
            (serde_json::json!({ "sasl": { "mechanism": "AwsMskIam", "region": "eu-central-1" } }), "AwsMskIam"),
        ] {
            let error = settings(security).err().expect("refused");
            assert!(matches!(&error, ClientError::Refused(text) if text.contains(named)), "{error:?}");
        }
    }
}
