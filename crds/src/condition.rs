//! Types and reasons of conditions: what `kubectl describe`, `helm --wait`, Flux and Argo CD read.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant),* }

        impl $name {
            /// Every one of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As it stands in a status.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),* }
            }

            /// The one of a name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// What a condition speaks of.
    ConditionType {
        /// The pipeline does what its active plan says.
        Ready,
        /// A change is being brought about.
        Reconciling,
        /// A change cannot be brought about.
        Stalled,
        /// The spec, with all that it refers to, makes a plan.
        ConfigValid,
        /// Every source answers.
        SourcesReachable,
        /// Every sink answers.
        SinksReachable,
        /// Commits succeed in time.
        CommitHealthy,
        /// The lag is below `scaling.targetLag`.
        LagWithinTarget,
        /// The autoscaler can decide.
        ScalingActive,
        /// The autoscaler wants what a limit forbids.
        ScalingLimited,
        /// Units are between two owners.
        Rebalancing,
        /// Stopped by `paused`.
        Paused,
        /// All input was read and delivered.
        Complete,
    }
}

names! {
    /// Why a condition is what it is.
    Reason {
        /// Nothing is amiss.
        AsExpected,
        /// Not known yet.
        Pending,
        /// Workers are being started.
        Starting,
        /// No worker runs, since there is nothing to read.
        Idle,
        /// Stopped by `paused`.
        Paused,
        /// All input was read and delivered.
        Completed,
        /// A field has a value that it must not have.
        InvalidSpec,
        /// A resource or a topic that is referred to does not exist.
        ReferenceNotFound,
        /// An object is of another version, and cannot be read by this one.
        Unreadable,
        /// The SQL has no plan.
        InvalidSql,
        /// Nobody could find out whether the SQL has a plan.
        CheckFailed,
        /// The state of the running version does not fit the change.
        IncompatibleChange,
        /// The state belongs to another pipeline.
        StateInUse,
        /// Another pipeline writes the same sink by key.
        SinkInUse,
        /// Records or state that must exist are gone.
        DataLoss,
        /// A Secret or a key of it is missing.
        SecretMissing,
        /// A system does not answer.
        Unreachable,
        /// A system refuses the log-in.
        Unauthorized,
        /// A record cannot be read, and `onError` is `Fail`.
        BadRecord,
        /// A system rejects rows, and `onError` is `Fail`.
        RowsRejected,
        /// Commits fail.
        CommitFailing,
        /// The lag is above the target.
        LagAboveTarget,
        /// There are fewer units than workers wanted.
        TooFewUnits,
        /// Sinks, not workers, are the bottleneck.
        SinkBound,
        /// One split or key group alone is more than a worker can do.
        ShardBound,
        /// The workers that were added last were of no use.
        Ineffective,
        /// Workers have not reported lately, or lag is not known.
        MetricsStale,
        /// Pods that were asked for do not come.
        Quota,
        /// Splits or units are between two workers.
        Rebalancing,
        /// `scaling.minWorkers` or `scaling.maxWorkers` forbids what the load asks for.
        Bounds,
        /// `scaling.mode` is not `Auto`, or there is nothing to choose.
        ScalingDisabled,
        /// Units move to other workers.
        UnitsMoving,
        /// A new plan is being rolled out.
        RollingOut,
        /// Pods cannot be started.
        WorkersUnavailable,
        /// An object of the same name belongs to somebody else.
        NameTaken,
        /// The API server refuses an object of the pipeline.
        Refused,
        /// A worker stopped, and says why.
        WorkerFailed,
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl ConditionStatus {
    /// As it stands in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Builds a condition; `message` says what to do. `now` counts only where the status differs from that of `previous`.
pub fn condition(
    kind: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: impl Into<String>,
    observed_generation: Option<i64>,
    previous: &[Condition],
    now: Time,
) -> Condition {
    let unchanged = previous.iter().find(|old| old.type_ == kind.as_str() && old.status == status.as_str());
    Condition {
        type_: kind.as_str().to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.into(),
        observed_generation,
        last_transition_time: unchanged.map_or(now, |old| old.last_transition_time.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;

    #[test]
    fn the_time_moves_only_when_the_status_does() {
        let at = |second| Time(Timestamp::from_second(second).expect("within range"));
        let ready = |status, previous: &[Condition], now| {
            condition(ConditionType::Ready, status, Reason::AsExpected, "", Some(1), previous, now)
        };
        let first = ready(ConditionStatus::True, &[], at(1));
        let same = ready(ConditionStatus::True, std::slice::from_ref(&first), at(2));
        assert_eq!(same.last_transition_time, at(1));
        let other = ready(ConditionStatus::False, &[same], at(3));
        assert_eq!(other.last_transition_time, at(3));
    }
}
