//! From a plan to a job: state opened, lookups read, connectors made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_connectors::kafka::client::Reach;
use thalweg_connectors::kafka::{Delivery, Waits};
use thalweg_connectors::registry::{self, SinkRequest, SourceRequest};
use thalweg_core::append_log::{AppendLog, Appended};
use thalweg_core::clock::SharedClock;
use thalweg_core::commit::{UnitEntries, UnitStore};
use thalweg_core::error::Error;
use thalweg_core::ownership::claim::Adopt;
use thalweg_core::ownership::restart::Restart;
use thalweg_core::share::Share;
use thalweg_core::unit::{Incarnation, RunId, StageId, UnitId};
use thalweg_crds::manifest::{ResolvedSink, ResolvedSource};
use thalweg_crds::names::hash;
use thalweg_crds::pipeline::OnIncompatibleChange;
use thalweg_crds::source::Late;
use thalweg_crds::state::StateSpec;
use thalweg_crds::statements::{self, Made, Statement};
use thalweg_sql::catalog::WatermarkSpec;
use thalweg_sql::fingerprint;
use thalweg_sql::stages::{InputFrom, PlannedPipeline, Stage, StageKind, StageOutput};
use thalweg_sql::window::{KEY_HASH_VERSION, LAYOUT_VERSION};
use thalweg_state::{BucketAccess, Expected, Notes, PipelineState, RootOptions, Sharing, StateRoot};

use super::copied::Copied;
use super::named;
use super::outputs::Outputs;
use super::planned::{Planned, schema};
use super::secrets::Mounted;
use crate::budget::Budget;
use crate::runtime::counters::{Counters, SourceCounters, StageCounters};
use crate::runtime::load::Throttle;
use crate::runtime::outbox::{decode_rows, encode_rows};
use crate::runtime::{Job, JobSink, JobSource, Result, Stores, keyed_units, layout, lookup};

/// What the command line says about all pipelines.
pub struct Settings {
    /// Overrides `state.url`.
    pub state: Option<String>,
    /// The operator's installation, to which state and progress belong; without, the one that is noted beside the state.
    pub installation: Option<String>,
    /// Who else may use it meanwhile, where it is a folder.
    pub sharing: Sharing,
    /// Start from scratch.
    pub fresh: bool,
    /// The start from scratch that the plan belongs to, where somebody asked for one.
    pub restart: Option<Restart>,
    /// The numbers of the plan's stages, where the operator has given them others than they were planned with.
    pub numbers: Option<Vec<StageId>>,
    /// When the plan was made, where there is an operator.
    pub made: Option<Made>,
    /// The id of the topic that keeps all, if an operator remembers that there was one.
    pub progress: Option<String>,
    /// What it may note: who works may do so by another plan.
    pub notes: Notes,
    /// Secrets and ConfigMaps.
    pub secrets: Mounted,
    /// Threads that decode and aggregate.
    pub threads: usize,
    /// Memory that the process may use.
    pub budget: Budget,
    /// Holds the process back, in tests.
    pub throttle: Option<Arc<Throttle>>,
    /// The hash of the plan, or what stands for it where there is one process.
    pub plan_hash: Arc<str>,
    /// This process.
    pub run_id: RunId,
    /// Where time comes from.
    pub clock: SharedClock,
    /// How clusters of Kafka are reached.
    pub kafka: Arc<dyn Reach>,
}

impl Settings {
    /// How long a start waits: whoever has a part of a pipeline assigned begins again, and tells meanwhile why.
    pub(super) fn waits(&self) -> Waits {
        match self.sharing {
            Sharing::Alone => Waits::ONCE,
            Sharing::Assigned => Waits::AGAIN,
        }
    }
}

/// State roots by URL, and by how it is reached: pipelines may share one.
#[derive(Default)]
pub struct Roots(HashMap<(Option<String>, BucketAccess), StateRoot>);

#[cfg(test)]
impl Roots {
    /// A root that stands for an URL.
    pub fn of(url: &str, root: StateRoot) -> Self {
        Self(HashMap::from([((Some(url.to_owned()), BucketAccess::default()), root)]))
    }
}

