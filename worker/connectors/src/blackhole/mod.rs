//! `blackhole`: reads every value, counts rows, keeps an order-free checksum, and shows nothing.

mod hash;
mod sink;

pub use sink::{BlackholeSink, BlackholeStats};
