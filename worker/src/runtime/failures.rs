//! What ends a run though no task of it has ended: a log that cannot be read on.

use tokio::sync::mpsc;

use super::error::RunError;

/// Where such errors are told. The first one counts.
#[derive(Clone)]
pub struct Failures(mpsc::UnboundedSender<RunError>);

impl Failures {
    /// A place to tell, and where it is heard.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<RunError>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Tells. Where nobody hears it the run has ended already.
    pub fn tell(&self, error: RunError) {
        let _ = self.0.send(error);
    }

    /// Tells, and waits for the end that follows.
    pub async fn end<T>(&self, error: RunError) -> T {
        self.tell(error);
        std::future::pending().await
    }
}
