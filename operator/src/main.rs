//! The operator: turns the three resources into running workers.

fn main() {}