/// Makes a pipeline ready to run.
pub async fn build(planned: Planned, settings: &Settings, roots: &mut Roots) -> Result<Job> {
    let key_groups = planned.key_groups();
    let Planned { resolved, mut plan } = planned;
    let spec = &resolved.spec;
    let state_spec = spec.state.clone().unwrap_or_default();
    let access = bucket_access(&state_spec, &settings.secrets)?;
    let root = root(settings.state.clone().or(state_spec.url.clone()), access, settings, roots).await?;
    if let Some(numbers) = &settings.numbers
        && !plan.renumber(numbers)
    {
        let detail = format!("it has {} stages, and numbers of {}", plan.stages.len(), numbers.len());
        return Err(Error::internal(format!("numbering the stages of {}", resolved.full_name()), detail).into());
    }
    let restarts = resolved.spec.on_incompatible_change == OnIncompatibleChange::Restart;
    let expected = Expected {
        statements: statements(&plan, key_groups, restarts, |stage| shape(stage, key_groups)),
        made: settings.made.clone(),
        notes: settings.notes,
        adopt: adopt(&state_spec),
        versions: versions(),
    };
    let (namespace, name) = (&resolved.namespace, &resolved.name);
    let state = match settings.fresh {
        true => PipelineState::open(&root, namespace, name, &expected, true).await?,
        false => PipelineState::open_at(&root, namespace, name, &expected, settings.restart.as_ref()).await?,
    };
    let durable = root.is_durable();
    let units = keyed_units(&plan, key_groups);
    let unit_bytes = settings.budget.of_unit(units).store_bytes;
    if !settings.budget.suffices_for(units) {
        let pipeline = resolved.full_name();
        tracing::warn!(
            pipeline,
            units,
            "there is too little memory for so many keyed units: a worker that owns all of them may take more than its limit; raise it"
        );
    }
    let outputs = Outputs { resolved: &resolved, plan: &plan, key_groups };
    outputs.check()?;
    let memory = Share::new(settings.budget.sink_bytes());
    let fetched = Share::new(settings.budget.fetched_bytes());
    let delivery = outputs.delivery(&root, (&state, &expected), &memory, settings).await?;
    // Where every unit's commits are transactions of a sink, all that is to be kept is kept there.
    let kept_there = delivery.as_ref().filter(|_| !durable && outputs.are_transactional());
    let lists = |name: &str| {
        kept(kept_there.map_or_else(|| state.append_log(name), |delivery| delivery.list(name)), settings.notes)
    };
    let (incarnation, kept) = match kept_there {
        Some(delivery) => (delivery.incarnation(), delivery.kept().clone()),
        None => (state.incarnation(), state.kept().clone()),
    };

    let mut sources = Vec::new();
    let mut counted_sources = Vec::new();
    let (mut lookups, mut counted_lookups) = (HashMap::new(), Vec::new());
    for source in &resolved.sources {
        let Some(columns) = columns_read(&plan, source) else { continue };
        let job_source = job_source(source, &columns, &lists, (settings, &fetched))?;
        let is_lookup = source.spec.lookup.is_some();
        let counted = SourceCounters { name: source.alias.clone(), is_lookup, ..SourceCounters::default() };
        if is_lookup {
            lookups.insert(
                source.alias.clone(),
                stored_lookup(&job_source, &counted, (&state, settings.notes), &plan).await?,
            );
            counted_lookups.push(counted);
        } else {
            sources.push(job_source);
            counted_sources.push(counted);
        }
    }
    lookup::bind(&mut plan, &lookups)?;
    // Behind the others, whose numbers are those of the job's sources.
    counted_sources.append(&mut counted_lookups);
    let counted_stages = plan.stages.iter().map(|stage| StageCounters::of(stage.id, sink_of(stage))).collect();
    let shared = (delivery.as_ref(), &memory);
    let sinks = sinks(&resolved.sinks, shared, settings).await?;
    let dead_letters = match &resolved.dead_letter {
        Some(sink) => Some(open_sink(sink, shared, settings).await?),
        None => None,
    };
    if durable && !settings.fresh && settings.restart.is_none() {
        let all = sinks.values().chain(&dead_letters);
        check_no_output(all, &resolved.full_name(), &state, root.url()).await?;
    }
    Ok(Job {
        name: resolved.full_name(),
        plan,
        plan_hash: settings.plan_hash.clone(),
        sources,
        sinks,
        dead_letters,
        incarnation,
        kept,
        is_kept: durable || kept_there.is_some(),
        progress: kept_there.map(|delivery| delivery.id()),
        run_id: settings.run_id.clone(),
        key_groups,
        commit_every: state_spec.commit_every.as_std(),
        stores: Arc::new(UnitStores { state, durable, unit_bytes }),
        parallelism: settings.threads,
        budget: settings.budget,
        throttle: settings.throttle.clone(),
        clock: settings.clock.clone(),
        counters: Arc::new(Counters::new(counted_sources, counted_stages)),
    })
}

fn sink_of(stage: &Stage) -> Option<String> {
    match &stage.output {
        StageOutput::Sink(sink) => Some(sink.clone()),
        StageOutput::Stage(_) => None,
    }
}

