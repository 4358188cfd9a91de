//! What happens to the state of a pipeline that is deleted: `deletionPolicy: Delete` has it removed by a Job first.
//!
//! A deletion never waits for ever: whatever stands in the way, the pipeline is let go after a limit, and it is told what is
//! left.

use std::time::Duration;

use serde_json::Value;

/// Keeps a pipeline until its state is removed.
pub const FINALIZER: &str = "thalweg.dev/state";
/// How long the Job may take, waiting for a node and an image included.
pub const JOB_LIMIT: Duration = Duration::from_secs(300);
/// How long a pipeline that is deleted may stay, whatever stands in the way.
pub const LIMIT: Duration = Duration::from_secs(600);

/// What is known of a pipeline that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Whether its spec still asks for its state to be removed, and there is a place where it has any.
    pub removes: bool,
    /// For how long it has been leaving.
    pub since: Duration,
    /// How many pods it is to have; `None` where there is no Deployment, and so nothing that says how its state is reached.
    pub replicas: Option<i32>,
    /// How many pods it has.
    pub pods: usize,
    /// Whether its assignment names workers still: those work on until somebody asks for what they have.
    pub named: bool,
    /// How far the Job has come, where there is one.
    pub job: Option<Progress>,
}

/// How far a Job has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It runs, or waits to.
    Running,
    /// It is done.
    Done,
    /// It is given up, and why.
    Failed(String),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Have the workers commit and end: nobody is to write any more.
    StopWorkers,
    /// Make the Job.
    StartJob,
    /// Look again.
    Wait,
    /// Let the pipeline go.
    LetGo(Outcome),
}

/// What has become of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stays, as nobody asks for anything else.
    Kept,
    /// It is removed.
    Removed,
    /// It stays, all of it or a part, because of this.
    Left(String),
}

/// Decides what to do next.
pub fn next(leaving: &Leaving) -> Next {
    let left = |why: String| Next::LetGo(Outcome::Left(why));
    match (&leaving.job, leaving.replicas) {
        _ if !leaving.removes => Next::LetGo(Outcome::Kept),
        (Some(Progress::Done), _) => Next::LetGo(Outcome::Removed),
        (Some(Progress::Failed(why)), _) => left(why.clone()),
        _ if leaving.since >= LIMIT && leaving.pods > 0 => {
            left(format!("after {} s {} of its workers have not ended", LIMIT.as_secs(), leaving.pods))
        }
        _ if leaving.since >= LIMIT => left(format!("after {} s the clean-up has not ended", LIMIT.as_secs())),
        (Some(Progress::Running), _) => Next::Wait,
        (None, None) => left("its Deployment is gone, and with it how the state is reached".to_owned()),
        (None, Some(replicas)) if replicas > 0 || (leaving.pods > 0 && leaving.named) => Next::StopWorkers,
        (None, Some(_)) if leaving.pods > 0 => Next::Wait,
        (None, Some(_)) => Next::StartJob,
    }
}

/// What to do next about a pipeline that has the finalizer and that this version cannot read, by its spec as it is stored. One that
/// can may come, as in the middle of an upgrade; where none does, the state stays.
pub fn unread(spec: &Value, since: Duration) -> Next {
    if spec["deletionPolicy"] == "Retain" {
        return Next::LetGo(Outcome::Kept);
    }
    if since < LIMIT {
        return Next::Wait;
    }
    let why =
        format!("for {} s no operator came that could read the pipeline, which is of another version", LIMIT.as_secs());
    Next::LetGo(Outcome::Left(why))
}

/// What is told of state that stays though it was to be removed: why, and where it lies; `url` is `state.url`, where it is known.
pub fn left(why: &str, url: Option<&str>, namespace: &str, name: &str) -> String {
    let place = match url {
        Some(url) => format!("{url}/{namespace}/{name}"),
        None => format!("{namespace}/{name} of the folder or bucket that its spec.state names"),
    };
    format!("{why}; what is left lies under {place}: remove it yourself")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn leaving() -> Leaving {
        Leaving { removes: true, since: Duration::from_secs(1), replicas: Some(2), pods: 2, named: true, job: None }
    }

    #[test]
    fn workers_end_then_the_job_runs_then_the_pipeline_goes() {
        assert_eq!(next(&leaving()), Next::StopWorkers);
        let asleep = Leaving { replicas: Some(0), ..leaving() };
        assert_eq!(next(&asleep), Next::StopWorkers, "who is named works on");
        let stopping = Leaving { named: false, ..asleep };
        assert_eq!(next(&stopping), Next::Wait);
        let stopped = Leaving { pods: 0, ..stopping };
        assert_eq!(next(&stopped), Next::StartJob);
        let runs = Leaving { job: Some(Progress::Running), ..stopped.clone() };
        assert_eq!(next(&runs), Next::Wait);
        assert_eq!(next(&Leaving { job: Some(Progress::Done), ..stopped }), Next::LetGo(Outcome::Removed));
    }

    #[test]
    fn whoever_changes_their_mind_keeps_the_state() {
        let kept = Leaving { removes: false, job: Some(Progress::Running), ..leaving() };
        assert_eq!(next(&kept), Next::LetGo(Outcome::Kept));
    }

    #[test]
    fn of_a_pipeline_that_cannot_be_read_state_stays_and_only_where_that_is_wanted_it_is_no_news() {
        let early = LIMIT - Duration::from_secs(1);
        assert_eq!(unread(&json!({"deletionPolicy": "Retain"}), Duration::ZERO), Next::LetGo(Outcome::Kept));
        for policy in [json!("Delete"), json!("Archive"), json!({"after": "1h"}), Value::Null] {
            let spec = json!({"deletionPolicy": policy});
            assert_eq!(unread(&spec, early), Next::Wait, "{spec}");
            assert!(matches!(unread(&spec, LIMIT), Next::LetGo(Outcome::Left(_))), "{spec}");
        }
        assert!(matches!(unread(&Value::Null, LIMIT), Next::LetGo(Outcome::Left(_))));
    }

    #[test]
    fn of_state_that_stays_it_is_told_where_it_lies_as_far_as_that_is_known() {
        assert_eq!(
            left("the store is away", Some("s3://bucket/prefix"), "shop", "fares"),
            "the store is away; what is left lies under s3://bucket/prefix/shop/fares: remove it yourself"
        );
        assert_eq!(
            left("the store is away", None, "shop", "fares"),
            "the store is away; what is left lies under shop/fares of the folder or bucket that its spec.state names: remove it \
             yourself"
        );
    }

    #[test]
    fn whatever_stands_in_the_way_the_pipeline_is_gone_in_the_end() {
        for pods in [0, 2] {
            for replicas in [None, Some(0), Some(2)] {
                for job in
                    [None, Some(Progress::Running), Some(Progress::Failed("no".to_owned())), Some(Progress::Done)]
                {
                    for removes in [false, true] {
                        let late = Leaving { removes, since: LIMIT, replicas, pods, named: false, job: job.clone() };
                        assert!(matches!(next(&late), Next::LetGo(_)), "{late:?}");
                    }
                }
            }
        }
        let failed = Leaving { job: Some(Progress::Failed("the store is away".to_owned())), ..leaving() };
        assert_eq!(next(&failed), Next::LetGo(Outcome::Left("the store is away".to_owned())));
        let gone = Leaving { replicas: None, pods: 0, ..leaving() };
        assert!(matches!(next(&gone), Next::LetGo(Outcome::Left(_))));
    }
}
