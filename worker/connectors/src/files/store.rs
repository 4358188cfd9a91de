//! Listing and reading stored files, local or in S3.

use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use object_store::multipart::MultipartStore;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use serde::{Deserialize, Serialize};
use thalweg_core::error::{Error, ErrorKind, Result};
use thalweg_objects::{BucketAccess, Said};
use tokio::runtime::Handle;

use crate::blocking::blocking;

use super::location::{Location, Root};

/// A file, and what tells whether it is still the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Its path below the location's root.
    pub(crate) name: String,
    /// Bytes, as stored.
    pub(crate) size: u64,
    /// The object's version, or the time at which the file was changed.
    pub(crate) version: String,
}

/// What was found at a location.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The files, by name.
    pub(crate) files: Vec<Found>,
    /// What the location means and cannot be read, by name, and what it is.
    pub(crate) passed_over: Vec<(String, &'static str)>,
}

/// A store that objects are put into in parts.
pub(crate) trait Objects: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Objects for T {}

/// Where files are.
#[derive(Clone)]
pub(crate) enum Store {
    /// Below a folder.
    Local(PathBuf),
    /// Below a prefix of a bucket.
    Objects {
        /// The bucket.
        bucket: Arc<dyn Objects>,
        /// The prefix, without slashes at its ends.
        prefix: String,
    },
}

impl Store {
    /// The store of a location.
    ///
    /// # Errors
    /// Settings that do not make a client.
    pub(crate) fn of(location: &Location, s3: Option<&BucketAccess>) -> Result<Self> {
        let (bucket, prefix) = match &location.root {
            Root::Local(root) => return Ok(Self::Local(root.clone())),
            Root::S3 { bucket, prefix } => (bucket, prefix.clone()),
        };
        let bucket = s3.cloned().unwrap_or_default().open(&format!("`s3://{bucket}`"), bucket)?;
        Ok(Self::Objects { bucket: Arc::new(bucket), prefix })
    }

    /// Every file that a location means, by name.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(crate) async fn list(&self, location: &Location) -> Result<Vec<Found>> {
        self.look(location).await.map(|looked| looked.files)
    }

    /// Every file that a location means, by name, and what is no file.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(crate) async fn look(&self, location: &Location) -> Result<Looked> {
        let mut looked = match self {
            Self::Local(root) => {
                let (root, location) = (root.clone(), location.clone());
                blocking(move || walk(&root, &location)).await?
            }
            Self::Objects { bucket, prefix } => {
                Looked { files: list_objects(bucket.as_ref(), prefix, location).await?, ..Looked::default() }
            }
        };
        looked.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(looked)
    }

    /// A file as it is now; `None` if it is gone.
    ///
    /// # Errors
    /// The store did not answer.
    pub(crate) async fn stat(&self, name: &str, shown: &str) -> Result<Option<Found>> {
        let found = match self {
            Self::Local(root) => {
                let (path, name) = (root.join(name), name.to_owned());
                blocking(move || fs::metadata(path).map(|meta| found_local(name, &meta))).await
            }
            Self::Objects { bucket, prefix } => {
                let meta = bucket.head(&object_path(prefix, name)).await.map_err(io_error);
                meta.map(|meta| found_object(name.to_owned(), &meta))
            }
        };
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(format!("looking at `{shown}`"), &error)),
        }
    }

    /// Opens a file as it was found.
    ///
    /// # Errors
    /// It is gone, or cannot be opened.
    pub(crate) fn open(&self, found: &Found) -> io::Result<Stored> {
        match self {
            Self::Local(root) => File::open(root.join(&found.name)).map(Stored::Local),
            Self::Objects { bucket, prefix } => Ok(Stored::Object(Object {
                bucket: Arc::clone(bucket),
                path: object_path(prefix, &found.name),
                version: found.version.clone(),
                size: found.size,
                handle: Handle::current(),
            })),
        }
    }
}

/// An open file. Its methods block: call them where that is allowed.
pub(crate) enum Stored {
    /// A file.
    Local(File),
    /// An object.
    Object(Object),
}

