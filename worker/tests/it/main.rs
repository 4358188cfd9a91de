//! The `thalweg` binary, from outside: real processes, real files.

#![expect(clippy::disallowed_methods, reason = "from outside, real processes take real time")]

mod addresses;
mod bad_input;
mod command;
mod documents;
mod examples;
mod explain;
mod folder;
mod kills;
mod oracle;
mod output;
mod parquet;
mod resume;
mod s3;
mod stalled;
mod statements;
mod usage;
mod watch;
mod windows;
