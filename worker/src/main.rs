//! `thalweg`: stream pipelines in one process, and the workers that run them on Kubernetes or on one machine.

mod budget;
mod cli;
mod cluster;
mod coordinator;
mod job;
mod memory;
mod metrics;
mod runtime;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    memory::hold_little();
    cli::main()
}
