//! Loads that are made from a seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thalweg_crds::scaling::ScalingSpec;

use crate::settings::{Settings, Stall};
use crate::trace::Trace;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A day: a sine with bursts, and a sink that stalls for ten minutes.
    Daily,
    /// A random walk with spikes.
    Walk,
    /// A batch each 15 minutes.
    Batches,
    /// One split has 40 % of the load.
    Hot,
    /// A slow leak upward.
    Leak,
    /// Silence for hours.
    Silence,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Daily, Self::Walk, Self::Batches, Self::Hot, Self::Leak, Self::Silence];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Walk => "walk",
            Self::Batches => "batches",
            Self::Hot => "hot",
            Self::Leak => "leak",
            Self::Silence => "silence",
        }
    }

    const fn hours(self) -> u32 {
        match self {
            Self::Daily => 24,
            Self::Leak => 12,
            Self::Silence => 10,
            Self::Walk | Self::Batches | Self::Hot => 6,
        }
    }

    const fn splits(self) -> usize {
        match self {
            Self::Daily | Self::Walk | Self::Leak => 24,
            Self::Batches | Self::Hot => 16,
            Self::Silence => 12,
        }
    }
}

/// A load of a kind, with what is assumed of its workers: 1,000 records a second each, 20 s to start one, 2 s to move a
/// split. Silence may be scaled to zero, the others keep one worker.
pub fn made(kind: Kind, seed: u64) -> (Trace, Settings) {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ ((kind as u64 + 1) << 32));
    let seconds = kind.hours() * 3_600;
    let totals = totals(kind, seconds, &mut random);
    let trace = spread(&totals, &shares(kind, &mut random), &mut random);
    let stalls = match kind {
        Kind::Daily => {
            let from = random.random_range(8..20) * 3_600 + random.random_range(0..3_000);
            vec![Stall { from, to: from + 600 }]
        }
        _ => Vec::new(),
    };
    let scaling = ScalingSpec {
        min_workers: i32::from(kind != Kind::Silence),
        max_workers: kind.splits() as i32,
        ..ScalingSpec::default()
    };
    let settings = Settings { capacity: 1_000.0, start_seconds: 20, pause_seconds: 2, stalls, scaling };
    (trace, settings)
}

/// Records of all splits, second by second.
fn totals(kind: Kind, seconds: u32, random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut totals: Vec<f64> =
        (0..seconds).map(f64::from).map(|second| base(kind, second, f64::from(seconds))).collect();
    match kind {
        Kind::Daily => bursts(&mut totals, 12, 120..360, 1.4..2.2, random),
        Kind::Walk => {
            walk(&mut totals, random);
            bursts(&mut totals, 16, 30..120, 1.5..3.0, random);
        }
        Kind::Batches => totals.iter_mut().zip(0..).for_each(|(total, second): (&mut f64, u32)| {
            if second % 900 < 120 {
                *total = 8_000.0;
            }
        }),
        Kind::Silence => {
            let mut from = random.random_range(600..1_800);
            while from < totals.len() {
                let until = (from + random.random_range(1_200..2_400)).min(totals.len());
                let level = random.random_range(1_500.0..5_000.0);
                totals[from..until].iter_mut().for_each(|total| *total = level);
                from = until + random.random_range(5_400..10_800);
            }
        }
        Kind::Hot | Kind::Leak => {}
    }
    totals
}

fn base(kind: Kind, second: f64, seconds: f64) -> f64 {
    let wave = |period: f64| (second / period * std::f64::consts::TAU).sin();
    match kind {
        Kind::Daily => 5_500.0 - 4_000.0 * (second / 86_400.0 * std::f64::consts::TAU).cos(),
        Kind::Walk => 4_000.0,
        Kind::Batches => 200.0,
        Kind::Hot => 1_450.0 + 450.0 * wave(7_200.0),
        Kind::Leak => 1_000.0 + 12_000.0 * second / seconds,
        Kind::Silence => 0.0,
    }
}

/// Multiplies some stretches.
fn bursts(
    totals: &mut [f64],
    count: usize,
    lengths: std::ops::Range<usize>,
    factors: std::ops::Range<f64>,
    random: &mut ChaCha8Rng,
) {
    for _ in 0..count {
        let from = random.random_range(0..totals.len());
        let until = (from + random.random_range(lengths.clone())).min(totals.len());
        let factor = random.random_range(factors.clone());
        totals[from..until].iter_mut().for_each(|total| *total *= factor);
    }
}

/// A random walk of the logarithm, a step each ten seconds, that is drawn back to where it began.
fn walk(totals: &mut [f64], random: &mut ChaCha8Rng) {
    let mut at = 0.0f64;
    for stretch in totals.chunks_mut(10) {
        at = at * 0.998 + random.random_range(-0.06..0.06);
        stretch.iter_mut().for_each(|total| *total *= at.exp());
    }
}

/// What part of the load each split has.
fn shares(kind: Kind, random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut shares: Vec<f64> = (0..kind.splits()).map(|_| random.random_range(0.7..1.3)).collect();
    if kind == Kind::Hot {
        let others: f64 = shares[1..].iter().sum();
        shares[0] = others * 0.4 / 0.6;
    }
    let sum: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

/// Divides a load among splits, each up to a tenth off, second by second.
fn spread(totals: &[f64], shares: &[f64], random: &mut ChaCha8Rng) -> Trace {
    let mut arrivals = Vec::with_capacity(totals.len() * shares.len());
    for total in totals {
        arrivals.extend(shares.iter().map(|share| (total * share * random.random_range(0.9..1.1)).round() as f32));
    }
    Trace::new(shares.len(), arrivals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_load_and_another_one_another() {
        for kind in Kind::ALL {
            assert_eq!(made(kind, 1), made(kind, 1));
            assert_ne!(made(kind, 1).0, made(kind, 2).0, "{kind:?}");
        }
    }

    #[test]
    fn the_hot_split_has_two_fifths() {
        let (trace, _) = made(Kind::Hot, 3);
        let sum = |split: Option<usize>| -> f64 {
            let of = |second| split.map_or_else(|| trace.at(second).iter().sum(), |split| trace.at(second)[split]);
            (0..trace.seconds()).map(of).map(f64::from).sum()
        };
        assert!((sum(Some(0)) / sum(None) - 0.4).abs() < 0.01);
    }
}
