//! `thalweg explain`: how pipelines would run.

use thalweg_crds::connector::{SinkConnector, SourceConnector};
use thalweg_crds::manifest::{ResolvedSink, ResolvedSource};
use thalweg_crds::pipeline::Delivery;
use thalweg_crds::source::{Late, OnError};
use thalweg_sql::explain::inexact;
use thalweg_sql::stages::{InputFrom, Stage, StageKind};

use super::args::{ExplainArgs, Output};
use super::{Exit, check, print};
use crate::job::{Mounted, Outputs, Planned, plan_manifests};

/// What a thousand object requests that write cost, in US dollars (S3 Standard, us-east-1, 2026).
const DOLLARS_PER_THOUSAND_WRITES: f64 = 0.005;
/// Requests that write, a commit of one unit: the block of rows and the manifest.
const WRITES_PER_COMMIT: f64 = 2.0;
const SECONDS_PER_MONTH: f64 = 30.0 * 86_400.0;

/// Shows stages, units, columns, promises and prices.
pub fn explain(args: &ExplainArgs) -> Exit {
    let found = match plan_manifests(&args.paths, &Mounted::default()) {
        Ok(found) => found,
        Err(problems) => {
            check::report(&problems, Output::Text);
            return Exit::Wrong;
        }
    };
    if found.pipelines.is_empty() {
        return check::nothing(&args.paths);
    }
    let texts = found.pipelines.iter().map(|pipeline| text(pipeline, args.state.as_deref()));
    print(&texts.collect::<Vec<_>>().join("\n"))
}

fn text(pipeline: &Planned, state: Option<&str>) -> String {
    let spec = pipeline.resolved.spec.state.clone().unwrap_or_default();
    let state = state.or(spec.url.as_deref());
    let sections = [
        ("units", units(pipeline)),
        ("exact, and what is not", promises(pipeline, state.is_some())),
        ("commits", price(pipeline, state, spec.commit_every.as_std().as_secs_f64())),
    ];
    let mut text = format!("{}\n\n{}", pipeline.resolved.resource(), thalweg_sql::explain(&pipeline.plan));
    for (title, lines) in sections {
        text.push_str(&format!("\n{title}\n"));
        lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text
}

fn units(pipeline: &Planned) -> Vec<String> {
    let (groups, stages) = (pipeline.key_groups(), &pipeline.plan.stages);
    let unit = |stage: &Stage| match &stage.kind {
        StageKind::Windowed(aggregate) if aggregate.key_count == 0 => {
            format!("stage {}: {groups}, one of them at work, since there are no keys", stage.id)
        }
        StageKind::Windowed(_) => format!("stage {}: {groups}, one a key group", stage.id),
        StageKind::Stateless => match splits(pipeline, stage) {
            Some(splits) => format!("stage {}: at most {splits}, one a split of what it reads", stage.id),
            None => format!("stage {}: one a split of what it reads", stage.id),
        },
    };
    let mut lines: Vec<_> = stages.iter().map(unit).collect();
    if stages.iter().any(|stage| matches!(stage.kind, StageKind::Windowed(_))) {
        lines.push("key groups are `state.keyGroups`: they stay what they are for as long as state is kept".to_owned());
    }
    lines
}

/// How many splits a stage reads at the most; `None` where only the source knows.
fn splits(pipeline: &Planned, stage: &Stage) -> Option<u32> {
    let of_input = |from: &InputFrom| match from {
        InputFrom::Stage(_) => Some(pipeline.key_groups()),
        InputFrom::Source(name) => {
            let source = pipeline.resolved.sources.iter().find(|source| source.alias == *name)?;
            match source.spec.connector()? {
                SourceConnector::Files(files) => Some(files.lanes.unsigned_abs()),
                SourceConnector::Generator(generator) => Some(generator.splits.unsigned_abs()),
                SourceConnector::Kafka(_) => None,
            }
        }
    };
    stage.inputs.iter().map(|input| of_input(&input.from)).sum()
}

fn promises(pipeline: &Planned, durable: bool) -> Vec<String> {
    let (resolved, plan) = (&pipeline.resolved, &pipeline.plan);
    let kept_there = outputs(pipeline).are_transactional();
    let mut lines: Vec<_> = resolved.sinks.iter().map(|sink| delivery(sink, durable, kept_there)).collect();
    for source in &resolved.sources {
        let reads = |stage: &&Stage| stage.inputs.iter().any(|i| i.from == InputFrom::Source(source.alias.clone()));
        let readers: Vec<_> = plan.stages.iter().filter(reads).collect();
        let windowed = readers.iter().any(|stage| matches!(stage.kind, StageKind::Windowed(_)));
        if source.spec.lookup.is_some() && plan.lookups.contains(&source.alias) {
            lines.push(lookup(source, durable));
        } else if !readers.is_empty() {
            lines.extend(windowed.then(|| lateness(source)).flatten());
            lines.push(format!("source {}: {}", source.alias, bad_records(source.spec.on_error)));
        }
    }
    let digits = |call| {
        format!(
            "{call}: floats are added in no fixed order, so the last digits may differ; CAST to DECIMAL for equal ones"
        )
    };
    lines.extend(plan.stages.iter().flat_map(inexact).map(digits));
    lines
}

fn outputs(pipeline: &Planned) -> Outputs<'_> {
    Outputs { resolved: &pipeline.resolved, plan: &pipeline.plan, key_groups: pipeline.key_groups() }
}

