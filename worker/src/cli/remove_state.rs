//! `thalweg remove-state`: what the clean-up Job of a deleted pipeline does.

use thalweg_core::error::{Error, Result};
use thalweg_crds::manifest::read_text;
use thalweg_crds::state::StateSpec;
use thalweg_state::{PipelineState, RootOptions, Sharing, StateRoot};

use super::args::RemoveStateArgs;
use super::status::on_one_thread;
use super::{Exit, print, tell};
use crate::job::{Mounted, bucket_access};

/// File with the pipeline, its sources and its sinks, as manifests.
const RESOURCES: &str = "resources.yaml";

/// Removes all that a pipeline has kept.
pub fn run(args: &RemoveStateArgs) -> Exit {
    match on_one_thread(remove(args)) {
        Ok(objects) => print(&format!(
            "removed {objects} objects of StreamPipeline {}/{} under {}\n",
            args.namespace, args.pipeline, args.state
        )),
        Err(error) => {
            tell(&format!("error: {error}"));
            Exit::Failed
        }
    }
}

async fn remove(args: &RemoveStateArgs) -> Result<u64> {
    let values = Mounted::apart(args.secrets.clone(), args.configs.clone());
    let bucket = bucket_access(&state_spec(args)?, &values)?;
    let installation = args.installation.clone().filter(|id| !id.is_empty());
    let options = RootOptions { bucket, installation, sharing: Sharing::Assigned, ..RootOptions::default() };
    let root = StateRoot::open(&args.state, &options).await?;
    PipelineState::remove(&root, &args.namespace, &args.pipeline).await
}

/// How its state is reached, as the plan says.
fn state_spec(args: &RemoveStateArgs) -> Result<StateSpec> {
    let path = args.plan.join(RESOURCES);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Error::user(format!("reading `{}`", path.display()), error).with_hint("mount the plan there")
    })?;
    let (manifests, _) = read_text(&path, &text);
    let pipeline = manifests.pipelines.iter().find(|pipeline| pipeline.name == args.pipeline);
    let none =
        || Error::user(format!("`{}`", path.display()), format!("it holds no StreamPipeline `{}`", args.pipeline));
    Ok(pipeline.ok_or_else(none)?.spec.state())
}

#[cfg(test)]
mod tests {
    use thalweg_core::error::Cause;

    use super::*;

    #[tokio::test]
    async fn what_one_pipeline_has_kept_is_removed_and_that_of_another_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state").to_string_lossy().into_owned();
        let installation = Some("this".to_owned());
        let options = RootOptions { installation, sharing: Sharing::Assigned, ..RootOptions::default() };
        let root = StateRoot::open(&state, &options).await.expect("opens");
        for name in ["fares", "counts"] {
            PipelineState::open(&root, "shop", name, &thalweg_state::Expected::default(), false).await.expect("opens");
        }
        let plan = r#"{"apiVersion": "thalweg.dev/v1alpha1", "kind": "StreamPipeline",
            "metadata": {"namespace": "shop", "name": "fares"},
            "spec": {"sources": [{"name": "trips"}], "sinks": [{"name": "out"}], "sql": "x"}}"#;
        std::fs::write(folder.path().join(RESOURCES), plan).expect("written");
        let args = RemoveStateArgs {
            namespace: "shop".to_owned(),
            pipeline: "fares".to_owned(),
            state: state.clone(),
            installation: Some("this".to_owned()),
            plan: folder.path().to_owned(),
            secrets: folder.path().to_owned(),
            configs: folder.path().to_owned(),
        };
        let of = |installation: &str| RemoveStateArgs { installation: Some(installation.to_owned()), ..args.clone() };
        let error = remove(&of("another")).await.expect_err("it is another's");
        assert_eq!(error.cause, Some(Cause::StateInUse), "{error}");
        assert_eq!(remove(&args).await.expect("removed"), 2);
        assert_eq!(remove(&args).await.expect("nothing is left"), 0);
        assert!(folder.path().join("state/shop/counts/1/pipeline.json").exists());
        assert!(!folder.path().join("state/shop/fares/1/pipeline.json").exists());
    }
}
