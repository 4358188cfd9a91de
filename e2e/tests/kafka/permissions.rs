//! A user who may do some things and not others.

use std::collections::BTreeSet;
use std::time::Duration;

use krafka::Record;
use thalweg_e2e::kafka::{Kafka, Listener};
use thalweg_e2e::manifest::Manifest;

use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(90);
const LOGIN: &str = "sasl: { mechanism: Plain, username: app, \
                     passwordFrom: { secretKeyRef: { name: kafka, key: password } } }";

/// A broker that asks who one is and what one may do. The plain listener is the administrator's.
async fn guarded() -> Kafka {
    let listener = "listener.name.sasl";
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let properties = format!(
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\n\
         {listener}.sasl.enabled.mechanisms=PLAIN\n\
         {listener}.plain.sasl.jaas.config={module} required user_app=\"s3cret\";\n"
    );
    let kafka = Kafka::start_with(&[Listener { name: "SASL", protocol: "SASL_PLAINTEXT", properties }], &[]);
    for topic in ["events", "secret", "hidden", "out", "private"] {
        kafka.create_topic(topic, 1, &[]).await;
    }
    kafka.send(["events", "secret", "hidden"].map(|topic| Record::new(topic, r#"{"n":1}"#))).await;
    allow(&kafka, &["--topic", "events"], &["Read"]);
    allow(&kafka, &["--topic", "out"], &["Write"]);
    let prefixed = ["--resource-pattern-type", "prefixed"];
    let progress = [&prefixed[..], &["--topic", "thalweg-progress."]].concat();
    allow(&kafka, &progress, &["Create", "Read", "Write", "Alter"]);
    allow(&kafka, &[&prefixed[..], &["--transactional-id", "thalweg-"]].concat(), &["Write"]);
    // Of these it may know that they are there.
    allow(&kafka, &["--topic", "secret"], &["Describe"]);
    allow(&kafka, &["--topic", "private"], &["Describe"]);
    kafka
}

fn allow(kafka: &Kafka, on: &[&str], operations: &[&str]) {
    let operations = operations.iter().flat_map(|operation| ["--operation", operation]);
    let allowed = kafka
        .tool("org.apache.kafka.tools.AclCommand")
        .args(["--bootstrap-server", &kafka.address(), "--add", "--allow-principal", "User:app"])
        .args(operations)
        .args(on)
        .output()
        .expect("java starts");
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
}

/// A pipeline that copies topics to topics.
fn place(kafka: &Kafka, copies: &[(&str, &str)]) -> Place {
    let sources: BTreeSet<_> = copies.iter().map(|(from, _)| *from).collect();
    let sinks: BTreeSet<_> = copies.iter().map(|(_, to)| *to).collect();
    let (sources, sinks) = (Vec::from_iter(sources), Vec::from_iter(sinks));
    let sql: Vec<_> = copies.iter().map(|(from, to)| format!("INSERT INTO {to} SELECT n FROM {from}")).collect();
    let manifest = Manifest::at(&kafka.address_of("SASL")).everywhere(LOGIN);
    let manifest = sources.iter().fold(manifest, |manifest, name| manifest.source(name, &["n BIGINT"]));
    let manifest = sinks.iter().fold(manifest, |manifest, name| manifest.sink(name));
    let manifest = manifest.pipeline("guarded", &sources, &sinks, &sql.join("; "));
    let place = Place::with(&manifest.to_string());
    place.write("secrets/kafka/password", "s3cret");
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_of_two_that_a_user_may_not_use_is_named_and_the_permissions_of_the_guide_are_enough() {
    let kafka = guarded().await;
    let words = ["--secrets", "secrets"];
    let allowed = place(&kafka, &[("events", "out")]);
    let mut run = allowed.run(&words);
    run.until("a row", LIMIT, || Some(()).filter(|()| kafka.committed("out").len() == 1));
    run.stop();
    // Of a topic that is there already it may not see whether it is compacted, which is told, and nothing else.
    kafka.send([Record::new("events", r#"{"n":2}"#)]).await;
    let mut run = allowed.run(&words);
    run.until("another row", LIMIT, || Some(()).filter(|()| kafka.committed("out").len() == 2));
    let said = run.said();
    run.stop();
    assert_eq!(said.matches("`cleanup.policy` is `compact`").count(), 1, "{said}");

    for (copies, denied) in [
        ([("events", "out"), ("secret", "out")], "reading topic `secret`"),
        ([("events", "out"), ("hidden", "out")], "`hidden`"),
        ([("events", "out"), ("events", "private")], "writing to topic `private`"),
    ] {
        let said = place(&kafka, &copies).run(&[&words[..], &["--fresh"]].concat()).fails(LIMIT);
        assert!(said.contains(denied) && said.contains("TopicAuthorizationFailed"), "{copies:?}: {said}");
        assert!(said.contains("what this user may do"), "{copies:?}: {said}");
        assert!(!said.contains("s3cret"), "no secret is told: {said}");
    }
}
