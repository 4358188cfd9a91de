//! A `files` sink: whole files, published one after another.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Error, Result};
use thalweg_core::share::Share;
use thalweg_core::sink::{Capability, Sink, SinkWriter, WriterId};

use super::config::{FilesSinkConfig, FilesSourceConfig};
use super::encoding::Encoding;
use super::local::LocalFolder;
use super::location::Location;
use super::names::{WriterName, pipeline_name};
use super::objects::ObjectFolder;
use super::partition::Partitioner;
use super::publish::Target;
use super::store::Store;
use super::writer::FilesWriter;
use crate::outage::Watch;

/// A `files` sink.
pub struct FilesSink {
    files: Arc<Output>,
}

/// What a sink and its writers share.
pub(crate) struct Output {
    pub(crate) config: FilesSinkConfig,
    pub(crate) encoding: Encoding,
    pub(crate) partitioner: Partitioner,
    pub(crate) target: Arc<dyn Target>,
    /// Writers that live: they share what may be held in memory.
    pub(crate) writers: AtomicUsize,
    /// What they may hold together with those of the pipeline's other sinks.
    pub(crate) memory: Share,
    /// Whether the place answers whoever writes.
    watch: Watch,
}

impl Output {
    /// Does something with the place, and while it takes long asks whether that answers.
    pub(crate) async fn watched<T>(&self, doing: impl Future<Output = Result<T>>) -> Result<T> {
        self.watch.over(doing, || self.target.answers()).await
    }
}

impl FilesSink {
    /// A sink into a folder.
    ///
    /// # Errors
    /// A URL that names none, a partition key that is none.
    pub fn new(config: FilesSinkConfig, encoding: Encoding, clock: SharedClock) -> Result<Self> {
        let location = Location::folder(&config.url, &config.base_dir)?;
        let store = Store::of(&location, config.s3.as_ref())?;
        Self::into(store, config, encoding, clock)
    }

    /// The same, within a share of memory; by default it has no limit but its own.
    pub fn within(mut self, memory: &Share) -> Self {
        if let Some(output) = Arc::get_mut(&mut self.files) {
            output.memory = memory.clone();
        }
        self
    }

    /// That rows of a schema can be written: into which folders, and in which format.
    ///
    /// # Errors
    /// *User*: a partition key that is no column or of another type, a column that the format does not have.
    pub fn check_rows(&self, schema: &SchemaRef) -> Result<()> {
        let none = RecordBatch::new_empty(Arc::clone(schema));
        let kept = self.files.partitioner.kept_schema(schema);
        if !self.files.partitioner.is_none() {
            self.files.partitioner.split(&none)?;
        }
        let mut encoder = self.files.encoding.encoder(&kept, 0)?;
        encoder.write(&RecordBatch::new_empty(kept), &mut Vec::new())
    }

    /// Whether a source of this URL would read what is written here.
    pub fn is_read_by(&self, source: &FilesSourceConfig) -> bool {
        let Output { config, encoding, .. } = &*self.files;
        let folder = Location::folder(&config.url, &config.base_dir);
        let source = Location::parse(&source.url, &source.base_dir);
        let name = format!("file.{}", encoding.suffix());
        folder.is_ok_and(|folder| source.is_ok_and(|source| source.means(&folder, config.partition_by.len(), &name)))
    }

    /// A sink into a store.
    pub(crate) fn into(store: Store, config: FilesSinkConfig, encoding: Encoding, clock: SharedClock) -> Result<Self> {
        let partitioner = Partitioner::parse(&config.partition_by)?;
        let shown = config.url.clone();
        let watch = Watch::new("the store".to_owned(), clock.clone());
        let target: Arc<dyn Target> = match store {
            Store::Local(root) => Arc::new(LocalFolder::new(root, shown, clock)),
            Store::Objects { bucket, prefix } => Arc::new(ObjectFolder::new(bucket, prefix, shown, clock)),
        };
        let (writers, memory) = (AtomicUsize::new(0), Share::default());
        Ok(Self { files: Arc::new(Output { config, encoding, partitioner, target, writers, memory, watch }) })
    }
}

#[async_trait]
impl Sink for FilesSink {
    fn capability(&self) -> Capability {
        let direct = self.files.partitioner.is_none() && self.files.target.names_after_seal();
        Capability::SealAndPublish { direct }
    }

    async fn check(&self) -> Result<()> {
        self.files.target.check().await
    }

    async fn has_output_of(&self, pipeline: &str) -> Result<Option<String>> {
        self.files.target.output_of(&pipeline_name(pipeline), self.files.encoding.suffix()).await
    }

    async fn writer(&self, id: &WriterId) -> Result<Box<dyn SinkWriter>> {
        let name = WriterName::from(id);
        let stage = self.files.target.stage(&name).await?;
        Ok(Box::new(FilesWriter::new(Arc::clone(&self.files), name, stage)))
    }

    fn outage(&self) -> Option<Error> {
        let said = self.files.watch.told()?;
        let away = Error::external(format!("writing to `{}`", self.files.config.url), said);
        Some(away.with_hint("is the store up, and does its network let workers through?"))
    }

    async fn finish(&self) -> Result<()> {
        Ok(())
    }
}