fn delivery(sink: &ResolvedSink, durable: bool, kept_there: bool) -> String {
    let promise = match sink.spec.connector() {
        Some(SinkConnector::Stdout(_)) => {
            "no promise: what was shown cannot be taken back, a restart may show it again"
        }
        Some(SinkConnector::Blackhole(_)) => "no promise: it counts rows, a restart counts anew",
        Some(SinkConnector::Files(_)) if durable => {
            "exactly once, across kills: a file is seen only once the commit that names it is durable"
        }
        Some(SinkConnector::Kafka(_)) if sink.delivery == Delivery::AtLeastOnce => {
            "at least once: rows are acknowledged before positions move; after a kill some are written again"
        }
        Some(SinkConnector::Kafka(_)) if durable || kept_there => {
            "exactly once, across kills: rows and progress in one transaction, for readers with read_committed"
        }
        Some(SinkConnector::Files(_) | SinkConnector::Kafka(_)) => {
            "exactly once in one run; a restart writes all of it again, since state lives in memory (give --state)"
        }
        None => "it has no connector",
    };
    format!("sink {}: {promise}", sink.alias)
}

fn lookup(source: &ResolvedSource, durable: bool) -> String {
    let kept = if durable { "kept with the state, so a restart joins the same rows" } else { "read again by each run" };
    format!("lookup {}: read whole before anything else, {kept}", source.alias)
}

fn lateness(source: &ResolvedSource) -> Option<String> {
    let watermark = source.spec.watermark.as_ref()?;
    let fate = match watermark.late {
        Late::Drop => "dropped and counted",
        Late::DeadLetter => "sent to the dead letters",
    };
    Some(format!(
        "source {}: a row is late if the slice of time that its windows share ended {} or more before the greatest {} before it in its log; late rows \
         are {fate}, the same ones in every run",
        source.alias, watermark.delay, watermark.column
    ))
}

fn bad_records(on_error: OnError) -> &'static str {
    match on_error {
        OnError::Fail => "a bad record stops the pipeline and is named (onError: Fail)",
        OnError::Drop => "bad records are dropped and counted (onError: Drop)",
        OnError::DeadLetter => "bad records are counted and sent to the dead letters (onError: DeadLetter)",
    }
}

/// What commits cost at the most: all units, all the time.
fn price(pipeline: &Planned, state: Option<&str>, commit_every_seconds: f64) -> Vec<String> {
    if outputs(pipeline).are_transactional() {
        let topic = format!("thalweg-progress.{}", pipeline.resolved.full_name());
        return vec![format!(
            "every {commit_every_seconds} s: one transaction of Kafka a unit that has changed, with its position in {topic}"
        )];
    }
    let Some(url) = state else { return vec!["none: state lives in memory, and is gone with the process".to_owned()] };
    let every = format!("every {commit_every_seconds} s into {url}");
    if !url.contains("://") || url.starts_with("file://") {
        return vec![format!("{every}: one write and sync a unit that has changed")];
    }
    let stages = &pipeline.plan.stages;
    let of_stage = |stage: &Stage| match stage.kind {
        StageKind::Windowed(_) => pipeline.key_groups(),
        StageKind::Stateless => splits(pipeline, stage).unwrap_or(1),
    };
    let units: u32 = stages.iter().map(of_stage).sum();
    let writes = f64::from(units) * SECONDS_PER_MONTH / commit_every_seconds.max(0.001) * WRITES_PER_COMMIT;
    let dollars = writes / 1e3 * DOLLARS_PER_THOUSAND_WRITES;
    vec![
        every,
        format!(
            "at most {:.1} million requests that write a month, about ${dollars:.0} (S3 Standard): {units} units, \
             {WRITES_PER_COMMIT} requests a commit, all the time",
            writes / 1e6
        ),
        "units without changes do not commit; polls of the stores, bytes kept and output files come on top".to_owned(),
    ]
}
