//! `thalweg worker`: the process of a worker's pod, or one of several on a machine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::clock::SystemClock;
use thalweg_crds::manifest::load::DEFAULT_NAMESPACE;

use super::args::WorkerArgs;
use super::run::{cores, runtime_of, survive_file_size_limits};
use super::signals::stop_on_signals;
use super::{Exit, tell};
use crate::budget::Budget;
use crate::cluster::folder::PipelineFolder;
use crate::cluster::{self, Place, Settings};
use crate::job::Mounted;
use crate::runtime::load::Throttle;

/// Where a pod has its plan mounted.
const PLAN: &str = "/etc/thalweg/plan";
/// Where a pod counts its starts.
const STARTS: &str = "/tmp/thalweg-starts";

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
    let settings = settings(args, threads);
    runtime.block_on(async {
        survive_file_size_limits();
        let terminate = stop_on_signals(|| tracing::info!("told to end"));
        match cluster::run(settings, Arc::new(SystemClock::new()), terminate).await {
            Ok(()) => Exit::Done,
            Err(error) => {
                tracing::error!(%error, "the worker cannot begin");
                Exit::Failed
            }
        }
    })
}

/// What a pod is told by its operator, or by nobody: then this machine has as many workers as somebody starts.
fn settings(args: WorkerArgs, threads: usize) -> Settings {
    let namespace = args.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let folder = args.folder.map(|folder| PipelineFolder::new(&folder, &namespace, &args.pipeline));
    let is_alone = folder.is_some();
    let port = |asked: Option<u16>, of_pods: u16| asked.unwrap_or(if is_alone { 0 } else { of_pods });
    let mounted = folder.as_ref().map_or_else(|| PathBuf::from(PLAN), PipelineFolder::plan);
    let starts = args.starts.or_else(|| (!is_alone).then(|| PathBuf::from(STARTS)));
    Settings {
        slot_prefix: args.slot_prefix.unwrap_or_else(|| args.pipeline.clone()),
        assignment: args.assignment.unwrap_or_else(|| args.pipeline.clone()),
        namespace,
        pipeline: args.pipeline,
        pod_uid: args.pod_uid.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        pod_ip: args.pod_ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        plan: args.plan.unwrap_or(mounted),
        // An empty variable is how a manifest says "none".
        state: args.state.filter(|url| !url.is_empty()),
        installation: args.installation.filter(|id| !id.is_empty()),
        mounted: Mounted::apart(args.secrets, args.configs),
        starts,
        http_port: port(args.http_port, 8080),
        report_port: port(args.report_port, 8081),
        operator_keys: args.operator_key,
        data_port: port(args.data_port, 8443),
        metrics_by: args.metrics_by,
        threads,
        budget: Budget::new(args.memory_bytes),
        grace: Duration::from_secs(args.grace_seconds.into()),
        is_lookout: args.lookout,
        throttle: args.test_rows_per_second.map(|rows| Arc::new(Throttle::new(rows))),
        place: folder.map_or(Place::Cluster, Place::Folder),
    }
}
