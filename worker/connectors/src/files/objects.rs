//! Output into a bucket: uploads in parts, which nobody sees until they are completed.
//!
//! A name is chosen when an upload starts, before its seal is known, so it says which life of the writer made it and
//! not which seal. Uploads that are never completed (their writer died) do not show; a lifecycle rule of the bucket
//! removes them (`AbortIncompleteMultipartUpload`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Cause, Error, ErrorKind, Result};
use thalweg_core::sink::Label;

use super::names::{ObjectName, WriterName};
use super::publish::{SealedFile, SealedFiles, Stage, StagedFile, Target};
use super::store::{Objects, object_path};

/// Bytes of a part; S3 wants at least 5 MiB, and at most 10,000 parts.
const PART_BYTES: usize = 8 << 20;

/// How long a bucket may take to say whether it has an object; its client tries again for minutes, and is silent meanwhile.
const ANSWER: Duration = Duration::from_secs(10);
/// The object that is asked for, which nobody makes.
const ASKED: &str = ".thalweg-check";

/// Counts the lives of writers of this process.
static LIVES: AtomicU64 = AtomicU64::new(0);

/// A prefix of a bucket for output.
#[derive(Clone)]
pub(crate) struct ObjectFolder {
    bucket: Arc<dyn Objects>,
    prefix: String,
    shown: String,
    clock: SharedClock,
}

impl ObjectFolder {
    /// The objects below `prefix`, which people call `shown`.
    pub(crate) fn new(bucket: Arc<dyn Objects>, prefix: String, shown: String, clock: SharedClock) -> Self {
        Self { bucket, prefix, shown, clock }
    }

    fn token(&self) -> String {
        let (process, life) = (std::process::id(), LIVES.fetch_add(1, Ordering::Relaxed));
        format!("{:012x}x{process:x}x{life:x}", self.clock.wall_millis())
    }

    fn path(&self, name: &str) -> Path {
        object_path(&self.prefix, name)
    }

    fn error(&self, name: &str, error: object_store::Error) -> Error {
        thalweg_objects::error(format!("writing `{name}` to `{}`", self.shown), &error)
    }
}

#[async_trait]
impl Target for ObjectFolder {
    async fn check(&self) -> Result<()> {
        let name = format!(".thalweg-check-{}", self.token());
        let path = self.path(&name);
        let put = self.bucket.put(&path, PutPayload::from_static(b"x")).await;
        put.map_err(|error| self.error(&name, error))?;
        self.bucket.delete(&path).await.map_err(|error| self.error(&name, error))
    }

