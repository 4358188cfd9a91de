//! A `files` source: lanes of whole files, or, watched, each file a lane of its own.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use thalweg_core::append_log::AppendLog;
use thalweg_core::clock::SharedClock;
use thalweg_core::decode::BadClass;
use thalweg_core::error::{Error, Result};
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::source::{Source, Split, SplitReader};

use super::block::Blocks;
use super::buffers::Buffers;
use super::config::{Compression, FilesSourceConfig};
use super::footer;
use super::listing::{Lister, Listing, no_file};
use super::location::Location;
use super::parquet::ParquetBlocks;
use super::place;
use super::reader::{Dealt, FilesReader};
use super::shape::Shape;
use super::store::{Found, Store, Stored, read_error};
use super::text::{TextBlocks, TextOptions, check_unchanged, header};
use super::unfit::{OpenError, UnfitBlocks};
use crate::blocking::blocking;
use crate::formats::Framing;

/// What the files hold.
#[derive(Clone)]
pub enum Records {
    /// Text.
    Text {
        /// How records are told apart.
        framing: Framing,
        /// Who takes the header line that each file starts with; `None` where there is none.
        header: Option<Arc<dyn Headers>>,
    },
    /// Apache Parquet.
    Parquet {
        /// The columns that are read, by their names in the files, with the types that are expected of them.
        columns: SchemaRef,
    },
}

/// Takes the header lines of files, before any chunk of theirs is given.
pub trait Headers: Send + Sync {
    /// The header of a piece, its newline included.
    ///
    /// # Errors
    /// It names no column that must be there.
    fn set_header(&self, piece: &Arc<str>, header: &[u8]) -> Result<()>;
}

/// Watched files are read in turns, so many at a time.
const WATCHED: usize = 16;

/// A `files` source.
pub struct FilesSource {
    files: Arc<Files>,
}

/// What a source and its readers share.
pub(crate) struct Files {
    pub(crate) config: FilesSourceConfig,
    shape: Shape,
    records: Records,
    location: Location,
    pub(crate) store: Store,
    pub(crate) lister: Lister,
    buffers: Arc<Buffers>,
}

impl FilesSource {
    /// A source whose list of files is kept in `log`.
    ///
    /// # Errors
    /// A URL that names nothing, or settings of S3 that do not make a client.
    pub fn new(
        config: FilesSourceConfig,
        records: Records,
        log: Arc<dyn AppendLog>,
        clock: SharedClock,
    ) -> Result<Self> {
        let location = Location::parse(&config.url, &config.base_dir)?;
        let store = Store::of(&location, config.s3.as_ref())?;
        Ok(Self::over(store, location, config, records, Lister::new(log, clock)))
    }

    /// A source over a store.
    pub(crate) fn over(
        store: Store,
        location: Location,
        config: FilesSourceConfig,
        records: Records,
        lister: Lister,
    ) -> Self {
        let buffers = Arc::new(Buffers::new(config.chunk_bytes));
        let shape = Shape::of(&config, matches!(records, Records::Text { .. }));
        Self { files: Arc::new(Files { config, shape, records, location, store, lister, buffers }) }
    }
}

/// The columns of the Parquet files that a source names: those of the first file by name.
///
/// # Errors
/// No file matches, or the first one is no Parquet file.
pub async fn parquet_columns(config: &FilesSourceConfig) -> Result<SchemaRef> {
    let location = Location::parse(&config.url, &config.base_dir)?;
    let store = Store::of(&location, config.s3.as_ref())?;
    let found = store.list(&location).await?;
    let Some(first) = found.into_iter().next() else { return Err(no_file(config)) };
    let shown = location.shown(&first.name);
    blocking(move || {
        let stored = store.open(&first).map_err(|error| read_error(&shown, 0, &error))?;
        footer::check(&stored, &first.name, &shown).map_err(|error| error.into_error(&shown))?;
        ParquetBlocks::columns_of(stored, &first, &shown)
    })
    .await
}

#[async_trait]
impl Source for FilesSource {
    async fn splits(&self) -> Result<Vec<Split>> {
        let files = &self.files;
        files.lister.refreshed(&files.store, &files.location, &files.config, &files.shape).await?;
        Ok(files.lister.with(|listing| splits(listing, self.grows())))
    }

