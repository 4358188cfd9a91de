//! What can be said on the command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};
use k8s_openapi::jiff::Timestamp;
use thalweg_crds::condition::ConditionType;
use thalweg_crds::duration::Duration;
use thalweg_mtls::identity::Fingerprint;
use thalweg_simulator::{Kind, Stall};

use crate::budget::Budget;
use crate::metrics::By;

/// Stream pipelines: SQL over logs, exactly once, in one process or on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, propagate_version = true)]
#[command(after_help = "\
Examples:
  thalweg generate taxi --out manifests/examples/boroughs/data   make some data
  thalweg check manifests/examples/boroughs                      every problem at once; exit code 2 if there is one
  thalweg explain manifests/examples/boroughs                    stages, keys, and the columns that are read
  thalweg run manifests/examples/boroughs --state ./state        killed at any time, it continues where it was

Exit codes: 0 done, 1 failed while running, 2 wrong usage or manifest.")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log, as `tracing` filters are written: `info`, `thalweg=debug`.
    #[arg(long, global = true, env = "THALWEG_LOG", value_name = "FILTER", hide_env_values = true)]
    pub log: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the pipelines of some manifests in this process
    Run(RunArgs),
    /// Run the units that a cluster assigns to this process: what worker pods do
    Worker(WorkerArgs),
    /// Remove all that a pipeline has kept: what the Job does that cleans up after a deleted one
    RemoveState(RemoveStateArgs),
    /// Share a pipeline out to workers on this machine: what the operator does in a cluster
    DevCoordinator(CoordinatorArgs),
    /// Check manifests and their SQL; print every problem with its place
    Check(CheckArgs),
    /// Show how pipelines would run: stages, units, keys, columns that are read, what is exact, what commits cost
    Explain(ExplainArgs),
    /// Show a pipeline in a cluster: who reads which split, who owns which unit, rates and lag
    Status(StatusArgs),
    /// Show a pipeline in a cluster live: splits, workers, sinks, with rates, lag, moves, and what the autoscaler did last
    Top(TopArgs),
    /// Have the workers of a pipeline in a cluster commit and end; everything is kept
    #[command(after_help = "\
Example:
  thalweg pause fares -n shop     the same as spec.paused: true, which a manifest that is applied later sets back")]
    Pause(PipelineArgs),
    /// Let a pipeline in a cluster go on where it was paused
    #[command(after_help = "Example:\n  thalweg resume fares -n shop")]
    Resume(PipelineArgs),
    /// Write the data that examples and benchmarks read
    Generate(GenerateArgs),
    /// Show how a pipeline would be scaled on a load of the past, and how others would scale it
    SimulateScaling(SimulateArgs),
    /// Write the load of a pipeline, as a Prometheus has it, as a trace for simulate-scaling
    RecordTrace(RecordArgs),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  thalweg completions bash > /etc/bash_completion.d/thalweg")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// How output is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// `thalweg run`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  thalweg run pipeline.yaml                        state lives in memory: a restart begins anew
  thalweg run manifests/ --state ./state           continues after any kill, each row counted once
  thalweg run pipeline.yaml --state s3://b/state   the same, state in an object store
  thalweg run pipeline.yaml -o json | jq .         a summary that a script can read

Rows of `stdout` sinks go to standard output; progress goes to standard error.")]
pub struct RunArgs {
    /// Manifests: files, or folders with *.yaml, *.yml and *.json
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Where state is kept: a folder, or s3://BUCKET/PREFIX. Overrides `state.url`
    #[arg(long, value_name = "URL", value_parser = state_url)]
    pub state: Option<String>,
    /// Start from scratch; the old state is kept beside the new one
    #[arg(long)]
    pub fresh: bool,
    /// A folder with Secrets and ConfigMaps as Kubernetes mounts them: DIR/NAME/KEY
    #[arg(long, value_name = "DIR", value_parser = folder)]
    pub secrets: Option<PathBuf>,
    /// How the summary is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Serve Prometheus metrics at http://ADDR/metrics
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Series beyond those by source and stage: one for each split, each unit
    #[arg(long, value_name = "BY", value_enum, value_delimiter = ',', ignore_case = true, requires = "metrics")]
    pub metrics_by: Vec<By>,
    /// Threads that decode and aggregate; by default one a core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Memory that it may use, in bytes; by default what its control group allows, or a quarter of the machine's. It bounds the rows on their way
    #[arg(long, env = "THALWEG_MEMORY_BYTES", value_name = "BYTES", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(Budget::LEAST_BYTES..))]
    pub memory_bytes: Option<u64>,
}

