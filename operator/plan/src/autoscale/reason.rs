//! Why there are to be so many workers, and from which figures.

use std::fmt;

/// Why there are to be so many workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// They are enough, and not too many.
    Enough,
    /// Records wait for longer than a third of the target, and more workers would change that.
    Behind,
    /// A worker is almost always busy.
    Busy,
    /// Fewer are enough, and have been for long.
    Idle,
    /// Nothing has come for long.
    Silent,
    /// Something came while there was no worker.
    Woken,
    /// One worker has more of the load than others: work moves among them, and there are as many as before.
    Uneven,
    /// Somebody else says how many.
    Manual,
    /// Another number would be right, and something stands against it.
    Held(Hold),
}

/// What stands against another number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// Workers wait for their sinks: more of them would wait, too.
    SinkBound,
    /// One split or key group is more than a worker can do: more of them do not help it.
    ShardBound,
    /// The last step up has brought hardly anything.
    Ineffective,
    /// Something is not known, or was reported too long ago. Unknown is not zero.
    MetricsStale,
    /// Pods that were asked for do not come.
    Quota,
    /// Splits or units are between two owners.
    Rebalancing,
    /// `minWorkers` or `maxWorkers`.
    Bounds,
    /// There are as many workers as units already.
    TooFewUnits,
}

impl Hold {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SinkBound,
        Self::ShardBound,
        Self::Ineffective,
        Self::MetricsStale,
        Self::Quota,
        Self::Rebalancing,
        Self::Bounds,
        Self::TooFewUnits,
    ];

    /// As it stands in conditions and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SinkBound => "SinkBound",
            Self::ShardBound => "ShardBound",
            Self::Ineffective => "Ineffective",
            Self::MetricsStale => "MetricsStale",
            Self::Quota => "Quota",
            Self::Rebalancing => "Rebalancing",
            Self::Bounds => "Bounds",
            Self::TooFewUnits => "TooFewUnits",
        }
    }

    /// What it means and what to do, in a sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::SinkBound => "workers wait for their sinks; more workers would not help, faster sinks do",
            Self::ShardBound => {
                "one split or key group alone is more than a worker can do; divide it (more partitions, other keys) or give \
                 workers more CPU"
            }
            Self::Ineffective => {
                "the last workers that were added brought less than a fifth of what they should; look for what workers \
                 share: a store, a network, a broker"
            }
            Self::MetricsStale => {
                "some workers have not reported lately, or lag is not known; nothing is changed on it"
            }
            Self::Quota => "pods that were asked for do not come; see the Deployment's events: a quota, or no room",
            Self::Rebalancing => "splits or units are between two workers; decided once they have arrived",
            Self::Bounds => "scaling.minWorkers or scaling.maxWorkers forbids what the load asks for",
            Self::TooFewUnits => {
                "the load asks for more workers than there are units; more partitions, more state.keyGroups in a new pipeline, \
                 or more CPU for workers"
            }
        }
    }
}

impl Reason {
    /// As it stands in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enough => "Enough",
            Self::Behind => "Behind",
            Self::Busy => "Busy",
            Self::Idle => "Idle",
            Self::Silent => "Silent",
            Self::Woken => "Woken",
            Self::Uneven => "Uneven",
            Self::Manual => "Manual",
            Self::Held(hold) => hold.as_str(),
        }
    }

    /// In a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Enough => "the workers are enough, and not too many",
            Self::Behind => "records wait for longer than a third of scaling.targetLag",
            Self::Busy => "a worker is busy for more than 90 % of its time",
            Self::Idle => "fewer workers have been enough for long enough",
            Self::Silent => "nothing has come for scaling.zeroAfter",
            Self::Woken => "records have come",
            Self::Uneven => "one worker has more of the load than others",
            Self::Manual => "scaling.mode is Manual",
            Self::Held(hold) => hold.advice(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The figures that a decision was taken from; absent where not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Records a second that come in.
    pub arrivals: Option<f64>,
    /// Records that wait.
    pub lag_records: Option<u64>,
    /// Age of the oldest of them, in seconds.
    pub lag_seconds: Option<f64>,
    /// How busy the busiest worker is, 0 to 1.
    pub busy: Option<f64>,
    /// Share of the workers' time spent waiting for a sink, 0 to 1.
    pub blocked: Option<f64>,
    /// Records a second of one worker, as learnt.
    pub capacity: Option<f64>,
    /// How many workers hold the load, whatever the bounds say.
    pub needed: Option<usize>,
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: Option<f64>| share.map(|share| format!("{} %", rounded(share * 100.0, 0)));
        let whole = |figure: Option<f64>| figure.map(|figure| rounded(figure, 0));
        let parts = [
            ("arrivals", whole(self.arrivals), "/s"),
            ("lag", self.lag_records.map(|records| records.to_string()), " records"),
            ("lag time", self.lag_seconds.map(|seconds| rounded(seconds, 1)), " s"),
            ("busiest worker", percent(self.busy), ""),
            ("blocked", percent(self.blocked), ""),
            ("capacity of a worker", whole(self.capacity), "/s"),
            ("workers needed", self.needed.map(|needed| needed.to_string()), ""),
        ];
        for (at, (name, value, unit)) in parts.into_iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            match value {
                Some(value) => write!(f, "{separator}{name} {value}{unit}")?,
                None => write!(f, "{separator}{name} unknown")?,
            }
        }
        Ok(())
    }
}

/// A figure to so many digits. What rounds to zero has no sign: the sum of nothing is minus zero.
fn rounded(figure: f64, digits: usize) -> String {
    let shown = format!("{figure:.digits$}");
    match shown.strip_prefix('-') {
        Some(zero) if zero.bytes().all(|digit| matches!(digit, b'0' | b'.')) => zero.to_owned(),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounds_to_zero_has_no_sign() {
        let nothing: f64 = std::iter::empty::<f64>().sum();
        let inputs =
            Inputs { blocked: Some(nothing), busy: Some(-0.001), lag_seconds: Some(-0.04), ..Inputs::default() };
        let shown = inputs.to_string();
        assert!(shown.contains("lag time 0.0 s, busiest worker 0 %, blocked 0 %"), "{shown}");
        let early = Inputs { lag_seconds: Some(-1.25), ..Inputs::default() };
        assert!(early.to_string().contains("lag time -1.2 s"), "{early}");
    }
}
