//! Trying a plan that does not run yet: all that it names is opened, and nothing is taken or written. A plan's workers get units
//! once one of them has done so, so that a bad edit disturbs nothing of what runs.

use std::sync::Arc;

use thalweg_crds::statements::Made;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::backoff::Backoff;
use super::board::Board;
use super::launch::{Launcher, Purpose};
use super::lookout::look;
use crate::runtime::Result;

/// Begins a trial, which lasts until it is dropped and of which the board tells how it went. It is repeated until it succeeds.
/// `made` is the plan that runs, whose assignment's numbers it has, too.
pub fn begin(launcher: &Arc<Launcher>, board: &Arc<Board>, made: Option<Made>) -> AbortOnDropHandle<()> {
    let (launcher, board) = (Arc::clone(launcher), Arc::clone(board));
    let span = tracing::info_span!("trial", pipeline = launcher.name());
    AbortOnDropHandle::new(tokio::spawn(repeat(launcher, board, made).instrument(span)))
}

async fn repeat(launcher: Arc<Launcher>, board: Arc<Board>, made: Option<Made>) {
    let mut failures = Backoff::default();
    while let Err(error) = once(&launcher, &made).await {
        tracing::error!(%error, "this plan cannot run");
        board.has_failed(&error);
        tokio::time::sleep(failures.failed_of(&error, std::time::Duration::ZERO)).await;
    }
    tracing::info!("all that this plan names was opened");
    board.is_prepared();
}

/// Opens state and sinks, and lists the splits of each source.
async fn once(launcher: &Arc<Launcher>, made: &Option<Made>) -> Result<()> {
    let job = launcher.job(Purpose::Try(made.clone()), None).await?;
    look(&job).await.map(drop)
}
