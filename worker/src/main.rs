//! `thalweg`: stream pipelines in one process, and the worker that runs them on Kubernetes.

mod cli;
mod cluster;
mod job;
mod memory;
mod metrics;
mod runtime;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    memory::hold_little();
    cli::main()
}
