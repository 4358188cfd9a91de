//! TLS, certificates of clients, and log-ins, against a real broker.

use std::time::Duration;

use krafka::Record;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use thalweg_e2e::kafka::{Kafka, Listener};
use thalweg_e2e::manifest::Manifest;

use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(90);

/// A certificate and its key, as PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// An authority that signs certificates.
pub struct Authority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed").pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub fn sign(&self, name: &str) -> Identity {
        self.sign_until(name, 4_096)
    }

    /// A certificate that is valid up to the beginning of a year.
    fn sign_until(&self, name: &str, year: i32) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

/// A broker with a listener that asks for certificates (TLS) and one that asks for log-ins (SASL).
struct Secured {
    kafka: Kafka,
    authority: Authority,
    _folder: TempDir,
}

impl Secured {
    async fn start() -> Self {
        let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
        let broker = authority.sign("localhost");
        let old = authority.sign_until("localhost", 2_020);
        let trusted = folder.path().join("ca.pem");
        std::fs::write(&trusted, &authority.certificate).expect("written");
        let tls = |name: &str| {
            let (store, identity) =
                (folder.path().join(format!("{name}.pem")), if name == "old" { &old } else { &broker });
            std::fs::write(&store, format!("{}{}", identity.key, identity.certificate)).expect("written");
            format!(
                "listener.name.{name}.ssl.keystore.type=PEM\nlistener.name.{name}.ssl.keystore.location={}\n\
                 listener.name.{name}.ssl.truststore.type=PEM\nlistener.name.{name}.ssl.truststore.location={}\n",
                store.display(),
                trusted.display()
            )
        };
        let login = "org.apache.kafka.common.security";
        let sasl = format!(
            "{}listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.sasl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_app=\"s3cret\";\n\
             listener.name.sasl.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
             listener.name.sasl.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;\n",
            tls("sasl")
        );
        let listeners = [
            Listener {
                name: "TLS",
                protocol: "SSL",
                properties: format!("{}listener.name.tls.ssl.client.auth=required\n", tls("tls")),
            },
            Listener { name: "SASL", protocol: "SASL_SSL", properties: sasl },
            Listener { name: "OLD", protocol: "SSL", properties: tls("old") },
        ];
        let users = ["--add-scram", "SCRAM-SHA-512=[name=app,password=s3cret]"];
        let more = ["--add-scram", "SCRAM-SHA-256=[name=app,password=s3cret]"];
        let kafka = Kafka::start_with(&listeners, &[users, more].concat());
        kafka.create_topic("events", 1, &[]).await;
        kafka.create_topic("out", 1, &[]).await;
        kafka.send([Record::new("events", r#"{"n":1}"#)]).await;
        Self { kafka, authority, _folder: folder }
    }

    /// A pipeline through a listener, and the values that it refers to.
    fn place(&self, listener: &str, security: &str, values: &[(&str, &str)]) -> Place {
        let manifest = Manifest::at(&self.kafka.address_of(listener))
            .everywhere(security)
            .source("events", &["n BIGINT"])
            .sink("out")
            .pipeline("secured", &["events"], &["out"], "INSERT INTO out SELECT n FROM events");
        let place = Place::with(&manifest.to_string());
        values.iter().for_each(|(name, value)| place.write(&format!("secrets/{name}"), value));
        place
    }

    fn succeeds(&self, place: &Place) {
        let before = self.kafka.committed("out").len();
        let mut run = place.run(&["--secrets", "secrets", "--fresh"]);
        run.until("a row", LIMIT, || Some(()).filter(|()| self.kafka.committed("out").len() > before));
        run.stop();
    }
}

const TRUST: &str = "tls: { caFrom: { configMapKeyRef: { name: ca, key: ca.crt } } }";
const MUTUAL: &str = "tls: { caFrom: { configMapKeyRef: { name: ca, key: ca.crt } }, \
                      certFrom: { secretKeyRef: { name: client, key: tls.crt } }, \
                      keyFrom: { secretKeyRef: { name: client, key: tls.key } } }";

fn login(mechanism: &str) -> String {
    format!(
        "{TRUST}, sasl: {{ mechanism: {mechanism}, username: app, \
         passwordFrom: {{ secretKeyRef: {{ name: kafka, key: password }} }} }}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_passwords_are_checked_by_both_sides() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let secured = Secured::start().await;
    let ca = ("ca/ca.crt", secured.authority.certificate.as_str());
    let client = secured.authority.sign("client");
    let identity = [ca, ("client/tls.crt", client.certificate.as_str()), ("client/tls.key", client.key.as_str())];

    secured.succeeds(&secured.place("TLS", MUTUAL, &identity));
    for mechanism in ["Plain", "ScramSha256", "ScramSha512"] {
        secured.succeeds(&secured.place("SASL", &login(mechanism), &[ca, ("kafka/password", "s3cret\n")]));
    }

    let words = ["--secrets", "secrets"];
    let said = secured.place("TLS", TRUST, &[ca]).run(&words).fails(LIMIT);
    assert!(said.contains("check `tls` and `sasl`"), "without a certificate of its own: {said}");

    let said = secured.place("OLD", TRUST, &[ca]).run(&words).fails(LIMIT);
    // librdkafka does not say why a certificate does not hold.
    let is_told = said.contains("expired") || said.contains("broker certificate could not be verified");
    assert!(is_told && said.contains("check `tls` and `sasl`"), "the broker's has expired: {said}");
    let old = secured.authority.sign_until("client", 2_020);
    let expired = [ca, ("client/tls.crt", old.certificate.as_str()), ("client/tls.key", old.key.as_str())];
    let said = secured.place("TLS", MUTUAL, &expired).run(&words).fails(LIMIT);
    assert!(said.contains("check `tls` and `sasl`"), "its own certificate has expired: {said}");

    let other = Authority::new();
    let untrusted =
        secured.place("SASL", &login("Plain"), &[("ca/ca.crt", &other.certificate), ("kafka/password", "s3cret")]);
    let said = untrusted.run(&words).fails(LIMIT);
    assert!(said.contains("check `tls` and `sasl`"), "an authority that is not trusted: {said}");

    for mechanism in ["Plain", "ScramSha512"] {
        let said =
            secured.place("SASL", &login(mechanism), &[ca, ("kafka/password", "wr0ng")]).run(&words).fails(LIMIT);
        assert!(said.contains("check `tls` and `sasl`"), "a wrong password: {said}");
        assert!(!said.contains("wr0ng") && !said.contains("s3cret"), "no secret is told: {said}");
    }
}