/// `thalweg worker`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The operator sets all of this in the pods that it makes. A worker takes a free slot (a Lease), owns the units that its
StreamAssignment names, and on SIGTERM hands them over and leaves. Logs are JSON on standard error; --log is `info` by default.
Port --http-port serves /metrics, /healthz and /readyz. Port --report-port serves /report over mutual TLS: the worker makes its
key at each start, and answers those alone who show a key that --operator-key or its StreamAssignment names.

Without Kubernetes, workers and `thalweg dev-coordinator` share a folder:
  thalweg worker --folder ./run --pipeline trips     as often as there are to be workers")]
pub struct WorkerArgs {
    /// The folder that `thalweg dev-coordinator` writes, in place of an API server
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// The namespace of the pipeline; with --folder, `default` where none is given
    #[arg(
        long,
        env = "THALWEG_NAMESPACE",
        value_name = "NAME",
        hide_env_values = true,
        required_unless_present = "folder"
    )]
    pub namespace: Option<String>,
    /// The pipeline
    #[arg(long, env = "THALWEG_PIPELINE", value_name = "NAME", hide_env_values = true)]
    pub pipeline: String,
    /// What its slot Leases are called, before a dash and a number; by default the pipeline's name
    #[arg(long, env = "THALWEG_SLOT_PREFIX", value_name = "NAME", hide_env_values = true)]
    pub slot_prefix: Option<String>,
    /// Its StreamAssignment; by default the pipeline's name
    #[arg(long, env = "THALWEG_ASSIGNMENT", value_name = "NAME", hide_env_values = true)]
    pub assignment: Option<String>,
    /// The pod's UID: with the number of this start, it names the process; with --folder, a new one
    #[arg(long, env = "POD_UID", value_name = "UID", hide_env_values = true, required_unless_present = "folder")]
    pub pod_uid: Option<String>,
    /// The pod's address; with --folder, 127.0.0.1 where none is given
    #[arg(long, env = "POD_IP", value_name = "IP", hide_env_values = true, required_unless_present = "folder")]
    pub pod_ip: Option<IpAddr>,
    /// Where state is kept: s3://BUCKET/PREFIX, or a folder. Overrides `state.url`
    #[arg(long, env = "THALWEG_STATE_URL", value_name = "URL", hide_env_values = true)]
    pub state: Option<String>,
    /// The operator's installation, to which state and progress belong; by default one that is made beside the state
    #[arg(long, env = "THALWEG_INSTALLATION", value_name = "ID", hide_env_values = true)]
    pub installation: Option<String>,
    /// A folder with the plan: its hash in `plan`, its manifests in `resources.yaml`; by default /etc/thalweg/plan, or what
    /// the coordinator has written
    #[arg(long, value_name = "DIR")]
    pub plan: Option<PathBuf>,
    /// A folder with Secrets as Kubernetes mounts them: DIR/NAME/KEY
    #[arg(long, value_name = "DIR", default_value = "/etc/thalweg/secrets")]
    pub secrets: PathBuf,
    /// A folder with ConfigMaps as Kubernetes mounts them: DIR/NAME/KEY
    #[arg(long, value_name = "DIR", default_value = "/etc/thalweg/configs")]
    pub configs: PathBuf,
    /// A file that outlives the container and not the pod, where starts are counted; by default /tmp/thalweg-starts, and
    /// none with --folder
    #[arg(long, value_name = "FILE")]
    pub starts: Option<PathBuf>,
    /// Port of metrics and probes; by default 8080, or any that is free with --folder
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<u16>,
    /// Port of the report; by default 8081, or any that is free with --folder
    #[arg(long, value_name = "PORT")]
    pub report_port: Option<u16>,
    /// The operator's key, to which the report is answered: SHA-256 of its public key (SubjectPublicKeyInfo, DER), in hexadecimal;
    /// two, while it is replaced. With --folder whoever asks is answered, without TLS
    #[arg(long, env = "THALWEG_OPERATOR_KEY", value_name = "SHA256", hide_env_values = true, value_delimiter = ',')]
    pub operator_key: Vec<Fingerprint>,
    /// Port of the exchange with other workers; by default 8443, or any that is free with --folder
    #[arg(long, value_name = "PORT")]
    pub data_port: Option<u16>,
    /// Series of metrics beyond those by source and stage: one for each split, each unit
    #[arg(long, env = "THALWEG_METRICS_BY", value_name = "BY", hide_env_values = true)]
    #[arg(value_enum, value_delimiter = ',', ignore_case = true)]
    pub metrics_by: Vec<By>,
    /// Threads that decode and aggregate; by default one a core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Memory that it may use, in bytes; by default what its control group allows, or a quarter of the machine's. It bounds the rows on their way
    #[arg(long, env = "THALWEG_MEMORY_BYTES", value_name = "BYTES", hide_env_values = true)]
    pub memory_bytes: Option<u64>,
    /// How long the process may live once it gets SIGTERM. While nobody asks for its units it works on for two thirds of that
    #[arg(long, env = "THALWEG_GRACE_SECONDS", value_name = "SECONDS", hide_env_values = true)]
    #[arg(default_value_t = 15, value_parser = clap::value_parser!(u16).range(..=3600))]
    pub grace_seconds: u16,
    /// Only watch where the ends of the sources are, and claim no slot: what the operator starts while a pipeline has no worker
    #[arg(long)]
    pub lookout: bool,
    /// Rows a second that it does at the most, counted as time that it worked: for tests of the autoscaler
    #[arg(long, env = "THALWEG_TEST_ROWS_PER_SECOND", value_name = "ROWS", hide = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub test_rows_per_second: Option<u32>,
}

