//! What a `files` source or sink was told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg_crds::connector::{Compression as WrittenCompression, FilesSink, FilesSource, Order as WrittenOrder};
use thalweg_objects::BucketAccess;

/// Settings of a `files` source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSourceConfig {
    /// A path, a folder, a glob, or `s3://bucket/…` of the same kinds.
    pub url: String,
    /// What a relative path starts from: the folder of the manifest.
    pub base_dir: PathBuf,
    /// How the files are compressed; `None` goes by each file's suffix.
    pub compression: Option<Compression>,
    /// How often new files and new lines are looked for; `None` reads what is there at first start, once.
    pub watch: Option<Duration>,
    /// Whether it is fine that no file matches.
    pub allow_empty: bool,
    /// What the names say about event time.
    pub order: Order,
    /// How many files are read side by side.
    pub lanes: u32,
    /// A longer record is skipped and reported.
    pub max_record_bytes: usize,
    /// How much text a chunk holds, about.
    pub chunk_bytes: usize,
    /// How to reach an `s3://` URL.
    pub s3: Option<BucketAccess>,
    /// Whether a file that cannot be read is told of in the log: where its only bad record may go without a word.
    pub tells_unread: bool,
}

impl FilesSourceConfig {
    /// The documented defaults for a URL.
    pub fn new(url: impl Into<String>, base_dir: impl Into<PathBuf>) -> Self {
        Self {
            url: url.into(),
            base_dir: base_dir.into(),
            compression: None,
            watch: None,
            allow_empty: false,
            order: Order::Any,
            lanes: 8,
            max_record_bytes: 10 << 20,
            chunk_bytes: 1 << 20,
            s3: None,
            tells_unread: false,
        }
    }

    /// What a resource says; `folder` is that of its manifest.
    pub fn resolve(written: &FilesSource, folder: &Path, max_record_bytes: usize, s3: Option<BucketAccess>) -> Self {
        Self {
            compression: match written.compression {
                WrittenCompression::Auto => None,
                WrittenCompression::None => Some(Compression::None),
                WrittenCompression::Gzip => Some(Compression::Gzip),
                WrittenCompression::Zstd => Some(Compression::Zstd),
            },
            watch: written.watch.map(|every| every.as_std()),
            allow_empty: written.allow_empty,
            order: match written.order {
                WrittenOrder::Any => Order::Any,
                WrittenOrder::ByName => Order::ByName,
            },
            lanes: written.lanes.unsigned_abs().max(1),
            max_record_bytes,
            s3,
            ..Self::new(&written.url, folder)
        }
    }
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952), of one member or several.
    Gzip,
    /// Zstandard (RFC 8878), of one frame or several.
    Zstd,
}

impl Compression {
    /// What the suffix of a name says.
    pub fn of_name(name: &str) -> Self {
        let suffix = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        match suffix.as_str() {
            "gz" | "gzip" => Self::Gzip,
            "zst" | "zstd" => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What the names of files say about event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Nothing: a file that was not read yet may hold any event time.
    #[default]
    Any,
    /// They follow it: the watermark goes on from file to file.
    ByName,
}

/// Settings of a `files` sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSinkConfig {
    /// The folder, or `s3://bucket/prefix`.
    pub url: String,
    /// What a relative path starts from: the folder of the manifest.
    pub base_dir: PathBuf,
    /// The columns, or `date(column)` and `hour(column)`, that name the folders.
    pub partition_by: Vec<String>,
    /// The age at which a file is sealed.
    pub roll_every: Duration,
    /// The size at which a file is sealed.
    pub roll_bytes: u64,
    /// How to reach an `s3://` URL.
    pub s3: Option<BucketAccess>,
}

impl FilesSinkConfig {
    /// The documented defaults for a URL.
    pub fn new(url: impl Into<String>, base_dir: impl Into<PathBuf>) -> Self {
        Self {
            url: url.into(),
            base_dir: base_dir.into(),
            partition_by: Vec::new(),
            roll_every: Duration::from_secs(60),
            roll_bytes: 128 << 20,
            s3: None,
        }
    }

    /// What a resource says; `folder` is that of its manifest.
    pub fn resolve(written: &FilesSink, folder: &Path, s3: Option<BucketAccess>) -> Self {
        Self {
            partition_by: written.partition_by.clone(),
            roll_every: written.roll.every.as_std(),
            roll_bytes: written.roll.size.get(),
            s3,
            ..Self::new(&written.url, folder)
        }
    }
}
