//! `blackhole`: reads every column, counts rows, keeps an order-free checksum, discards them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the `blackhole` sink: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlackholeSink {}