/// `thalweg remove-state`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
The operator runs this in a Job, with the settings of the workers, once a pipeline with `deletionPolicy: Delete` is deleted and its
workers have ended. It removes every incarnation under STATE/NAMESPACE/PIPELINE that belongs to the installation, and nothing else.")]
pub struct RemoveStateArgs {
    /// The namespace of the pipeline
    #[arg(long, env = "THALWEG_NAMESPACE", value_name = "NAME", hide_env_values = true)]
    pub namespace: String,
    /// The pipeline
    #[arg(long, env = "THALWEG_PIPELINE", value_name = "NAME", hide_env_values = true)]
    pub pipeline: String,
    /// Where state is kept: s3://BUCKET/PREFIX, or a folder
    #[arg(long, env = "THALWEG_STATE_URL", value_name = "URL", hide_env_values = true)]
    pub state: String,
    /// The operator's installation, to which the state belongs; by default the one that is noted beside it
    #[arg(long, env = "THALWEG_INSTALLATION", value_name = "ID", hide_env_values = true)]
    pub installation: Option<String>,
    /// A folder with the plan, which says how that is reached
    #[arg(long, value_name = "DIR", default_value = "/etc/thalweg/plan")]
    pub plan: PathBuf,
    /// A folder with Secrets as Kubernetes mounts them: DIR/NAME/KEY
    #[arg(long, value_name = "DIR", default_value = "/etc/thalweg/secrets")]
    pub secrets: PathBuf,
    /// A folder with ConfigMaps as Kubernetes mounts them: DIR/NAME/KEY
    #[arg(long, value_name = "DIR", default_value = "/etc/thalweg/configs")]
    pub configs: PathBuf,
}

