//! What the positions of a source depend on: settings that stay as they were for as long as its state is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thalweg_core::error::{Error, Result};

use super::config::{Compression, FilesSourceConfig, Order};

/// What to do about other settings.
const PUT_BACK: &str = "put it back, or start all of it anew: --fresh, in a cluster another restart.nonce";

/// Settings by their fields, as people are told of them: how files are dealt to splits, what an offset counts, and what a lane
/// says of event time. One that means nothing beside the others is not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Shape(BTreeMap<String, String>);

impl Shape {
    /// The shape of a source that has these settings.
    pub(crate) fn of(config: &FilesSourceConfig, is_text: bool) -> Self {
        let is_watched = config.watch.is_some();
        let mut fields = vec![
            ("files.watch", if is_watched { "set".to_owned() } else { "absent".to_owned() }),
            ("format", if is_text { "json or csv".to_owned() } else { "parquet".to_owned() }),
        ];
        if is_text {
            fields.push(("files.compression", compression(config.compression).to_owned()));
        }
        if !is_watched {
            fields.push(("files.order", order(config.order).to_owned()));
        }
        if !is_watched && config.order == Order::ByName {
            fields.push(("files.lanes", config.lanes.to_string()));
        }
        Self(fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect())
    }

    /// That a source of `url` whose positions are of this shape may go on with another one.
    ///
    /// # Errors
    /// *User*: it may not; each difference is named.
    pub(crate) fn check(&self, now: &Self, url: &str) -> Result<()> {
        let difference = |(field, was): (&String, &String)| {
            let is = now.0.get(field).filter(|is| *is != was)?;
            Some(format!("`{field}` was {was}, is {is}"))
        };
        let differences: Vec<_> = self.0.iter().filter_map(difference).collect();
        if differences.is_empty() {
            return Ok(());
        }
        let detail = format!("positions that are kept mean nothing any more: {}", differences.join("; "));
        Err(Error::user(format!("`files.url` `{url}`"), detail).with_hint(PUT_BACK))
    }
}

fn compression(written: Option<Compression>) -> &'static str {
    match written {
        None => "Auto",
        Some(Compression::None) => "None",
        Some(Compression::Gzip) => "Gzip",
        Some(Compression::Zstd) => "Zstd",
    }
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Any => "Any",
        Order::ByName => "ByName",
    }
}
