//! librdkafka's handles. Each has events that somebody must fetch, tokens to renew among them, and each call of one may wait:
//! so does its end. None of it happens on a thread of the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::{ClientError, Result};

/// How long one look for events waits; a handle ends within this time.
const WAIT: Duration = Duration::from_millis(100);

/// A handle with a thread that fetches its events, and on which it ends.
pub(super) struct Served<T> {
    // In this order: the thread must hold the handle for longer than its owner does.
    handle: Arc<T>,
    _stop: Stop,
}

/// Ends the thread of a handle.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl<T: Send + Sync + 'static> Served<T> {
    /// Fetches the events of a handle from now on.
    ///
    /// # Errors
    /// `Away` where the system has no thread to spare.
    pub(super) fn new(handle: T, fetch: fn(&T, Duration)) -> Result<Self> {
        let (handle, stopped) = (Arc::new(handle), Arc::new(AtomicBool::new(false)));
        let (served, stop) = (Arc::clone(&handle), Stop(Arc::clone(&stopped)));
        thread("kafka-events", move || {
            while !stopped.load(Ordering::Acquire) {
                fetch(&served, WAIT);
            }
        })?;
        Ok(Self { handle, _stop: stop })
    }

    /// The handle, for a call that waits.
    pub(super) fn handle(&self) -> Arc<T> {
        Arc::clone(&self.handle)
    }
}

impl<T> std::ops::Deref for Served<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.handle
    }
}

/// A call that waits. It has a thread of its own, and not one of the runtime's for such work: there are few of those, files need
/// them, and commits of many units wait at once.
pub(super) async fn apart<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (done, answer) = oneshot::channel();
    // Who asked may have gone.
    thread("kafka-call", move || drop(done.send(call())))?;
    answer.await.map_err(|_| ClientError::Away("a call of librdkafka came to nothing".to_owned()))
}

/// A thread.
///
/// # Errors
/// `Away` where the system has none to spare.
pub(super) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let made = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    made.map(drop).map_err(|error| ClientError::Away(format!("no thread for librdkafka: {error}")))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Says on which thread it ends.
    struct Ends(mpsc::Sender<std::thread::ThreadId>);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().id());
        }
    }

    #[test]
    fn a_handle_ends_on_a_thread_of_its_own() {
        let (ends, ended) = mpsc::channel();
        drop(Served::new(Ends(ends), |_, wait| std::thread::park_timeout(wait)).expect("a thread"));
        let on = ended.recv_timeout(Duration::from_secs(10)).expect("it ends");
        assert_ne!(on, std::thread::current().id());
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error() {
        let error = apart(|| panic!("as a callback may")).await.expect_err("it came to nothing");
        assert!(matches!(error, ClientError::Away(_)), "{error:?}");
    }
}