/// One version of an object.
pub(crate) struct Object {
    bucket: Arc<dyn Objects>,
    path: object_store::path::Path,
    version: String,
    size: u64,
    handle: Handle,
}

impl Stored {
    /// Fills a buffer from byte `offset` on; less only at the file's end.
    ///
    /// # Errors
    /// `NotFound` where the file, or this version of it, is gone.
    pub(crate) fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => read_full_at(file, offset, into),
            Self::Object(object) => {
                let bytes = object.get(offset, into.len())?;
                into[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
        }
    }

    /// Fills a buffer from byte `offset` on with what is in memory already; the rest of it has to be waited for. Never blocks.
    pub(crate) fn read_cached(&self, offset: u64, into: &mut [u8]) -> usize {
        match self {
            // Where it fails, whoever waits for it is told why.
            Self::Local(file) => {
                preadv2(file, &mut [IoSliceMut::new(into)], offset, ReadWriteFlags::NOWAIT).unwrap_or_default()
            }
            Self::Object(_) => 0,
        }
    }

    /// Has a range read into memory, if the system has time; whether it does shows only in how long readers wait.
    pub(crate) fn read_ahead(&self, offset: u64, length: usize) {
        if let Self::Local(file) = self {
            let _ = fadvise(file, offset, NonZeroU64::new(length as u64), Advice::WillNeed);
        }
    }

    /// A range as bytes; shorter only at the file's end.
    ///
    /// # Errors
    /// As [`Stored::read_at`].
    pub(crate) fn range(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Self::Local(file) => {
                let mut bytes = BytesMut::zeroed(length);
                let read = read_full_at(file, offset, &mut bytes)?;
                bytes.truncate(read);
                Ok(bytes.freeze())
            }
            Self::Object(object) => object.get(offset, length),
        }
    }

    /// Bytes, as stored, now.
    ///
    /// # Errors
    /// The file system did not answer.
    pub(crate) fn now(&self, name: &str) -> io::Result<Found> {
        match self {
            Self::Local(file) => Ok(found_local(name.to_owned(), &file.metadata()?)),
            Self::Object(object) => {
                Ok(Found { name: name.to_owned(), size: object.size, version: object.version.clone() })
            }
        }
    }
}

impl Object {
    fn get(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let end = offset.saturating_add(length as u64).min(self.size);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(offset..end)),
            if_match: Some(self.version.clone()).filter(|version| !version.is_empty()),
            ..GetOptions::default()
        };
        let get = async { self.bucket.get_opts(&self.path, options).await?.bytes().await };
        self.handle.block_on(get).map_err(io_error)
    }
}

fn read_full_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read_at(&mut into[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// What to do about a file that is not the one that was listed.
pub(crate) const PUT_BACK: &str = "a file that was mended is another one: start anew with `--fresh`, or put the file back with the time it had, as \
     `cp -p` and `mv` do";

/// What a reading error means to a unit: a file that is gone took rows with it.
pub(crate) fn read_error(shown: &str, at: u64, error: &io::Error) -> Error {
    let what = format!("reading `{shown}` at byte {at}");
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::data_loss(what, "the file, or the version of it that was listed, is gone").with_hint(PUT_BACK)
        }
        io::ErrorKind::PermissionDenied if said(error).is_none() => {
            Error::user(what, error).with_hint("let the worker read it")
        }
        _ => failed(what, error),
    }
}

/// What a bucket said, if that is the cause.
fn said(error: &io::Error) -> Option<&Said> {
    error.get_ref()?.downcast_ref()
}

fn failed(what: String, error: &io::Error) -> Error {
    said(error).map_or_else(|| Error::external(&what, error), |said| said.about(&what))
}

fn io_error(error: object_store::Error) -> io::Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } | object_store::Error::Precondition { .. } => io::ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, Said::of(&error))
}

/// The path of a name below a prefix.
pub(crate) fn object_path(prefix: &str, name: &str) -> object_store::path::Path {
    let joined = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    object_store::path::Path::parse(&joined).unwrap_or_else(|_| object_store::path::Path::from(joined))
}

