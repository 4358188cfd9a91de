//! The `thalweg` binary, from outside: real processes, real files.

mod bad_input;
mod command;
mod kills;
mod output;
mod windows;
