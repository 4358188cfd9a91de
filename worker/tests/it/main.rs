//! The `thalweg` binary, from outside: real processes, real files.

#![expect(clippy::disallowed_methods, reason = "from outside, real processes take real time")]

mod command;
mod kills;
mod oracle;
mod output;
mod s3;
mod windows;
