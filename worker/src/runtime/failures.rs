//! What cannot go on though no task of it has ended: a log that cannot be read on.

use thalweg_core::log::LogId;
use tokio::sync::mpsc;

use super::error::RunError;

/// What cannot go on, and why.
#[derive(Debug)]
pub struct Failed {
    /// The log, where it is one: whoever does without it goes on.
    pub log: Option<LogId>,
    /// Why.
    pub error: RunError,
}

/// Where it is told.
#[derive(Clone)]
pub struct Failures {
    told: mpsc::UnboundedSender<Failed>,
    log: Option<LogId>,
}

impl Failures {
    /// A place to tell, and where it is heard.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Failed>) {
        let (told, heard) = mpsc::unbounded_channel();
        (Self { told, log: None }, heard)
    }

    /// Where it is told what one log comes to.
    pub fn about(&self, log: LogId) -> Self {
        Self { log: Some(log), ..self.clone() }
    }

    /// Tells. Where nobody hears it the run has ended already.
    pub fn tell(&self, error: RunError) {
        let _ = self.told.send(Failed { log: self.log.clone(), error });
    }

    /// Tells, and waits for the end that follows.
    pub async fn end<T>(&self, error: RunError) -> T {
        self.tell(error);
        std::future::pending().await
    }
}
