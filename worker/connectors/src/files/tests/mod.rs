//! Real files in temporary folders.

mod broken;
mod kit;
mod lanes;
mod sinks;
mod watched;
