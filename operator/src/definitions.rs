//! Whether the resource definitions of the cluster have all that this version knows: fields that they lack the API server drops
//! without a word, of what users write as of what is told to them.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;
use thalweg_crds::API_VERSION;
use thalweg_crds::definition::lacking;
use thalweg_operator_plan::names::MANAGER;
use tracing::{debug, warn};

/// Each kind, and the name of its definition.
const DEFINITIONS: [(&str, &str); 4] = [
    ("StreamSource", "streamsources.thalweg.dev"),
    ("StreamSink", "streamsinks.thalweg.dev"),
    ("StreamPipeline", "streampipelines.thalweg.dev"),
    ("StreamAssignment", "streamassignments.thalweg.dev"),
];
/// How much of what is lacking an event holds, which may be 1024 bytes long.
const NOTE_LIMIT: usize = 500;

/// Tells once what the definitions lack: in the log, and by an event of this replica's pod. Where the operator has no right to read
/// them, as with `watchNamespaces`, nobody knows.
pub async fn tell(client: Client, namespace: &str, pod: &str) {
    for (kind, name) in DEFINITIONS {
        match read(&client, name).await {
            Ok(Some(found)) => {
                let lacks = lacking(kind, &schema(&found));
                if !lacks.is_empty() {
                    tell_one(&client, (namespace, pod), name, &lacks.join(", ")).await;
                }
            }
            Ok(None) => debug!(name, "there is no such definition"),
            Err(error) => debug!(name, %error, "reading a definition"),
        }
    }
}

/// Not as its Rust type, which is many times as large.
async fn read(client: &Client, name: &str) -> kube::Result<Option<DynamicObject>> {
    let kind = ApiResource::erase::<CustomResourceDefinition>(&());
    Api::<DynamicObject>::all_with(client.clone(), &kind).get_opt(name).await
}

/// The schema of the version that is used here.
fn schema(definition: &DynamicObject) -> Value {
    let mut versions = definition.data["spec"]["versions"].as_array().into_iter().flatten();
    let is_ours = |version: &&Value| version["name"].as_str().is_some_and(|name| API_VERSION.ends_with(name));
    versions.find(is_ours).map_or(Value::Null, |version| version["schema"]["openAPIV3Schema"].clone())
}

async fn tell_one(client: &Client, (namespace, pod): (&str, &str), name: &str, lacks: &str) {
    warn!(name, lacks, "a resource definition of the cluster is of an older version: upgrade it");
    let lacks: String = lacks.chars().take(NOTE_LIMIT).collect();
    let event = Event {
        type_: EventType::Warning,
        reason: "DefinitionOutdated".to_owned(),
        note: Some(format!("{name} is of an older version; upgrade it, since these fields are dropped: {lacks}")),
        // Events of one reason and action are told as a series, in the words of the first.
        action: format!("Read{}", name.split('.').next().unwrap_or_default()),
        secondary: None,
    };
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    };
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(pod.to_owned()) };
    if let Err(error) = Recorder::new(client.clone(), reporter).publish(&event, &about).await {
        debug!(name, %error, "telling an event");
    }
}
