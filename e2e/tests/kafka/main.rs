//! The `thalweg` binary against a real Kafka: `make e2e`.

#![expect(clippy::disallowed_methods, reason = "from outside, real processes take real time")]

mod at_least_once;
mod avro;
mod bad_input;
mod corrupt;
mod csv;
mod etl;
mod events;
mod headers;
mod kills;
mod leaders;
mod msk;
mod permissions;
mod place;
mod rejected;
mod security;
mod starts;
mod tokens;
mod windows;
