//! Log-in with tokens that expire (OAUTHBEARER), against a real broker with Kafka's own check of unsecured ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use krafka::Record;
use serde_json::{Value, json};
use thalweg_e2e::kafka::{Kafka, Listener};
use thalweg_e2e::manifest::Manifest;

use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(90);
/// How long the first token counts: longer than the client library wants to see ahead.
const LIFE: Duration = Duration::from_secs(60);
/// How long the broker takes one log-in for good, in milliseconds.
const SESSION_MILLIS: u64 = 6_000;

/// A broker that asks for tokens, and after a while for the next one.
async fn kafka() -> Kafka {
    let (listener, package) = ("listener.name.oauth", "org.apache.kafka.common.security.oauthbearer");
    let properties = format!(
        "{listener}.sasl.enabled.mechanisms=OAUTHBEARER\n\
         {listener}.oauthbearer.sasl.jaas.config={package}.OAuthBearerLoginModule required \
         unsecuredLoginStringClaim_sub=\"broker\";\n\
         {listener}.oauthbearer.connections.max.reauth.ms={SESSION_MILLIS}\n"
    );
    let kafka = Kafka::start_with(&[Listener { name: "OAUTH", protocol: "SASL_PLAINTEXT", properties }], &[]);
    kafka.create_topic("events", 1, &[]).await;
    kafka.create_topic("out", 1, &[]).await;
    kafka
}

/// A pipeline that logs in with the token.
fn place(kafka: &Kafka, token: &str) -> Place {
    let manifest = Manifest::at(&kafka.address_of("OAUTH"))
        .everywhere("sasl: { mechanism: OAuthBearer, tokenFrom: { secretKeyRef: { name: kafka, key: token } } }")
        .source("events", &["n BIGINT"])
        .sink("out")
        .pipeline("with-tokens", &["events"], &["out"], "INSERT INTO out SELECT n FROM events");
    let place = Place::with(&manifest.to_string());
    place.write("secrets/kafka/token", token);
    place
}

/// A token that nobody has signed, good until then.
fn token(until: SystemTime) -> String {
    let encoded = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let seconds = until.duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    format!("{}.{}.", encoded(json!({ "alg": "none" })), encoded(json!({ "sub": "app", "exp": seconds })))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_again_before_it_expires() {
    let kafka = kafka().await;
    let expires = SystemTime::now() + LIFE;
    let place = place(&kafka, &token(expires));
    let mut run = place.run(&["--secrets", "secrets", "--fresh"]);
    // Somebody renews it in time; with the first one alone nobody would be let in any more by the end.
    while SystemTime::now() < expires + 2 * Duration::from_millis(SESSION_MILLIS) {
        let before = kafka.end_of("out", 0).await;
        kafka.send([Record::new("events", r#"{"n":1}"#)]).await;
        let sent = SystemTime::now();
        while kafka.end_of("out", 0).await == before {
            assert!(!run.has_ended() && sent.elapsed().is_ok_and(|passed| passed < LIMIT), "no row: {}", run.said());
        }
        // At once, as Kubernetes does it.
        place.write("next", &token(expires + LIMIT));
        std::fs::rename(place.path("next"), place.path("secrets/kafka/token")).expect("renamed");
    }
    run.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_over_or_none_is_refused_and_never_told() {
    let kafka = kafka().await;
    let over = token(SystemTime::now() - LIFE);
    for token in [over.as_str(), "n0-token"] {
        let said = place(&kafka, token).run(&["--secrets", "secrets", "--fresh"]).fails(LIMIT);
        assert!(said.contains("check `tls` and `sasl`"), "{said}");
        assert!(!said.contains(token), "no secret is told: {said}");
    }
}
