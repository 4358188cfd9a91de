//! `thalweg run`: pipelines in this process, until their input ends or somebody stops them.

use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::kafka::client::Library;
use thalweg_core::clock::{SharedClock, SystemClock};
use thalweg_core::unit::RunId;
use thalweg_state::{Notes, Sharing};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::args::{Output, RunArgs};
use super::progress::show;
use super::signals::stop_on_signals;
use super::summary::Summary;
use super::{Exit, check, print, tell};
use crate::budget::Budget;
use crate::job::{Found, Mounted, Roots, Settings, build, plan_manifests};
use crate::metrics;
use crate::runtime::counters::{Counters, Watched};
use crate::runtime::{self, Job};

/// Threads for files and terminals. The default of 512 lets each of them hold memory after a burst.
const BLOCKING_THREADS: usize = 32;
/// How long such a thread waits for more before it ends. Until then the allocator holds for it what was freed, by whomever:
/// with a second, commits each second kept all of them, and 190 MB for 28 MB that were in use; with 100 ms 140, with
/// 20 ms 113 MB (40 million rows counted by key, Parquet to Parquet, eight units with state).
const BLOCKING_KEPT: Duration = Duration::from_millis(20);

/// Runs the pipelines of some manifests.
pub fn run(args: RunArgs) -> Exit {
    std::thread::spawn(thalweg_sql::load_functions);
    let secrets = Mounted::together(args.secrets.clone());
    let found = match plan_manifests(&args.paths, &secrets) {
        Ok(found) => found,
        Err(problems) => {
            check::report(&problems, args.output);
            return Exit::Wrong;
        }
    };
    found.notes.iter().for_each(|note| tell(&format!("note: {note}")));
    if found.pipelines.is_empty() {
        return check::nothing(&args.paths);
    }
    let threads = args.threads.map_or_else(cores, usize::from);
    match runtime_of(threads) {
        Ok(runtime) => runtime.block_on(run_all(found, args, threads)),
        Err(error) => {
            tell(&format!("error: starting {threads} threads: {error}"));
            Exit::Failed
        }
    }
}

/// What everything runs on.
pub fn runtime_of(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_KEPT)
        .enable_all()
        .build()
}

/// Threads that decode and aggregate where nothing else is said.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

async fn run_all(found: Found, args: RunArgs, threads: usize) -> Exit {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let settings = Settings {
        state: args.state,
        installation: None,
        sharing: Sharing::Alone,
        fresh: args.fresh,
        restart: None,
        numbers: None,
        made: None,
        progress: None,
        notes: Notes::All,
        secrets: Mounted::together(args.secrets),
        threads,
        budget: Budget::new(args.memory_bytes).among(found.pipelines.len()),
        throttle: None,
        plan_hash: "run".into(),
        run_id: RunId(uuid::Uuid::new_v4().to_string()),
        clock: clock.clone(),
        kafka: Arc::new(Library),
    };
    survive_file_size_limits();
    let mut roots = Roots::default();
    let mut jobs = Vec::new();
    for pipeline in found.pipelines {
        let name = pipeline.resolved.full_name();
        match build(pipeline, &settings, &mut roots).await {
            Ok(job) => jobs.push(job),
            Err(error) => {
                let failed =
                    Summary::new(&name, "Failed", Some(error.to_string()), Duration::ZERO, &Counters::default());
                return conclude(&[failed], args.output);
            }
        }
    }
    if args.fresh && jobs.iter().all(|job| !job.is_kept) {
        tell("error: --fresh begins anew beside kept state, and none is kept here: give --state, or leave --fresh out");
        return Exit::Wrong;
    }
    if jobs.iter().any(|job| !job.is_kept) {
        tell("note: state is kept in memory; a restart begins anew (give --state DIR to continue)");
    }
    if let Some(address) = args.metrics
        && let Err(error) = metrics::serve(address, watched(&jobs), args.metrics_by).await
    {
        tell(&format!("error: serving metrics at {address}: {error}"));
        return Exit::Failed;
    }
    run_jobs(jobs, clock, args.output).await
}

fn watched(jobs: &[Job]) -> Vec<Watched> {
    jobs.iter().map(|job| Watched { name: job.name.clone(), counters: job.counters.clone() }).collect()
}

async fn run_jobs(jobs: Vec<Job>, clock: SharedClock, output: Output) -> Exit {
    let stop = stop_on_signals(|| tell("stopping: committing what was read (once more stops at once)"));
    let done = CancellationToken::new();
    let progress = tokio::spawn(match output {
        Output::Text => show(watched(&jobs), clock.clone(), done.clone()),
        Output::Json => show(Vec::new(), clock.clone(), done.clone()),
    });
    let mut running = JoinSet::new();
    for (index, job) in jobs.into_iter().enumerate() {
        running.spawn(run_one(index, job, clock.clone(), stop.clone()));
    }
    let mut summaries = running.join_all().await;
    done.cancel();
    // Progress is gone from the terminal before the summary is written.
    let _ = progress.await;
    summaries.sort_by_key(|(index, _)| *index);
    let summaries: Vec<_> = summaries.into_iter().map(|(_, summary)| summary).collect();
    conclude(&summaries, output)
}

/// Says what became of each pipeline.
fn conclude(summaries: &[Summary], output: Output) -> Exit {
    let mut exit = Exit::Done;
    for summary in summaries {
        if let Some(error) = &summary.error {
            exit = Exit::Failed;
            tell(&format!("error: {}: {error}", summary.pipeline));
        }
        exit = exit.max(write_summary(summary, output));
    }
    exit
}

async fn run_one(index: usize, job: Job, clock: SharedClock, stop: CancellationToken) -> (usize, Summary) {
    let (name, counters, started) = (job.name.clone(), job.counters.clone(), clock.monotonic());
    let ended = runtime::run(job, stop.clone()).await;
    let took = clock.monotonic() - started;
    (index, summary(&name, ended, stop.is_cancelled(), took, &counters))
}

fn summary(name: &str, ended: runtime::Result<()>, stopped: bool, took: Duration, counters: &Counters) -> Summary {
    match ended {
        Ok(()) if stopped => Summary::new(name, "Stopped", None, took, counters),
        Ok(()) => Summary::new(name, "Completed", None, took, counters),
        Err(error) => Summary::new(name, "Failed", Some(error.to_string()), took, counters),
    }
}

fn write_summary(summary: &Summary, output: Output) -> Exit {
    match output {
        Output::Text => {
            tell(&summary.to_text());
            Exit::Done
        }
        Output::Json => match serde_json::to_string(summary) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => {
                tell(&format!("error: writing the summary: {error}"));
                Exit::Failed
            }
        },
    }
}

/// A file that outgrows a limit (`ulimit -f`) is then an error with a name, not the end of the process.
pub fn survive_file_size_limits() {
    use tokio::signal::unix::{SignalKind, signal};
    let _ = signal(SignalKind::from_raw(libc::SIGXFSZ));
}
