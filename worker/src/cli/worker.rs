//! `thalweg worker`: the process of a worker's pod.

use std::sync::Arc;

use thalweg_core::clock::SystemClock;

use super::args::WorkerArgs;
use super::run::{cores, runtime_of, survive_file_size_limits};
use super::signals::stop_on_signals;
use super::{Exit, tell};
use crate::cluster::{self, Settings};
use crate::job::Mounted;

/// Owns the units that the assignment names, until it is told to end.
pub fn run(args: WorkerArgs) -> Exit {
    let threads = args.threads.map_or_else(cores, usize::from);
    let runtime = match runtime_of(threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(&format!("error: starting {threads} threads: {error}"));
            return Exit::Failed;
        }
    };
    let settings = Settings {
        slot_prefix: args.slot_prefix.unwrap_or_else(|| args.pipeline.clone()),
        assignment: args.assignment.unwrap_or_else(|| args.pipeline.clone()),
        namespace: args.namespace,
        pipeline: args.pipeline,
        pod_uid: args.pod_uid,
        pod_ip: args.pod_ip,
        plan: args.plan,
        // An empty variable is how a manifest says "none".
        state: args.state.filter(|url| !url.is_empty()),
        mounted: Mounted::apart(args.secrets, args.configs),
        starts: args.starts,
        http_port: args.http_port,
        report_port: args.report_port,
        threads,
    };
    runtime.block_on(async {
        survive_file_size_limits();
        let terminate = stop_on_signals(|| tracing::info!("told to end: committing what was read"));
        match cluster::run(settings, Arc::new(SystemClock::new()), terminate).await {
            Ok(()) => Exit::Done,
            Err(error) => {
                tracing::error!(%error, "the worker cannot begin");
                Exit::Failed
            }
        }
    })
}