    fn grows(&self) -> bool {
        self.files.config.watch.is_some()
    }

    /// `FILE:OFFSET`, a byte of the text or a row.
    fn show(&self, split: &SplitId, position: Position) -> String {
        let known = self.files.lister.with(|listing| entries(listing, split.as_str(), self.grows()));
        let entry = usize::try_from(position.entry).ok();
        match entry.and_then(|entry| known?.0.into_iter().nth(entry)) {
            Some(found) => format!("{}:{}", self.files.shown(&found), position.offset),
            None => position.to_string(),
        }
    }

    async fn open(&self, split: &SplitId, from: Position) -> Result<Box<dyn SplitReader>> {
        let (entries, dealt) = self.files.entries(split).await?;
        Ok(Box::new(FilesReader::new(Arc::clone(&self.files), entries, dealt, from)))
    }

    async fn describe(&self, split: &SplitId, position: Position, column: Option<usize>) -> String {
        let entries = self.files.entries(split).await.map_or_else(|_| Vec::new(), |(entries, _)| entries);
        let Some(found) = usize::try_from(position.entry).ok().and_then(|entry| entries.get(entry)).cloned() else {
            return format!("{split}, position {position}");
        };
        let shown = self.files.shown(&found);
        let offset = u64::try_from(position.offset).unwrap_or(u64::MAX);
        let text = self.files.is_text();
        let files = Arc::clone(&self.files);
        let place = blocking(move || place::find(&files.store, &found, files.compression(&found), offset)).await;
        place::describe(&shown, text, place, offset, column)
    }
}

impl Files {
    /// How big a file was when it was last seen, by its number in the list.
    pub(crate) async fn last_size(&self, number: u32) -> Result<u64> {
        self.lister.last_size(number, &self.config, &self.shape).await
    }

    /// Gives memory back: a file that was read has nothing new.
    pub(crate) fn rest(&self) {
        self.buffers.clear();
    }

    /// The files of a split, in order.
    async fn entries(&self, split: &SplitId) -> Result<(Vec<Found>, Dealt)> {
        let known = || self.lister.with(|listing| entries(listing, split.as_str(), self.config.watch.is_some()));
        if let Some(known) = known() {
            return Ok(known);
        }
        self.lister.update(&self.config, &self.shape).await?;
        known().ok_or_else(|| Error::internal(format!("opening split `{split}`"), "it was never listed"))
    }

    /// A file as people know it.
    pub(crate) fn shown(&self, found: &Found) -> Arc<str> {
        self.location.shown(&found.name).into()
    }

    /// Whether the files are text, whose offsets are bytes.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.records, Records::Text { .. })
    }

    /// Whether an offset in a file is one of the bytes that are stored.
    pub(crate) fn is_plain(&self, found: &Found) -> bool {
        self.is_text() && self.compression(found) == Compression::None
    }

    /// How a file is compressed. Parquet has its own ways.
    pub(crate) fn compression(&self, found: &Found) -> Compression {
        match self.records {
            Records::Text { .. } => self.config.compression.unwrap_or_else(|| Compression::of_name(&found.name)),
            Records::Parquet { .. } => Compression::None,
        }
    }

    /// Opens a file at an offset; one that is not what it should be gives a bad record. Blocks.
    ///
    /// # Errors
    /// The file is gone, or another; storage failed.
    pub(crate) fn blocks(&self, found: &Found, entry: u64, from: u64) -> Result<Box<dyn Blocks>> {
        match self.open_blocks(found, entry, from) {
            Ok(blocks) => Ok(blocks),
            Err(OpenError::Failed(error)) => Err(error),
            Err(OpenError::Unfit(class, message)) => {
                if self.config.tells_unread {
                    tracing::warn!("`{}` is not read: {message}", self.shown(found));
                }
                Ok(Box::new(UnfitBlocks::new(Position::within(entry, from), class, &message, found.size)))
            }
        }
    }

    /// How many splits are read at a time, at the most.
    pub(crate) fn readers(&self) -> usize {
        let listed = || self.lister.with(Listing::used_lanes) as usize;
        if self.config.watch.is_some() { WATCHED } else { listed().max(1) }
    }

    fn open_blocks(&self, found: &Found, entry: u64, from: u64) -> Result<Box<dyn Blocks>, OpenError> {
        let shown = self.shown(found);
        let stored = self.store.open(found).map_err(|error| read_error(&shown, from, &error))?;
        let stored = Arc::new(stored);
        if self.config.watch.is_none() {
            check_unchanged(&stored, found, &shown, from)?;
        }
        match &self.records {
            Records::Text { framing, header } => {
                let options = TextOptions {
                    shown,
                    entry,
                    compression: self.compression(found),
                    framing: *framing,
                    grows: self.config.watch.is_some(),
                    buffers: Arc::clone(&self.buffers),
                    max_record_bytes: self.config.max_record_bytes,
                    tells_unread: self.config.tells_unread,
                };
                text_blocks(stored, found, from, options, header.as_deref())
            }
            Records::Parquet { columns } => {
                let at = Position::within(entry, from);
                let opened = ParquetBlocks::open(Arc::clone(&stored), found, &shown, columns, at, self.readers());
                let is_watched = self.config.watch.is_some();
                let opened = opened.map_err(|error| footer::explained(error, &stored, &found.name, &shown));
                if opened.is_err() && !is_watched {
                    check_unchanged(&stored, found, &shown, from)?;
                }
                opened
                    .map(|blocks| blocks.telling(self.config.tells_unread).watched(is_watched))
                    .map(|blocks| Box::new(blocks) as Box<dyn Blocks>)
                    .map_err(|error| self.judged(&shown, error))
            }
        }
    }
}