/// What a pipeline does about state and progress that are another owner's.
pub(super) fn adopt(state: &StateSpec) -> Adopt {
    if state.adopt { Adopt::Yes } else { Adopt::No }
}

/// How the bucket of a pipeline's state is reached.
///
/// # Errors
/// A value that it names is missing.
pub fn bucket_access(state: &StateSpec, values: &Mounted) -> thalweg_core::error::Result<BucketAccess> {
    state.s3.as_ref().map_or_else(|| Ok(BucketAccess::default()), |s3| registry::bucket_access(s3, values))
}

async fn root(url: Option<String>, access: BucketAccess, settings: &Settings, roots: &mut Roots) -> Result<StateRoot> {
    let key = (url, access);
    if let Some(root) = roots.0.get(&key) {
        return Ok(root.clone());
    }
    let (url, bucket) = &key;
    let root = match url {
        Some(url) => {
            let (bucket, sharing) = (bucket.clone(), settings.sharing);
            let installation = settings.installation.clone();
            let usual = RootOptions::default();
            let block_cache_bytes = settings.budget.cache_bytes(usual.block_cache_bytes);
            let options = RootOptions { block_cache_bytes, bucket, sharing, installation, ..usual };
            StateRoot::open(url, &options).await?
        }
        None => StateRoot::in_memory(Incarnation(settings.clock.wall_millis().unsigned_abs())),
    };
    roots.0.insert(key, root.clone());
    Ok(root)
}

/// The statements of a plan. `anew` says whether they may start anew where they do not fit, `shape` whether what is kept of a stage
/// can be carried over.
fn statements(plan: &PlannedPipeline, key_groups: u32, anew: bool, shape: impl Fn(&Stage) -> String) -> Vec<Statement> {
    let stage = |stage: &Stage| {
        let mut about = thalweg_sql::explain::about(stage);
        if matches!(stage.kind, StageKind::Windowed(_)) {
            about.insert("key groups".to_owned(), key_groups.to_string());
        }
        statements::Stage { number: stage.id.0, shape: shape(stage), about }
    };
    let statement = |(sink, stages): (&str, &[Stage])| Statement {
        sink: sink.to_owned(),
        text: fingerprint::whole(stages),
        stages: stages.iter().map(stage).collect(),
        anew,
    };
    plan.statements().map(statement).collect()
}

/// What shapes the state of a stage.
fn shape(stage: &Stage, key_groups: u32) -> String {
    match stage.kind {
        StageKind::Stateless => stage.fingerprint.clone(),
        StageKind::Windowed(_) => format!("{}-{key_groups}", stage.fingerprint),
    }
}

/// Versions of what this build writes.
fn versions() -> BTreeMap<String, u32> {
    let versions = [("keyHash", KEY_HASH_VERSION), ("layout", layout::VERSION), ("windows", LAYOUT_VERSION)];
    versions.map(|(name, version)| (name.to_owned(), version)).into()
}

/// The columns that are read of a source, in the order of its declaration; `None` where nothing reads it.
pub(super) fn columns_read(plan: &PlannedPipeline, source: &ResolvedSource) -> Option<BTreeSet<String>> {
    if source.spec.lookup.is_some() {
        let all = || source.columns.iter().map(|column| column.name.clone()).collect();
        return plan.lookups.contains(&source.alias).then(all);
    }
    let inputs = plan.stages.iter().flat_map(|stage| &stage.inputs);
    let mine: Vec<_> =
        inputs.filter(|input| matches!(&input.from, InputFrom::Source(name) if *name == source.alias)).collect();
    (!mine.is_empty()).then(|| mine.iter().flat_map(|input| input.columns.iter().cloned()).collect())
}

fn job_source(
    source: &ResolvedSource,
    columns: &BTreeSet<String>,
    lists: &dyn Fn(&str) -> Arc<dyn AppendLog>,
    (settings, memory): (&Settings, &Share),
) -> Result<JobSource> {
    let watermark = source.spec.watermark.as_ref();
    let resource = format!("StreamSource/{}", source.name);
    let opened = registry::source(SourceRequest {
        source,
        schema: schema(source),
        columns,
        lists,
        values: &settings.secrets,
        clock: settings.clock.clone(),
        kafka: settings.kafka.clone(),
        memory,
        waits: settings.waits(),
    });
    let opened = opened.map_err(|error| error.of(&resource))?;
    Ok(JobSource {
        name: source.alias.clone(),
        source: named::source(&resource, opened.source),
        resource,
        decoder: opened.decoder,
        watermark: watermark.map(|watermark| WatermarkSpec {
            column: watermark.column.clone(),
            delay_ms: i64::try_from(watermark.delay.as_std().as_millis()).unwrap_or(i64::MAX),
        }),
        idle_after: watermark.and_then(|watermark| watermark.idle_after).map(|after| after.as_std()),
        keep_late: watermark.is_some_and(|watermark| watermark.late == Late::DeadLetter),
        on_error: source.spec.on_error,
    })
}

