//! Manifests on disk, checked by the rules that the API server would apply, with line and column.
//!
//! The way of a manifest: [`yaml`] reads text into a tree that knows its places → `check` walks the generated schema,
//! then the CEL rules → [`load()`] makes typed items of it → [`resolve()`] follows the references between them. Each step
//! reports every [`Problem`] that it finds; [`load_pipelines`] does all of it.

mod check;
pub mod load;
pub mod place;
pub mod problem;
pub mod resolve;
pub mod yaml;

pub use load::{
    ConfigMap, Item, Manifests, load, load_pipelines, pipelines_of_text, read, read_pipelines, read_pipelines_of_text,
    read_text,
};
pub use place::{Origin, Position};
pub use problem::{Problem, Problems};
pub use resolve::{ColumnInput, ResolvedColumn, ResolvedPipeline, ResolvedSink, ResolvedSource, Unread, resolve};
