//! What is assumed of workers and sinks, and what the user wants.

use std::str::FromStr;

use thalweg_crds::scaling::ScalingSpec;

/// What is assumed of workers and sinks, and what the user wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Records a second that a worker does.
    pub capacity: f64,
    /// From asking for a worker until it serves.
    pub start_seconds: u32,
    /// For how long a split stands still that moves.
    pub pause_seconds: u32,
    /// When the sink takes nothing.
    pub stalls: Vec<Stall>,
    /// As in the pipeline's spec.
    pub scaling: ScalingSpec,
}

impl Settings {
    /// Seconds of lag that are aimed at.
    pub fn target_lag_seconds(&self) -> f64 {
        self.scaling.target_lag.as_std().as_secs_f64()
    }

    /// The fewest workers that are kept while there is something to do.
    pub(crate) fn least(&self) -> usize {
        usize::try_from(self.scaling.min_workers).unwrap_or_default()
    }

    /// The most workers, of which none is without a split.
    pub(crate) fn most(&self, splits: usize) -> usize {
        usize::try_from(self.scaling.max_workers).unwrap_or_default().clamp(1, splits.max(1))
    }

    /// Whether the sink takes nothing in a second.
    pub(crate) fn is_stalled(&self, second: u32) -> bool {
        self.stalls.iter().any(|stall| (stall.from..stall.to).contains(&second))
    }
}

/// A time in which the sink takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Its first second.
    pub from: u32,
    /// The first second after it.
    pub to: u32,
}

impl FromStr for Stall {
    type Err = String;

    /// Reads `FROM-TO`, in seconds.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is no interval; expected seconds FROM-TO, such as 3600-4200");
        let (from, to) = text.split_once('-').ok_or_else(expected)?;
        let stall = Self { from: from.parse().map_err(|_| expected())?, to: to.parse().map_err(|_| expected())? };
        if stall.from < stall.to { Ok(stall) } else { Err(expected()) }
    }
}