/// A lookup table as the first run of this plan read it.
async fn stored_lookup(
    source: &JobSource,
    counters: &SourceCounters,
    (state, notes): (&PipelineState, Notes),
    plan: &PlannedPipeline,
) -> Result<RecordBatch> {
    let fingerprints: Vec<_> = plan.stages.iter().map(|stage| stage.fingerprint.as_str()).collect();
    // Of any number of stages as long as of one: it is the name of a folder.
    let name = format!("{}/{}", hash(fingerprints.join("-").as_bytes()), source.name);
    if let Some(table) = state.get_lookup(&name).await? {
        return decode_rows(&table);
    }
    let table = lookup::read_whole(source, counters).await?;
    if notes == Notes::Nothing {
        return Ok(table);
    }
    let mut bytes = Vec::new();
    encode_rows(&table, &mut bytes)?;
    match state.put_lookup(&name, bytes.into()).await? {
        Appended::Created => Ok(table),
        Appended::Exists => match state.get_lookup(&name).await? {
            Some(table) => decode_rows(&table),
            None => Ok(table),
        },
    }
}

async fn sinks(
    sinks: &[ResolvedSink],
    shared: (Option<&Arc<Delivery>>, &Share),
    settings: &Settings,
) -> Result<HashMap<String, JobSink>> {
    let mut opened = HashMap::new();
    for sink in sinks {
        opened.insert(sink.alias.clone(), open_sink(sink, shared, settings).await?);
    }
    Ok(opened)
}

/// Opens a sink, with what keeps the progress of those of kafka, and the memory of all.
async fn open_sink(
    sink: &ResolvedSink,
    (delivery, memory): (Option<&Arc<Delivery>>, &Share),
    settings: &Settings,
) -> Result<JobSink> {
    let (values, clock) = (&settings.secrets, settings.clock.clone());
    let (name, resource) = (sink.alias.clone(), format!("StreamSink/{}", sink.name));
    let opened = registry::sink(SinkRequest { sink, delivery, memory, values, clock });
    let opened = opened.map_err(|error| error.of(&resource))?;
    let opened = named::sink(&resource, opened);
    opened.check().await?;
    Ok(JobSink { name, resource, sink: opened, on_error: sink.spec.on_error })
}

/// Refuses to begin silently where the pipeline has written before: all of it would be written again.
async fn check_no_output(
    sinks: impl Iterator<Item = &JobSink>,
    pipeline: &str,
    state: &PipelineState,
    url: &str,
) -> thalweg_core::error::Result<()> {
    // First, since it asks for one name: a sink may have to list all that it ever wrote.
    if !state.is_unused().await? {
        return Ok(());
    }
    for JobSink { sink, resource, .. } in sinks {
        let Some(found) = sink.has_output_of(pipeline).await? else { continue };
        let detail = format!("it holds output of this pipeline, such as `{found}`, and its state is not in `{url}`");
        let hint = "give the state that belongs to it; or begin anew: with `--fresh` (in a cluster, `restart`), which leaves \
                    those files and writes all rows again beside them, with the files removed, or into another folder";
        return Err(Error::user(resource.clone(), detail).with_hint(hint));
    }
    Ok(())
}

/// A list, or a copy of it where nothing is to be noted.
pub(super) fn kept(list: Arc<dyn AppendLog>, notes: Notes) -> Arc<dyn AppendLog> {
    if notes == Notes::Nothing { Copied::of(list) } else { list }
}

/// The stores of a pipeline's units.
struct UnitStores {
    state: PipelineState,
    durable: bool,
    /// Entries of one unit that are not flushed yet.
    unit_bytes: usize,
}

#[async_trait]
impl Stores for UnitStores {
    async fn open(&self, unit: UnitId) -> thalweg_core::error::Result<Option<Arc<dyn UnitStore>>> {
        if self.durable { self.state.unit_store(unit, self.unit_bytes).await.map(Some) } else { Ok(None) }
    }

    async fn view(&self, unit: UnitId) -> thalweg_core::error::Result<Option<Arc<dyn UnitEntries>>> {
        if self.durable { self.state.unit_view(unit).await } else { Ok(None) }
    }
}
