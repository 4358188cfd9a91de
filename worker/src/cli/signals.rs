//! What signals mean: the first SIGINT or SIGTERM asks for an orderly end, the second ends the process.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Exit;

/// A signal so soon after the first is the same one: `timeout` and shells send theirs to a process and to its group.
const ECHO: Duration = Duration::from_millis(200);

/// Cancelled by the first SIGINT or SIGTERM, which is `told`; the second one ends the process at once.
pub fn stop_on_signals(told: impl FnOnce() + Send + 'static) -> CancellationToken {
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        signalled().await;
        told();
        cancel.cancel();
        tokio::time::sleep(ECHO).await;
        signalled().await;
        std::process::exit(Exit::Failed as i32);
    });
    stop
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