    async fn answers(&self) -> Result<(), String> {
        match tokio::time::timeout(ANSWER, self.bucket.head(&self.path(ASKED))).await {
            Ok(Ok(_) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => match self.error(ASKED, error) {
                error if error.kind == ErrorKind::External => Err(error.detail),
                // It refuses, so it is there.
                _ => Ok(()),
            },
            Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
        }
    }

    async fn stage(&self, writer: &WriterName) -> Result<Box<dyn Stage>> {
        let next = ObjectName { writer: writer.clone(), token: self.token(), count: 0 };
        Ok(Box::new(ObjectStage { folder: self.clone(), next }))
    }

    fn names_after_seal(&self) -> bool {
        false
    }

    async fn output_of(&self, pipeline: &str, suffix: &str) -> Result<Option<String>> {
        let under = (!self.prefix.is_empty()).then(|| object_path("", &self.prefix));
        let mut objects = self.bucket.list(under.as_ref());
        loop {
            let next = objects.try_next().await;
            let meta = match next.map_err(|error| thalweg_objects::error(format!("listing `{}`", self.shown), &error)) {
                Ok(Some(meta)) => meta,
                Ok(None) => return Ok(None),
                // A key that may write and not list is enough for everything else.
                Err(error) if error.cause == Some(Cause::Denied) => {
                    tracing::warn!(%error, "whether there is output of an earlier start is not known");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let name = meta.location.filename().and_then(|name| ObjectName::parse(name, suffix));
            if name.is_some_and(|name| name.writer.pipeline == pipeline && name.writer.incarnation.is_kept()) {
                let path = meta.location.as_ref();
                let below = path.strip_prefix(self.prefix.as_str()).unwrap_or(path);
                return Ok(Some(below.trim_start_matches('/').to_owned()));
            }
        }
    }
}

/// One life of a writer.
struct ObjectStage {
    folder: ObjectFolder,
    /// What the next object is called.
    next: ObjectName,
}

#[async_trait]
impl Stage for ObjectStage {
    async fn create(&mut self, folder: &str, suffix: &str) -> Result<Box<dyn StagedFile>> {
        let name = self.next.with_suffix(suffix);
        let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        self.next.count += 1;
        let (folder, parts) = (self.folder.clone(), Vec::new());
        let upload = Upload { id: String::new(), name, parts, bytes: 0 };
        Ok(Box::new(ObjectFile { folder, upload, buffer: Vec::new(), key: String::new() }))
    }

    async fn seal(
        &mut self,
        files: Vec<Box<dyn StagedFile>>,
        _names: Vec<String>,
        label: &Label,
    ) -> Result<SealedFiles> {
        let files = files.iter().map(|file| {
            let upload = Upload::parse(file.key())?;
            Ok(SealedFile { staged: file.key().to_owned(), name: upload.name, bytes: upload.bytes })
        });
        Ok(SealedFiles { label: label.clone(), files: files.collect::<Result<_>>()? })
    }

    async fn publish(&mut self, sealed: &SealedFiles) -> Result<()> {
        for file in &sealed.files {
            let upload = Upload::parse(&file.staged)?;
            self.folder.complete(&upload).await?;
        }
        Ok(())
    }

    async fn last_published(&mut self, _suffix: &str) -> Result<Option<Label>> {
        Ok(None)
    }
}

impl ObjectFolder {
    /// Shows an upload; done before already: changes nothing.
    async fn complete(&self, upload: &Upload) -> Result<()> {
        let path = self.path(&upload.name);
        let parts = upload.parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
        let Err(error) = self.bucket.complete_multipart(&path, &upload.id, parts).await else { return Ok(()) };
        match self.bucket.head(&path).await {
            Ok(found) if found.size == upload.bytes => Ok(()),
            Ok(found) => {
                let detail = format!("expected {} bytes, found {}", upload.bytes, found.size);
                Err(Error::data_loss(format!("publishing `{}` in `{}`", upload.name, self.shown), detail))
            }
            Err(object_store::Error::NotFound { .. }) if matches!(error, object_store::Error::NotFound { .. }) => {
                let what = format!("publishing `{}` in `{}`", upload.name, self.shown);
                let lost = Error::data_loss(what, "its upload, which holds its rows, is gone");
                Err(lost.with_hint("let the bucket keep unfinished uploads for some days"))
            }
            Err(_) => Err(self.error(&upload.name, error)),
        }
    }
}

/// An upload in words that any other worker understands.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Upload {
    id: String,
    name: String,
    parts: Vec<String>,
    bytes: u64,
}

impl Upload {
    fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::internal("reading a sealed upload", error))
    }
}

/// An object of which some parts are uploaded.
struct ObjectFile {
    folder: ObjectFolder,
    upload: Upload,
    buffer: Vec<u8>,
    key: String,
}

impl ObjectFile {
    async fn put(&mut self) -> Result<()> {
        let path = self.folder.path(&self.upload.name);
        let folder = &self.folder;
        let error = |error| folder.error(&self.upload.name, error);
        if self.upload.id.is_empty() {
            self.upload.id = folder.bucket.create_multipart(&path).await.map_err(error)?;
        }
        let (index, bytes) = (self.upload.parts.len(), std::mem::take(&mut self.buffer));
        self.upload.bytes += bytes.len() as u64;
        let part = folder.bucket.put_part(&path, &self.upload.id, index, bytes.into()).await.map_err(error)?;
        self.upload.parts.push(part.content_id);
        Ok(())
    }
}

#[async_trait]
impl StagedFile for ObjectFile {
    async fn append(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.buffer.extend_from_slice(&bytes);
        if self.buffer.len() >= PART_BYTES { self.put().await } else { Ok(()) }
    }

    async fn complete(&mut self) -> Result<()> {
        if !self.buffer.is_empty() || self.upload.parts.is_empty() {
            self.put().await?;
        }
        let key = serde_json::to_string(&self.upload);
        self.key = key.map_err(|error| Error::internal("recording an upload", error))?;
        Ok(())
    }

    fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    fn key(&self) -> &str {
        &self.key
    }
}
