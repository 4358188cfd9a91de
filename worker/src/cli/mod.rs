//! The command line: what was said ([`args`]), and one module a command.

mod args;
mod cells;
mod check;
mod coordinator;
mod explain;
mod generate;
#[cfg(test)]
mod guarantees;
mod kubernetes;
mod operator;
mod pause;
mod progress;
mod record_trace;
#[cfg(test)]
mod reference;
mod remove_state;
mod run;
mod signals;
mod simulate;
mod status;
mod summary;
mod top;
mod worker;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use args::{Args, Command};
#[cfg(test)]
pub use coordinator::answer;

/// The exit codes that scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// Something failed while it ran.
    Failed = 1,
    /// The command line or a manifest is wrong; nothing was run.
    Wrong = 2,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    // Set once and first: a rustls builder without a provider panics.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let args = Args::parse();
    if let Err(error) = log_to_stderr(args.log.as_deref(), Logs::of(&args.command)) {
        tell(&format!("error: --log `{}`: {error}", args.log.unwrap_or_default()));
        return ExitCode::from(Exit::Wrong as u8);
    }
    let exit = match args.command {
        Command::Run(args) => run::run(args),
        Command::Worker(args) => worker::run(args),
        Command::DevCoordinator(args) => coordinator::run(&args),
        Command::RemoveState(args) => remove_state::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Generate(args) => generate::generate(&args),
        Command::Status(args) => status::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Pause(args) => pause::run(&args, true),
        Command::Resume(args) => pause::run(&args, false),
        Command::SimulateScaling(args) => simulate::run(&args),
        Command::RecordTrace(args) => record_trace::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "thalweg", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    };
    ExitCode::from(exit as u8)
}

/// For whom logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logs {
    /// People: lines, and only what is amiss.
    People,
    /// People who look at how work is shared out: lines, and what changes.
    Developers,
    /// A cluster's collector: an object a line, with the pipeline and the unit that it speaks of.
    Collector,
}

impl Logs {
    fn of(command: &Command) -> Self {
        match command {
            Command::Worker(_) => Self::Collector,
            Command::DevCoordinator(_) => Self::Developers,
            _ => Self::People,
        }
    }
}

fn log_to_stderr(filter: Option<&str>, logs: Logs) -> Result<(), ParseError> {
    // What the Kafka client says we tell in our own words, or it is no fault: a broker that is away, a client dropped.
    let usual = match logs {
        Logs::People => "warn,krafka=off",
        Logs::Developers | Logs::Collector => "info,krafka=off",
    };
    let filter = EnvFilter::try_new(filter.unwrap_or(usual))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match logs {
        Logs::People | Logs::Developers => log.with_ansi(std::io::stderr().is_terminal()).init(),
        Logs::Collector => log.json().flatten_event(true).with_span_list(false).init(),
    }
    Ok(())
}

/// Writes to standard output; a reader that has gone away (`| head`) is no error, a full disk is one.
pub fn print(text: &str) -> Exit {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            tell(&format!("error: writing to standard output: {error}"));
            Exit::Failed
        }
        _ => Exit::Done,
    }
}

/// Writes a line for people.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
