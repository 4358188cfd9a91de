//! A pipeline that is killed again and again.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::place::Place;

/// Kills a pipeline so often, each time after a random time; how far it came does not matter. Says how long that took.
pub async fn kill_again_and_again(place: &Place, words: &[&str], times: usize, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..times {
        let run = place.run(words);
        tokio::time::sleep(Duration::from_millis(random.random_range(300..2_500))).await;
        run.kill();
    }
}