/// `thalweg dev-coordinator`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  thalweg dev-coordinator --folder ./run trips.yaml --workers 3      then start three:
  thalweg worker --folder ./run --pipeline trips
  thalweg dev-coordinator --folder ./run --pipeline trips --move 0/1=trips-2    hand a unit over
  thalweg dev-coordinator --folder ./run --pipeline trips --move all=trips-0
  thalweg dev-coordinator --folder ./run --pipeline trips --read trips/0=trips-1
  thalweg dev-coordinator --folder ./run --pipeline trips --pause               and later --resume

For development and tests: one machine, one folder. It decides as the operator does, and workers do without it while nothing
changes. State has to lie where all workers reach it: `state.url`, or --state.")]
pub struct CoordinatorArgs {
    /// Manifests: files, or folders with *.yaml, *.yml and *.json
    #[arg(value_name = "PATH", required_unless_present_any = ["moves", "read", "pause", "resume"])]
    pub paths: Vec<PathBuf>,
    /// The folder that it shares with workers
    #[arg(long, value_name = "DIR")]
    pub folder: PathBuf,
    /// How many workers; otherwise `scaling` says it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub workers: Option<u16>,
    /// Where state is kept: s3://BUCKET/PREFIX, or a folder. Overrides `state.url`
    #[arg(long, value_name = "URL", value_parser = state_url)]
    pub state: Option<String>,
    /// How long a worker may be silent before others get its units
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub silence: u16,
    /// The namespace of the pipeline that an order is for
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// The pipeline that an order is for
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
    /// Hand a unit over to a worker, or `all`
    #[arg(long = "move", id = "moves", value_name = "UNIT=SLOT", group = "order", requires = "pipeline")]
    pub to_move: Option<String>,
    /// Have a worker read a split
    #[arg(long, value_name = "SOURCE/SPLIT=SLOT", group = "order", requires = "pipeline")]
    pub read: Option<String>,
    /// Have all workers commit and wait
    #[arg(long, group = "order", requires = "pipeline")]
    pub pause: bool,
    /// Go on after --pause
    #[arg(long, group = "order", requires = "pipeline")]
    pub resume: bool,
}

/// `thalweg check`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  thalweg check pipeline.yaml && kubectl apply -f pipeline.yaml")]
pub struct CheckArgs {
    /// Manifests: files, or folders with *.yaml, *.yml and *.json
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How problems are written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Open nothing that the manifests name; columns that a source does not declare are a problem
    #[arg(long)]
    pub offline: bool,
    /// Each line of the files is a JSON string with manifests of their own, and is answered by a line as soon as they are checked
    #[arg(long, hide = true, requires = "offline")]
    pub lines: bool,
}

/// A pipeline in a cluster.
#[derive(Debug, clap::Args)]
pub struct PipelineArgs {
    /// The StreamPipeline
    #[arg(value_name = "PIPELINE")]
    pub pipeline: String,
    /// Its namespace; by default that of the kubeconfig's context
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The kubeconfig's context; by default the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// `thalweg status`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  thalweg status fares                        the cluster and the namespace that kubectl uses
  thalweg status fares -n shop --watch        again each two seconds
  thalweg status fares --until Complete       when all input was read and delivered; else exit 1 after --timeout
  thalweg status fares -o json | jq .splits   for scripts

Splits with their readers, units with their owners, rates and lag as workers say them now. Workers say them to the operator
alone, which is asked by way of the API server: for that the chart's Role `…-reports` has to be bound to you in the operator's
namespace. Without it the rest is shown, and a note says so.")]
pub struct StatusArgs {
    /// Which pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Look again each two seconds
    #[arg(short, long)]
    pub watch: bool,
    /// First wait until a condition is True, such as Ready or Complete, and tell what is in the way of it
    #[arg(long, value_name = "CONDITION", value_parser = condition, conflicts_with = "watch")]
    pub until: Option<ConditionType>,
    /// How long to wait for it
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "until")]
    pub timeout: Duration,
}

