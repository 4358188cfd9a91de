//! What is asked of a soak.

use std::path::PathBuf;
use std::time::Duration;

use thalweg_e2e::deck::Kind;

/// Read from the environment.
#[derive(Debug)]
pub struct Settings {
    /// How long faults are drawn.
    pub length: Duration,
    /// Another one draws other faults.
    pub seed: u64,
    /// Input.
    pub rows_per_second: u64,
    /// Whether windows keep their state in a folder, not in a bucket.
    pub in_folder: bool,
    /// Seconds until a silent worker's units are given to others.
    pub silence_seconds: u64,
    /// The kinds of faults that are drawn.
    pub kinds: Vec<Kind>,
    /// Where logs are copied to.
    pub keep: Option<PathBuf>,
}

impl Settings {
    /// Defaults where nothing is set.
    ///
    /// # Panics
    /// A variable holds what it cannot.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let number = |name: &str, default: f64| {
            variable(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}: not a number")))
        };
        let kinds = variable("SOAK_FAULTS").map_or_else(
            || Kind::ALL.to_vec(),
            |names| {
                names.split(',').map(|name| Kind::named(name).unwrap_or_else(|| panic!("no fault `{name}`"))).collect()
            },
        );
        Self {
            length: Duration::from_secs_f64(number("SOAK_MINUTES", 10.0) * 60.0),
            seed: number("SOAK_SEED", 1.0) as u64,
            rows_per_second: number("SOAK_ROWS", 1_000.0) as u64,
            in_folder: variable("SOAK_STATE").is_some_and(|state| state == "folder"),
            silence_seconds: number("SOAK_SILENCE", 8.0) as u64,
            kinds,
            keep: variable("SOAK_KEEP").map(PathBuf::from),
        }
    }
}
