//! Other autoscalers, by their published formulas. Where the model leaves a choice, it is the one that is better for them.

mod flink;
mod keda;
mod numaflow;

use std::collections::VecDeque;

pub use flink::{Flink, FlinkSettings};
pub use keda::Keda;
pub use numaflow::Numaflow;

/// The mean of the last so many figures.
#[derive(Clone, Debug)]
struct Window {
    length: usize,
    figures: VecDeque<f64>,
    sum: f64,
}

impl Window {
    fn new(length: u32) -> Self {
        Self { length: length as usize, figures: VecDeque::new(), sum: 0.0 }
    }

    fn push(&mut self, figure: f64) {
        self.figures.push_back(figure);
        self.sum += figure;
        if self.figures.len() > self.length {
            self.sum -= self.figures.pop_front().unwrap_or_default();
        }
    }

    fn clear(&mut self) {
        self.figures.clear();
        self.sum = 0.0;
    }

    fn is_full(&self) -> bool {
        self.figures.len() >= self.length
    }

    fn mean(&self) -> f64 {
        // Sums of many differences are not exactly 0 again.
        let mean = self.sum / self.figures.len().max(1) as f64;
        if mean < 1e-3 { 0.0 } else { mean }
    }
}

#[cfg(test)]
mod tests;
