//! What a pipeline means by itself: where its state is.

use super::{Item, PipelineSpec, Problem, is_within};

/// Everything amiss in one pipeline that its schema cannot see, but for its references.
pub(in crate::manifest) fn check(item: &Item<PipelineSpec>) -> Vec<Problem> {
    let url = item.spec.state.as_ref().and_then(|state| state.url.as_deref());
    let unknown = url.and_then(unknown_scheme);
    unknown.map(|message| item.problem("spec.state.url", message, None)).into_iter().collect()
}

/// Whether its statements are understood though some fields are not.
pub(super) fn has_sql(amiss: &[String]) -> bool {
    !amiss.iter().any(|path| is_within(path, &["spec.sql", "spec.sqlFrom"]))
}

/// Whether all names that its statements may use are understood.
pub(super) fn has_references(amiss: &[String]) -> bool {
    !amiss.iter().any(|path| is_within(path, &["spec.sources", "spec.sinks"]))
}

fn unknown_scheme(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once("://")?;
    let expected = "a folder, or s3://bucket/prefix";
    let is_known = matches!(scheme, "file" | "s3");
    (!is_known).then(|| format!("state URL `{url}`: found `{scheme}://`, expected {expected}"))
}