impl Files {
    /// A Parquet file that may still be growing has no footer yet: it must not be passed over.
    fn judged(&self, shown: &str, error: OpenError) -> OpenError {
        match error {
            OpenError::Unfit(BadClass::Decode, message) if self.config.watch.is_some() => {
                let hint = "move files into a watched folder once they are whole";
                OpenError::Failed(Error::user(format!("reading `{shown}`"), message).with_hint(hint))
            }
            error => error,
        }
    }
}

fn text_blocks(
    stored: Arc<Stored>,
    found: &Found,
    from: u64,
    options: TextOptions,
    headers: Option<&dyn Headers>,
) -> Result<Box<dyn Blocks>, OpenError> {
    let mut behind = 0;
    if let Some(headers) = headers.filter(|_| found.size > 0 || options.grows) {
        match header(&stored, &options)? {
            Some(line) => {
                headers.set_header(&options.shown, &line).map_err(OpenError::schema)?;
                behind = line.len() as u64;
            }
            None => return Ok(Box::new(Nothing)),
        }
    }
    let blocks = TextBlocks::open(stored, found.clone(), from.max(behind), options)?;
    Ok(Box::new(if from < behind { blocks.after_header(from) } else { blocks }))
}

/// A file whose header is not there yet.
struct Nothing;

impl Blocks for Nothing {
    fn next(&mut self) -> Result<Option<super::block::Block>> {
        Ok(None)
    }
}

/// The splits of a list: each file, where it may grow, or lanes.
fn splits(listing: &Listing, grows: bool) -> Vec<Split> {
    if grows {
        let id = |index: usize| SplitId::new(format!("file-{index}"));
        let split = |(index, file): (usize, &Found)| Split { id: id(index), size: Some(listing.last_size(file)) };
        return listing.files.iter().enumerate().map(split).collect();
    }
    let split = |lane| Split {
        id: SplitId::new(format!("lane-{lane}")),
        size: Some(listing.lane(lane).iter().map(|file| file.size).sum()),
    };
    (0..listing.used_lanes()).map(split).collect()
}

fn entries(listing: &Listing, split: &str, watched: bool) -> Option<(Vec<Found>, Dealt)> {
    if watched {
        let index: u32 = split.strip_prefix("file-")?.parse().ok()?;
        let file = listing.files.get(index as usize)?;
        return Some((vec![file.clone()], Dealt { first: index, step: 0 }));
    }
    let lane: u32 = split.strip_prefix("lane-")?.parse().ok()?;
    (lane < listing.used_lanes()).then(|| (listing.lane(lane), Dealt { first: lane, step: listing.lanes }))
}
