//! The contract: every resource that users, the operator and the workers share.
//!
//! | To find | look in |
//! |---|---|
//! | one resource: spec, status, printer columns | [`source`], [`sink`], [`pipeline`], [`assignment`] |
//! | the settings of a connector | [`connector`], one file each |
//! | formats, columns and their types | [`mod@format`], [`schema`], [`column_type`] |
//! | the parts of a pipeline's spec | [`scaling`], [`state`], [`worker`] |
//! | conditions and their reasons | [`condition`] |
//! | scalars as Kubernetes writes them | [`duration`], [`quantity`], [`address`] |
//! | patterns of texts, and the sentences about them | [`pattern`] |
//! | references to Secrets and ConfigMaps, TLS, SASL | [`secret`] |
//! | names and numbers that must not be mixed up | [`ids`] |
//! | what a worker tells the operator | [`report`] |
//! | which start from scratch a plan belongs to | [`restart`] |
//! | which statements go on from plan to plan, and the numbers of their stages | [`statements`] |
//! | the custom resource definitions, as the chart ships them | [`definition`] |
//! | manifests on disk, checked by the same rules, with line and column | [`manifest`] |
//!
//! Types here say what was *written*; what it means is resolved later (by the loader in one process, by the
//! operator's `validate` in a cluster). So no type is stricter than its schema: one odd object never stops a watch.

// Each printer column and rule is an attribute of its own; that some parts are equal is no mistake.
#![allow(clippy::duplicated_attributes)]

pub mod address;
pub mod assignment;
pub mod column_type;
pub mod condition;
pub mod connector;
pub mod definition;
pub mod duration;
pub mod format;
pub mod ids;
pub mod manifest;
pub mod names;
pub mod pattern;
pub mod pipeline;
pub mod quantity;
pub mod report;
pub mod restart;
pub mod scaling;
pub mod schema;
pub mod secret;
pub mod sink;
pub mod source;
pub mod state;
pub mod statements;
pub mod worker;

pub use column_type::ColumnType;
pub use pipeline::{PipelineSpec, StreamPipeline};
pub use sink::{SinkSpec, StreamSink};
pub use source::{SourceSpec, StreamSource};

/// The API group of every Thalweg resource.
pub const GROUP: &str = "thalweg.dev";

/// The one version that is served.
pub const VERSION: &str = "v1alpha1";

/// `apiVersion` as a manifest writes it.
pub const API_VERSION: &str = "thalweg.dev/v1alpha1";
