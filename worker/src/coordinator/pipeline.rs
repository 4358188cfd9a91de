//! From manifests to pipelines that can be assigned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::manifest::{ConfigMap, Item, Manifests, load_pipelines};
use thalweg_crds::pipeline::OnIncompatibleChange;
use thalweg_crds::scaling::ScalingMode;
use thalweg_crds::state::StateSpec;
use thalweg_crds::{PipelineSpec, SinkSpec, SourceSpec};
use thalweg_operator_plan::carried::changed_statements;
use thalweg_operator_plan::check::parse;
use thalweg_operator_plan::references::{sink_names, source_names, sql_map_name};
use thalweg_operator_plan::resources::Written;
use thalweg_operator_plan::statements::numbered;
use thalweg_operator_plan::validate::{Draft, ValidatedPipeline, draft, validate};

use super::error::CoordinatorError;

/// What is asked of the pipelines beside what their manifests say.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// So many workers; otherwise `scaling` says it.
    pub workers: Option<u16>,
    /// Where state is kept; otherwise `state.url` says it.
    pub state: Option<String>,
}

/// What is known of a pipeline from its folder.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What is published.
    pub assignment: Option<AssignmentSpec>,
    /// When the folder was made, in seconds since 1970; now, where nothing is published.
    pub made: i64,
}

impl Known {
    /// Into how many key groups it was divided when it first started.
    fn key_groups(&self) -> Option<u32> {
        self.assignment.as_ref()?.key_groups.and_then(|groups| u32::try_from(groups).ok())
    }
}

/// Reads the pipelines of some manifests. `answer` is what `thalweg check -o json` says of a plan's text; `known` says what a
/// pipeline's folder holds.
///
/// # Errors
/// Every problem of the manifests, or of running the first pipeline that cannot run on several workers.
pub fn read(
    paths: &[PathBuf],
    ask: &Ask,
    answer: impl Fn(&str) -> Result<Vec<u8>, String>,
    known: impl Fn(&str, &str) -> Result<Known, CoordinatorError>,
) -> Result<Vec<ValidatedPipeline>, CoordinatorError> {
    let (manifests, _) = load_pipelines(paths)?;
    let pipelines = manifests.pipelines.iter().map(|item| {
        let known = known(&item.namespace, &item.name)?;
        let mut written = written(item, &manifests, ask);
        let draft = draft(&written, known.key_groups()).map_err(CoordinatorError::Pipeline)?;
        let planned = validated(&draft, &written, &answer)?;
        // One folder is one life of a pipeline.
        let next = numbered(&mut written, planned, known.assignment.as_ref(), 0, known.made);
        let running = known.assignment.as_ref().and_then(|assignment| assignment.numbers.as_ref());
        match running.and_then(|running| changed_statements(running, &next, &written)) {
            Some(problem) if written.spec.on_incompatible_change == OnIncompatibleChange::Refuse => {
                Err(CoordinatorError::Pipeline(vec![problem]))
            }
            _ => Ok(next),
        }
    });
    pipelines.collect()
}

fn validated(
    draft: &Draft,
    written: &Written,
    answer: impl Fn(&str) -> Result<Vec<u8>, String>,
) -> Result<ValidatedPipeline, CoordinatorError> {
    let said = |said| CoordinatorError::Check { pipeline: format!("{}/{}", written.namespace, written.name), said };
    let checked = answer(&draft.plan.resources).and_then(|answer| parse(&answer)).map_err(said)?;
    validate(draft, written, &checked).map_err(CoordinatorError::Pipeline)
}

/// A pipeline with everything that it refers to, as the operator finds them in a namespace.
fn written(item: &Item<PipelineSpec>, manifests: &Manifests, ask: &Ask) -> Written {
    let spec = asked(&item.spec, ask);
    let sources: BTreeMap<String, SourceSpec> =
        named(&manifests.sources, item, |name| source_names(&spec).contains(name));
    let sinks: BTreeMap<String, SinkSpec> = named(&manifests.sinks, item, |name| sink_names(&spec).contains(name));
    let config_maps = named(&manifests.config_maps, item, |name| sql_map_name(&spec) == Some(name));
    let (namespace, name) = (item.namespace.clone(), item.name.clone());
    // A file that is gone is deleted, and none of them has come here that could not be read. On one machine another folder of state
    // is how to start from scratch.
    Written { namespace, name, spec, sources, sinks, config_maps, ..Written::default() }
}

fn named<T: Clone + Placed>(
    items: &[Item<T>],
    of: &Item<PipelineSpec>,
    is_meant: impl Fn(&str) -> bool,
) -> BTreeMap<String, T> {
    let meant = items.iter().filter(|item| item.namespace == of.namespace && is_meant(&item.name));
    meant.map(|item| (item.name.clone(), item.spec.clone().placed(item.origin.folder()))).collect()
}

/// What may name files by a path that starts from its manifest: workers read it elsewhere.
trait Placed {
    /// With paths that start from the root.
    fn placed(self, folder: &Path) -> Self;
}

impl Placed for SourceSpec {
    fn placed(mut self, folder: &Path) -> Self {
        self.files.iter_mut().for_each(|files| files.url = from_root(&files.url, folder));
        self
    }
}

impl Placed for SinkSpec {
    fn placed(mut self, folder: &Path) -> Self {
        self.files.iter_mut().for_each(|files| files.url = from_root(&files.url, folder));
        self
    }
}

impl Placed for ConfigMap {
    fn placed(self, _: &Path) -> Self {
        self
    }
}

fn from_root(url: &str, folder: &Path) -> String {
    if url.contains("://") {
        return url.to_owned();
    }
    let path = folder.join(url);
    std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
}

fn asked(spec: &PipelineSpec, ask: &Ask) -> PipelineSpec {
    let mut spec = spec.clone();
    if let Some(workers) = ask.workers {
        let mut scaling = spec.scaling();
        (scaling.mode, scaling.workers) = (ScalingMode::Manual, Some(workers.into()));
        scaling.max_workers = scaling.max_workers.max(workers.into());
        spec.scaling = Some(scaling);
    }
    let url = ask.state.clone().or(spec.state().url);
    if let Some(url) = url {
        let url = Some(from_root(&url, Path::new("")));
        spec.state = Some(StateSpec { url, ..spec.state() });
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_starts_from_its_manifest_wherever_the_plan_is_read() {
        assert_eq!(from_root("data/*.json", Path::new("/manifests")), "/manifests/data/*.json");
        assert_eq!(from_root("/data", Path::new("/manifests")), "/data");
        assert_eq!(from_root("s3://bucket/x", Path::new("/manifests")), "s3://bucket/x");
        assert_eq!(from_root("file:///data", Path::new("/manifests")), "file:///data");
    }
}
