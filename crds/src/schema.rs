//! The columns that a source declares.

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::column_type::{ColumnType, ColumnTypeError};

/// One column of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!(has(self.from) && has(self.metadata))",
    "from reads a field of the record and metadata a fact about it: give one of them"
))]
pub struct Column {
    /// Its name in SQL.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Flink's name of its type, such as `BIGINT`, `TIMESTAMP(3)` or `DECIMAL(10, 2)` (quoted in flow style).
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = crate::pattern::TYPE_NAME))]
    #[x_kube(validation = (
        "!self.matches('^[^)]*[(][^)]*$')",
        "the type ends inside its parentheses: where a comma cut it in two, quote it, such as \"DECIMAL(10, 2)\""
    ))]
    pub data_type: String,
    /// The record's field that it is read from; by default that of its own name. Dots reach into nested objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub from: Option<String>,
    /// A fact about the record instead of a field: what a connector offers (`file`, `partition`, `position`, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub metadata: Option<String>,
    /// Whether it may be null; a missing field is null.
    #[serde(default = "yes")]
    pub nullable: bool,
    /// The value of a missing field: a text, a number, true or false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_scalar")]
    pub default: Option<Value>,
}

impl Column {
    /// Parses the written type. `NOT NULL` in the text is part of the result.
    pub fn column_type(&self) -> Result<ColumnType, ColumnTypeError> {
        self.data_type.parse()
    }
}

fn yes() -> bool {
    true
}

/// Without a type, since it is that of the column; so no CEL rule can see it.
fn any_scalar(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// The schema of a map of short texts.
pub(crate) fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 4096 },
    })
}