/// The condition of a name.
fn condition(name: &str) -> Result<ConditionType, String> {
    let known = || ConditionType::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ");
    ConditionType::parse(name).ok_or_else(|| format!("there is no such condition; there are {}", known()))
}

/// `thalweg top`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  thalweg top fares                     live; q or Ctrl-C ends it
  thalweg top fares -n shop | head -20  as it is now, once: there is no terminal to draw on
  thalweg top fares -o json | jq .lastDecision

Splits stand before the worker that reads them, sinks behind it. Rates, lag and shares are those of the last five seconds, as
workers say them to the operator, which is asked by way of the API server: for that the chart's Role `…-reports` has to be bound
to you in the operator's namespace. Without it the rest is shown, and a note says so.")]
pub struct TopArgs {
    /// Which pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// How it is written; `json` writes it once
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub every: u16,
}

/// `thalweg explain`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  thalweg explain manifests/examples/boroughs")]
pub struct ExplainArgs {
    /// Manifests: files, or folders with *.yaml, *.yml and *.json
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Where state would be kept: prices and promises depend on it
    #[arg(long, value_name = "URL", value_parser = state_url)]
    pub state: Option<String>,
}

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dataset {
    /// Taxi trips, with the table of zones beside them
    Taxi,
    /// The bids of the Nexmark benchmark
    Nexmark,
}

/// The format of generated files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DataFormat {
    /// JSON lines
    #[default]
    Json,
    /// Comma-separated, with a header
    Csv,
    /// Parquet, zstd
    Parquet,
}

/// Trips a second where nothing else is said.
pub const DEFAULT_EVENTS_PER_SECOND: u32 = 1_000;

/// `thalweg generate`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  thalweg generate taxi --rows 500000 --out data/trips
  thalweg generate nexmark --rows 4000000 --seed 7 --out data/bids --format parquet
  thalweg generate taxi --rows 10000 --out data/dirty --late 0.01 --duplicate 0.005 --broken 0.001

The same arguments always write the same bytes.")]
pub struct GenerateArgs {
    /// What to write
    pub dataset: Dataset,
    /// How many rows
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub rows: u64,
    /// Another seed gives other rows
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// The folder to write to; it is made if it is missing
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The format of the files
    #[arg(long, value_enum, default_value_t)]
    pub format: DataFormat,
    /// How many files
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub files: u32,
    /// Trips a second of event time (taxi)
    #[arg(long, value_name = "N", default_value_t = DEFAULT_EVENTS_PER_SECOND)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub events_per_second: u32,
    /// A zone in which half of the trips start (taxi)
    #[arg(long, value_name = "ZONE", value_parser = clap::value_parser!(u16).range(1..=265), conflicts_with = "coordinates")]
    pub hot_zone: Option<u16>,
    /// Coordinates instead of location ids, as in the records of older years (taxi)
    #[arg(long)]
    pub coordinates: bool,
    /// Part of the rows that come minutes to hours late, 0 to 1 (taxi)
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub late: f64,
    /// Part of the rows that come twice, 0 to 1 (taxi)
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub duplicate: f64,
    /// Part of the rows that are broken, 0 to 1 (taxi, json)
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub broken: f64,
}

/// `thalweg simulate-scaling`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  thalweg simulate-scaling --trace history.csv --capacity 5000 --max 12
  thalweg simulate-scaling --trace history.csv --stall 3600-4200 --svg scaling.svg
  thalweg simulate-scaling --made walk --seed 7 --compare        against KEDA, Numaflow and Flink
  thalweg simulate-scaling --made daily --write daily.csv        a load to look at
  thalweg simulate-scaling --table                               every figure of docs/design/0011-autoscaler.md

