//! `thalweg dev-coordinator`: workers on one machine, without Kubernetes.

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::clock::SystemClock;
use thalweg_operator_plan::validate::ValidatedPipeline;

use super::args::CoordinatorArgs;
use super::run::runtime_of;
use super::signals::stop_on_signals;
use super::{Exit, check, tell};
use crate::coordinator::{self, Ask, CoordinatorError, Order};
use crate::job::plan_text;

/// Coordinates pipelines, or gives one an order.
pub fn run(args: &CoordinatorArgs) -> Exit {
    let runtime = match runtime_of(1) {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(&format!("error: starting a thread: {error}"));
            return Exit::Failed;
        }
    };
    match runtime.block_on(act(args)) {
        Ok(()) => Exit::Done,
        Err(error) => {
            tell(&format!("error: {error}"));
            match error {
                CoordinatorError::Folder(_) | CoordinatorError::Check { .. } => Exit::Failed,
                _ => Exit::Wrong,
            }
        }
    }
}

async fn act(args: &CoordinatorArgs) -> Result<(), CoordinatorError> {
    if let Some(order) = order(args).map_err(CoordinatorError::Order)? {
        let pipeline = args.pipeline.as_deref().unwrap_or_default();
        return coordinator::give(&args.folder, &args.namespace, pipeline, &order).await;
    }
    let pipelines = pipelines(args)?;
    let terminate = stop_on_signals(|| tracing::info!("told to end: workers go on"));
    let silence = Duration::from_secs(args.silence.into());
    let clock = Arc::new(SystemClock::new());
    coordinator::run(pipelines, args.folder.clone(), silence, clock, terminate).await
}

fn order(args: &CoordinatorArgs) -> Result<Option<Order>, String> {
    match (&args.to_move, &args.read) {
        (Some(text), _) => Order::to_move(text).map(Some),
        (None, Some(text)) => Order::to_read(text).map(Some),
        (None, None) if args.pause => Ok(Some(Order::Pause)),
        (None, None) => Ok(args.resume.then_some(Order::Resume)),
    }
}

fn pipelines(args: &CoordinatorArgs) -> Result<Vec<ValidatedPipeline>, CoordinatorError> {
    let ask = Ask { workers: args.workers, state: args.state.clone() };
    let known = |namespace: &str, pipeline: &str| coordinator::known(&args.folder, namespace, pipeline);
    coordinator::read(&args.paths, &ask, answer, known)
}

/// What `thalweg check` says of a plan's text.
pub fn answer(resources: &str) -> Result<Vec<u8>, String> {
    let found = plan_text(resources).map_err(|problems| problems.to_string())?;
    Ok(check::answer(&found).to_string().into_bytes())
}
