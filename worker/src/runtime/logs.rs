//! Which logs a stage reads, as it becomes known.

use thalweg_core::log::LogId;
use tokio::sync::watch;

/// The logs of one input of a stage. It only grows: a log keeps its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// By number.
    pub logs: Vec<LogId>,
    /// Whether no further log ever comes.
    pub is_complete: bool,
}

/// The logs of a stage's inputs, by input.
pub type Inputs = Vec<watch::Receiver<Listing>>;

/// The next change of one of them; never, where no further one comes.
pub async fn changed(inputs: &mut Inputs) {
    // What has just become complete was perhaps not looked at yet.
    let may_change =
        |input: &&mut watch::Receiver<Listing>| input.has_changed().unwrap_or_default() || !input.borrow().is_complete;
    let changes: Vec<_> = inputs.iter_mut().filter(may_change).map(|input| Box::pin(input.changed())).collect();
    if changes.is_empty() {
        return std::future::pending().await;
    }
    let (changed, _, _) = futures::future::select_all(changes).await;
    if changed.is_err() {
        // Whoever lists has ended: nothing comes any more.
        std::future::pending().await
    }
}
