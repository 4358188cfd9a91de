//! Many runs at once, each with something else that goes wrong, and each replayable by its name.

use std::fmt::Display;
use std::future::Future;

use futures::{StreamExt, stream};

/// All of them, or the one that is to be run again, by its name.
pub fn chosen<P: Display>(mut plans: Vec<P>) -> Vec<P> {
    if let Ok(name) = std::env::var("THALWEG_FAULT") {
        plans.retain(|plan| plan.to_string() == name);
    }
    plans
}

/// Runs every plan; tells those that failed, and how each is run again.
pub async fn run_all<P, F>(test: &str, plans: Vec<P>, at_once: usize, run: impl Fn(P) -> F)
where
    P: Display,
    F: Future<Output = ()> + Send + 'static,
{
    let runs = plans.into_iter().map(|plan| {
        let name = plan.to_string();
        let run = tokio::spawn(run(plan));
        async move { (name, run.await) }
    });
    let ended: Vec<_> = stream::iter(runs).buffer_unordered(at_once).collect().await;
    let failed = ended.iter().filter(|(_, end)| end.is_err());
    let again: Vec<_> = failed
        .map(|(name, _)| format!("THALWEG_FAULT='{name}' cargo test --workspace --test fake_api {test}"))
        .collect();
    println!("{} fault plans, {} failed", ended.len(), again.len());
    assert!(!ended.is_empty(), "THALWEG_FAULT names no fault plan of {test}");
    assert!(again.is_empty(), "of {} fault plans these failed:\n{}", ended.len(), again.join("\n"));
}
