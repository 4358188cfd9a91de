//! `stdout`: rows on the terminal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the `stdout` sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StdoutSink {
    /// How rows are printed.
    #[serde(default)]
    pub style: Style,
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Style {
    /// An aligned table.
    #[default]
    Table,
    /// One JSON object a line.
    Json,
}
