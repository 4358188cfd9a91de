//! What the processes of a history share: time, chance, and what is out of order just now.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::entropy;

/// When histories begin: 2026-01-01T00:00:00Z, in milliseconds since 1970.
pub const BEGINNING: i64 = 1_767_225_600_000;

/// What stands outside of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Kafka.
    Broker,
    /// The object store under the units' state.
    Objects,
    /// Leases and assignment.
    Control,
}

/// How a system answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// The longest that a request takes on its way.
    pub slowest: Duration,
    /// How many requests of one are lost before anything was done.
    pub fails: f64,
    /// How many are carried out, and their answers lost.
    pub loses: f64,
}

/// All is well.
pub const FAIR: Weather = Weather { slowest: Duration::from_millis(6), fails: 0.0, loses: 0.0 };

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It never arrives.
    Lost,
    /// It is carried out, and nobody hears of it.
    AnswerLost,
}

/// The world of one history.
pub struct World(Mutex<State>);

struct State {
    now: Duration,
    rng: ChaCha8Rng,
    weather: [Weather; 3],
    cuts: BTreeSet<(usize, usize)>,
    trace: u64,
    notes: u64,
    is_told: bool,
}

impl World {
    /// A world in which all is well.
    pub fn new(seed: u64, is_told: bool) -> Self {
        entropy::set_wall_clock(BEGINNING);
        Self(Mutex::new(State {
            now: Duration::ZERO,
            rng: ChaCha8Rng::seed_from_u64(seed),
            weather: [FAIR; 3],
            cuts: BTreeSet::new(),
            trace: 0xcbf2_9ce4_8422_2325,
            notes: 0,
            is_told,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the history began.
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// It is so late now.
    pub fn set_now(&self, now: Duration) {
        self.state().now = now;
        entropy::set_wall_clock(BEGINNING + i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    }

    /// Draws.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        draw(&mut self.state().rng)
    }

    /// How a system answers from now on.
    pub fn set_weather(&self, system: System, weather: Weather) {
        self.state().weather[system as usize] = weather;
    }

    /// Sends a request on its way, and tells what becomes of it. Answers are as slow as requests.
    pub async fn travel(&self, system: System) -> Fate {
        let (pause, fate) = self.chance(system);
        tokio::time::sleep(pause).await;
        fate
    }

    /// What becomes of a request, and how long it takes.
    pub fn chance(&self, system: System) -> (Duration, Fate) {
        let mut state = self.state();
        let Weather { slowest, fails, loses } = state.weather[system as usize];
        let micros = u64::try_from(slowest.as_micros()).unwrap_or(u64::MAX);
        let pause = Duration::from_micros(state.rng.random_range(500..=micros));
        let luck: f64 = state.rng.random();
        let fate = match () {
            () if luck < fails => Fate::Lost,
            () if luck < fails + loses => Fate::AnswerLost,
            () => Fate::Answered,
        };
        (pause, fate)
    }

    /// Cuts two workers off from each other, or no longer.
    pub fn set_cut(&self, between: (usize, usize), is_cut: bool) {
        let pair = ordered(between);
        let mut state = self.state();
        if is_cut {
            state.cuts.insert(pair);
        } else {
            state.cuts.remove(&pair);
        }
    }

    /// Whether two workers do not reach each other.
    pub fn is_cut(&self, between: (usize, usize)) -> bool {
        self.state().cuts.contains(&ordered(between))
    }

    /// Notes what has happened: two runs of one history note the same.
    pub fn note(&self, what: impl Display) {
        let mut state = self.state();
        let text = format!("{:9.3} {what}", state.now.as_secs_f64());
        for byte in text.bytes() {
            state.trace = (state.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        state.notes += 1;
        if state.is_told {
            println!("{text}");
        }
    }

    /// A number for all that was noted (FNV-1a), and how much that was.
    pub fn trace(&self) -> (u64, u64) {
        let state = self.state();
        (state.trace, state.notes)
    }
}

fn ordered((one, other): (usize, usize)) -> (usize, usize) {
    (one.min(other), one.max(other))
}
