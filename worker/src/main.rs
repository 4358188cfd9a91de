//! `thalweg`: the worker, and everything that runs without a cluster.

mod runtime;

fn main() {}
