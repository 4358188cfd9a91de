//! `thalweg pause` and `thalweg resume`: they set one field of a pipeline, as anybody could.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use thalweg_crds::StreamPipeline;

use super::args::PipelineArgs;
use super::kubernetes::{Place, Refusal};
use super::status::on_one_thread;
use super::{Exit, print, tell};

/// Sets `paused` of a pipeline.
pub fn run(args: &PipelineArgs, paused: bool) -> Exit {
    let done = on_one_thread(async { set(&Place::find(args).await?, paused).await });
    match done {
        Ok(said) => print(&said),
        Err(refusal) => {
            tell(&format!("error: {refusal}"));
            refusal.exit()
        }
    }
}

/// Sets it where it is otherwise; what is told.
async fn set(place: &Place, paused: bool) -> Result<String, Refusal> {
    let Place { namespace, name, .. } = place;
    let pipeline = place.pipeline().await?;
    let wait = format!("kubectl wait -n {namespace} streampipeline/{name} --for=condition=");
    if pipeline.spec.paused == paused {
        let is = if paused { "paused" } else { "not paused" };
        return Ok(format!("StreamPipeline {namespace}/{name} is {is} already\n"));
    }
    let api: Api<StreamPipeline> = Api::namespaced(place.client.clone(), namespace);
    let patch = json!({"metadata": {"uid": pipeline.metadata.uid}, "spec": {"paused": paused}});
    let parameters = PatchParams { field_manager: Some("thalweg".to_owned()), ..PatchParams::default() };
    let written = api.patch(name, &parameters, &Patch::Merge(&patch)).await;
    written.map_err(|error| place.refusal("setting spec.paused", &error))?;
    Ok(match paused {
        true => format!(
            "StreamPipeline {namespace}/{name} is to pause: its workers commit and end, and everything is kept\n  {wait}Paused\n"
        ),
        false => format!("StreamPipeline {namespace}/{name} is to go on where it stopped\n  {wait}Ready\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{Answers, place};
    use super::*;

    fn answers(paused: bool) -> Answers {
        let spec = json!({"sources": [], "sinks": [], "sql": "x", "paused": paused});
        let pipeline = json!({"metadata": {"name": "fares", "namespace": "shop", "uid": "u"}, "spec": spec});
        Answers::default().with("/apis/thalweg.dev/v1alpha1/namespaces/shop/streampipelines/fares", 200, pipeline)
    }

    #[tokio::test]
    async fn a_pipeline_is_paused_once_and_told_how_to_wait() {
        let answers = answers(false);
        let place = place(&answers).await;
        let said = set(&place, true).await.expect("it is set");
        assert!(said.contains("StreamPipeline shop/fares is to pause"), "{said}");
        assert!(said.contains("kubectl wait -n shop streampipeline/fares --for=condition=Paused"), "{said}");
        let patches = answers.patches();
        assert_eq!(patches.len(), 1);
        assert_eq!(patches[0], json!({"metadata": {"uid": "u"}, "spec": {"paused": true}}));
        let said = set(&place, false).await.expect("nothing to do");
        assert_eq!(said, "StreamPipeline shop/fares is not paused already\n");
        assert_eq!(answers.patches().len(), 1);
    }

    #[tokio::test]
    async fn a_pipeline_that_was_paused_goes_on() {
        let answers = answers(true);
        let said = set(&place(&answers).await, false).await.expect("it is set");
        assert!(said.contains("is to go on where it stopped"), "{said}");
        assert_eq!(answers.patches(), [json!({"metadata": {"uid": "u"}, "spec": {"paused": false}})]);
    }
}
