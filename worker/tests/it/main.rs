//! The `thalweg` binary, from outside: real processes, real files.

mod command;
mod kills;
mod output;
mod resume;
mod watch;
mod windows;
