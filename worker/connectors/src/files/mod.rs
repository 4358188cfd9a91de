//! `files`: local paths, globs and S3, in and out.
//!
//! In: [`location`] says what is meant, [`listing`] which files that are, once and for all, [`shape`] which settings go with
//! that list, [`identity`] whether a watched one still is what was read; [`reader`] goes through a lane of them, and takes
//! [`block`]s of whole records from [`text`] (into [`buffers`], over [`input`]; what need not be read to be delimited stays
//! [`unread`] until it is decoded) or [`parquet`] (after a look at its [`footer`]); one that is [`unfit`] gives a bad record.
//!
//! Out: a [`writer`] deals rows to folders ([`partition`]) and encodes them into unseen files, which a [`publish`]
//! target ([`local`], [`objects`]) shows under [`names`] that say who wrote them.

mod block;
mod buffers;
mod columns;
pub mod config;
mod encoding;
mod footer;
mod identity;
mod input;
mod listing;
mod local;
mod location;
mod names;
mod objects;
mod parquet;
mod partition;
mod place;
mod publish;
mod reader;
mod shape;
mod sink;
mod source;
mod store;
mod text;
mod unfit;
mod unread;
mod writer;

#[cfg(test)]
mod tests;

pub use columns::ColumnsDecoder;
pub use config::{Compression, FilesSinkConfig, FilesSourceConfig, Order};
pub use encoding::Encoding;
pub use sink::FilesSink;
pub use source::{FilesSource, Headers, Records, parquet_columns};
