//! The lookout: watches where the ends of splits are while a pipeline has no worker, and takes nothing.

use std::sync::Arc;
use std::time::Duration;

use thalweg_crds::ids;
use thalweg_crds::report::SplitReport;

use super::board::Board;
use super::launch::{Launcher, Purpose};
use crate::runtime::{Job, JobSource, Result};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon it begins anew after something failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Watches for as long as it is awaited.
pub async fn watch(launcher: &Arc<Launcher>, board: &Board) {
    loop {
        if let Err(error) = watch_job(launcher, board).await {
            tracing::warn!(%error, seconds = AGAIN.as_secs(), "watching the sources; tried again after");
            board.has_failed(&error);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reads no record and owns no unit: the job lends its sources, of which only what they list is noted.
async fn watch_job(launcher: &Arc<Launcher>, board: &Board) -> Result<()> {
    let job = launcher.job(Purpose::Look, None).await?;
    loop {
        let splits = look(&job).await?;
        board.waits();
        board.reads(splits);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lists the splits of each source.
pub(super) async fn look(job: &Job) -> Result<Vec<SplitReport>> {
    let mut found = Vec::new();
    for source in &job.sources {
        found.append(&mut look_at(source).await?);
    }
    Ok(found)
}

/// Where each split ends, and where what is kept of it begins. What nobody answers is not known.
async fn look_at(source: &JobSource) -> Result<Vec<SplitReport>> {
    let mut found = Vec::new();
    for split in source.source.splits().await? {
        let bounds = source.source.bounds(&split.id).await.ok().flatten();
        let position = |at: thalweg_core::position::Position| ids::LogPosition(at.to_string());
        found.push(SplitReport {
            source: source.name.clone(),
            split: ids::SplitId(split.id.as_str().to_owned()),
            end: bounds.map(|bounds| position(bounds.end)),
            accepted: bounds.map(|bounds| position(bounds.start)),
            ..SplitReport::default()
        });
    }
    Ok(found)
}
