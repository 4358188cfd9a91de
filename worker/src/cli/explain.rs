//! `thalweg explain`: how pipelines would run.

use thalweg_crds::connector::SinkConnector;
use thalweg_sql::stages::{Stage, StageKind};

use super::args::{ExplainArgs, Output};
use super::{Exit, check, print};
use crate::job::{Mounted, Planned, plan_manifests};

/// What a thousand object requests that write cost, in US dollars (S3 Standard, us-east-1, 2026).
const DOLLARS_PER_THOUSAND_WRITES: f64 = 0.005;
/// Requests that write, a commit of one unit: the block of rows and the manifest.
const WRITES_PER_COMMIT: f64 = 2.0;
const SECONDS_PER_MONTH: f64 = 30.0 * 86_400.0;

/// Shows stages, units, columns, promises and prices.
pub fn explain(args: &ExplainArgs) -> Exit {
    let found = match plan_manifests(&args.paths, &Mounted(None)) {
        Ok(found) => found,
        Err(problems) => {
            check::report(&problems, Output::Text);
            return Exit::Wrong;
        }
    };
    let texts: Vec<_> = found.pipelines.iter().map(|pipeline| text(pipeline, args.state.as_deref())).collect();
    print(&texts.concat())
}

fn text(pipeline: &Planned, state: Option<&str>) -> String {
    let resolved = &pipeline.resolved;
    let spec = resolved.spec.state.clone().unwrap_or_default();
    let state = state.or(spec.url.as_deref());
    let mut text = format!("{}\n{}", resolved.resource(), thalweg_sql::explain(&pipeline.plan));
    text.push_str(&format!("key groups: {}\n", pipeline.key_groups()));
    for sink in &resolved.sinks {
        let promise = match sink.spec.connector() {
            Some(connector) if connector.promises_nothing() => "shows or counts rows; promises nothing",
            Some(SinkConnector::Files(_)) if state.is_some() => "exactly once, across kills",
            Some(SinkConnector::Files(_)) => "exactly once within a run; a restart writes again (no state URL)",
            _ => "not supported yet",
        };
        text.push_str(&format!("sink {}: {promise}\n", sink.alias));
    }
    text.push_str(&price(pipeline, state, spec.commit_every.as_std().as_secs_f64()));
    text
}

/// What commits cost at the most: all units, all the time.
fn price(pipeline: &Planned, state: Option<&str>, commit_every_seconds: f64) -> String {
    let keyed = |stage: &&Stage| matches!(stage.kind, StageKind::Windowed(_));
    let units = pipeline.plan.stages.iter().filter(keyed).count() as f64 * f64::from(pipeline.key_groups());
    match state {
        None => "commits: in memory, free\n".to_owned(),
        Some(url) if !url.contains("://") => format!("commits: every {commit_every_seconds} s into {url}, free\n"),
        Some(url) => {
            let writes = units * SECONDS_PER_MONTH / commit_every_seconds.max(0.001) * WRITES_PER_COMMIT;
            let dollars = writes / 1e3 * DOLLARS_PER_THOUSAND_WRITES;
            format!(
                "commits: every {commit_every_seconds} s into {url}, at most {writes:.0} writes a month, about ${dollars:.0} \
                 (S3 Standard; units without changes do not commit)\n"
            )
        }
    }
}