async fn list_objects(bucket: &dyn Objects, prefix: &str, location: &Location) -> Result<Vec<Found>> {
    let under = (!prefix.is_empty()).then(|| object_store::path::Path::from(prefix));
    let what = || format!("listing `{}`", location.shown(&location.rest));
    let mut objects = bucket.list(under.as_ref());
    let mut found = Vec::new();
    while let Some(meta) = objects.try_next().await.map_err(|error| thalweg_objects::error(what(), &error))? {
        let path = meta.location.as_ref();
        let name = path.strip_prefix(prefix).unwrap_or(path).trim_start_matches('/');
        if location.matches(name) && !is_hidden(&location.rest, name) {
            found.push(found_object(name.to_owned(), &meta));
        }
    }
    Ok(found)
}

fn list_error(what: String, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => ErrorKind::User,
        _ => ErrorKind::External,
    };
    Error::new(kind, what, error)
}

/// All files that a location means; none where its root does not exist.
fn walk(root: &Path, location: &Location) -> Result<Looked> {
    let start = if location.glob.is_some() { String::new() } else { location.rest.clone() };
    let (mut looked, mut folders) = (Looked::default(), Vec::new());
    let what = |name: &str| format!("listing `{}`", location.shown(name));
    match fs::metadata(root.join(&start)) {
        Ok(meta) if meta.is_dir() => folders.push((start, 0)),
        Ok(meta) if meta.is_file() => {
            looked.files.push(found_local(start, &meta));
            return Ok(looked);
        }
        // A pipe cannot be read again from a position, and to open one may take for ever.
        Ok(_) => return Err(Error::user(what(&start), format!("expected a file or a folder, found {NO_FILE}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if is_link(&root.join(&start)) {
                looked.passed_over.push((start, DANGLING));
            }
            return Ok(looked);
        }
        Err(error) => return Err(list_error(what(&start), &error)),
    }
    while let Some((folder, depth)) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder)).map_err(|error| list_error(what(&folder), &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| list_error(what(&folder), &error))?;
            let Some(name) = below(&folder, &entry.file_name()) else { continue };
            match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_dir() => {
                    if descends(location, depth) {
                        folders.push((name, depth + 1));
                    }
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(list_error(what(&name), &error)),
                _ if !location.matches(&name) => {}
                Ok(meta) if meta.is_file() => looked.files.push(found_local(name, &meta)),
                Ok(_) => looked.passed_over.push((name, NO_FILE)),
                Err(_) if is_link(&entry.path()) => looked.passed_over.push((name, DANGLING)),
                // What is gone by now is no file.
                Err(_) => {}
            }
        }
    }
    Ok(looked)
}

/// What may have a file's name.
const NO_FILE: &str = "a pipe, socket or device";
const DANGLING: &str = "a link to what does not exist";

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}

/// How deep folders are followed where the pattern sets no limit: a symbolic link may lead back.
const MAX_DEPTH: usize = 32;

fn descends(location: &Location, depth: usize) -> bool {
    depth < location.depth().unwrap_or(MAX_DEPTH)
}

/// The name of an entry of a folder; `None` for what writers keep to themselves (`.part`, `_SUCCESS`).
fn below(folder: &str, name: &std::ffi::OsStr) -> Option<String> {
    let Some(name) = name.to_str() else {
        tracing::warn!(folder, ?name, "passed over: the name is not UTF-8");
        return None;
    };
    let hidden = name.starts_with(['.', '_']);
    (!hidden).then(|| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") })
}

/// Whether a part of the name that the user did not write is hidden.
fn is_hidden(rest: &str, name: &str) -> bool {
    let below = name.strip_prefix(rest).unwrap_or(name);
    below.split('/').any(|part| part.starts_with(['.', '_']))
}

fn found_object(name: String, meta: &ObjectMeta) -> Found {
    Found { name, size: meta.size, version: meta.e_tag.clone().unwrap_or_default() }
}

fn found_local(name: String, meta: &fs::Metadata) -> Found {
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let nanos = modified.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Found { name, size: meta.len(), version: nanos.to_string() }
}