A trace is CSV: a header `second,split_0,split_1,…`, then rows with the records that come into each split a second. A row
counts until the next one's second. The autoscaler's code is the operator's; workers are a model, see the same document.")]
pub struct SimulateArgs {
    /// The load, as CSV
    #[arg(long, value_name = "FILE", required_unless_present_any = ["made", "table"])]
    pub trace: Option<PathBuf>,
    /// A load that is made, with what is assumed of its sink and its least workers
    #[arg(long, value_name = "KIND", conflicts_with = "trace", value_parser = kind())]
    pub made: Option<Kind>,
    /// Another seed gives another load
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Write the load as CSV
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Records a second that a worker does
    #[arg(long, value_name = "R", default_value_t = 1_000.0, value_parser = capacity)]
    pub capacity: f64,
    /// From asking for a worker until it serves
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    pub start_seconds: u32,
    /// For how long a split stands still that moves
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    pub pause_seconds: u32,
    /// Seconds in which the sink takes nothing; may be given several times
    #[arg(long, value_name = "FROM-TO")]
    pub stall: Vec<Stall>,
    /// `scaling.targetLag`
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub target_lag: Duration,
    /// `scaling.catchUp`
    #[arg(long, value_name = "TIME", default_value = "2m")]
    pub catch_up: Duration,
    /// `scaling.zeroAfter`
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub zero_after: Duration,
    /// `scaling.minWorkers`; by default 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub min: Option<u16>,
    /// `scaling.maxWorkers`; by default the number of splits
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max: Option<u16>,
    /// Run the rules of KEDA, Numaflow and Flink, and schedules that know what comes
    #[arg(long)]
    pub compare: bool,
    /// Compare on each kind of load at seeds 1 to 3; some minutes
    #[arg(long, conflicts_with_all = ["trace", "made", "write", "svg", "compare"])]
    pub table: bool,
    /// How figures are written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Draw arrivals, workers and lag
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// `thalweg record-trace`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  thalweg record-trace fares -n shop --prometheus http://localhost:9090 --last 6h --write fares.csv
  thalweg record-trace fares --prometheus http://localhost:9090 --from 2026-03-01T00:00:00Z --to 2026-03-02T00:00:00Z --step 30s
  thalweg simulate-scaling --trace fares.csv --capacity 5000 --compare

It reads thalweg_source_end_records, which workers of a pipeline with worker.metricsBy: [Split] export for sources that know
their ends (Kafka), by /api/v1/query_range.
What comes in is how far each split's end moves within a step. A Prometheus in a cluster is reached by `kubectl port-forward`.")]
pub struct RecordArgs {
    /// The StreamPipeline
    #[arg(value_name = "PIPELINE")]
    pub pipeline: String,
    /// Its namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Where Prometheus answers: http://HOST:PORT, with a path where it has one
    #[arg(long, value_name = "URL")]
    pub prometheus: hyper::Uri,
    /// Where the trace begins, such as 2026-03-01T00:00:00Z; with --last it is so long before --to
    #[arg(long, value_name = "TIME", conflicts_with = "last")]
    pub from: Option<Timestamp>,
    /// Where it ends; by default now
    #[arg(long, value_name = "TIME")]
    pub to: Option<Timestamp>,
    /// How long it is
    #[arg(long, value_name = "TIME", default_value = "6h")]
    pub last: Duration,
    /// Between two rows; at least as long as Prometheus scrapes apart
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub step: Duration,
    /// The file; by default standard output
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

fn kind() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name))
        .try_map(|name| Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or("no such load"))
}

fn capacity(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected records a second, above 0".to_owned())
}

fn state_url(text: &str) -> Result<String, String> {
    thalweg_state::check_url(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn folder(text: &str) -> Result<PathBuf, String> {
    let folder = PathBuf::from(text);
    if folder.is_dir() { Ok(folder) } else { Err("there is no such folder".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&rate) { Ok(rate) } else { Err("expected a number from 0 to 1".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_rate_is_between_zero_and_one() {
        assert_eq!(rate("0.5"), Ok(0.5));
        assert!(rate("1.1").is_err());
        assert!(rate("x").is_err());
    }
}
