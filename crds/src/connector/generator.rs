//! `generator`: made-up records, the same ones for the same seed, whatever the rate.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the `generator` source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.taxi), has(self.nexmark), has(self.schema)].filter(given, given).size() == 1",
    "exactly one kind of record is expected: taxi, nexmark or schema"
))]
pub struct GeneratorSource {
    /// Taxi trips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taxi: Option<TaxiTrips>,
    /// The auctions of the Nexmark benchmark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nexmark: Option<Nexmark>,
    /// Values for each declared column by its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaRows>,
    /// The same seed makes the same records.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub seed: i64,
    /// Records a second over all splits; absent, as fast as they are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub rows_per_second: Option<i64>,
    /// How many records over all splits; absent, without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub rows: Option<i64>,
    /// Into how many splits the records are dealt.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 4096))]
    pub splits: i32,
}

impl GeneratorSource {
    /// The one kind of record; `None` where not exactly one is written, which the schema refuses.
    pub fn kind(&self) -> Option<Rows<'_>> {
        match (&self.taxi, &self.nexmark, &self.schema) {
            (Some(taxi), None, None) => Some(Rows::Taxi(taxi)),
            (None, Some(nexmark), None) => Some(Rows::Nexmark(nexmark)),
            (None, None, Some(schema)) => Some(Rows::Schema(schema)),
            _ => None,
        }
    }
}

fn one() -> i32 {
    1
}

/// The one kind of record that is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rows<'a> {
    /// Taxi trips.
    Taxi(&'a TaxiTrips),
    /// Nexmark's auctions.
    Nexmark(&'a Nexmark),
    /// Values by type.
    Schema(&'a SchemaRows),
}

/// Taxi trips with the fields of the public trip records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!(has(self.hotZone) && has(self.coordinates) && self.coordinates)",
    "trips with coordinates have no zone: leave out hotZone or coordinates"
))]
pub struct TaxiTrips {
    /// Trips a second of event time.
    #[serde(default = "a_thousand")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub events_per_second: i32,
    /// A zone in which half of the trips start; absent, all zones are alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 265))]
    pub hot_zone: Option<i32>,
    /// Carry coordinates instead of location ids, as the public records of older years do.
    #[serde(default)]
    pub coordinates: bool,
    /// Share of trips, 0 to 1, that come minutes to hours after their time.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub late_rate: f64,
    /// Share of trips, 0 to 1, that come twice.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub duplicate_rate: f64,
    /// Share of records, 0 to 1, that are broken JSON.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub broken_rate: f64,
}

impl Default for TaxiTrips {
    fn default() -> Self {
        Self {
            events_per_second: a_thousand(),
            hot_zone: None,
            coordinates: false,
            late_rate: 0.0,
            duplicate_rate: 0.0,
            broken_rate: 0.0,
        }
    }
}

fn a_thousand() -> i32 {
    1_000
}

/// The Nexmark benchmark's persons, auctions and bids, 1 : 3 : 46.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nexmark {}

/// Values for each declared column by its type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRows {}
