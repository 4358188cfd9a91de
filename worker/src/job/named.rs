//! Sources and sinks whose errors say which resource they are about.

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_core::error::{Error, Result};
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::sink::{Capability, Label, Rejected, Sealed, Sink, SinkWriter, WriterId};
use thalweg_core::source::{LogBounds, Read, Source, Split, SplitReader};
use thalweg_core::unit::UnitId;

/// A part of a resource.
pub struct Named<T: ?Sized> {
    resource: Arc<str>,
    inner: T,
}

/// A source of the resource, such as `StreamSource/trips`.
pub fn source(resource: &str, inner: Arc<dyn Source>) -> Arc<dyn Source> {
    Arc::new(Named { resource: resource.into(), inner })
}

/// A sink of the resource, such as `StreamSink/counts`.
pub fn sink(resource: &str, inner: Arc<dyn Sink>) -> Arc<dyn Sink> {
    Arc::new(Named { resource: resource.into(), inner })
}

impl<T> Named<T> {
    fn tell<V>(&self, result: Result<V>) -> Result<V> {
        result.map_err(|error| error.of(&self.resource))
    }
}

#[async_trait]
impl Source for Named<Arc<dyn Source>> {
    async fn splits(&self) -> Result<Vec<Split>> {
        self.tell(self.inner.splits().await)
    }

    fn grows(&self) -> bool {
        self.inner.grows()
    }

    fn waits(&self) -> bool {
        self.inner.waits()
    }

    fn is_in_doubt(&self) -> bool {
        self.inner.is_in_doubt()
    }

    fn show(&self, split: &SplitId, position: Position) -> String {
        self.inner.show(split, position)
    }

    async fn bounds(&self, split: &SplitId) -> Result<Option<LogBounds>> {
        self.tell(self.inner.bounds(split).await)
    }

    fn outage(&self, split: &SplitId) -> Option<Error> {
        self.inner.outage(split).map(|error| error.of(&self.resource))
    }

    async fn show_taken(&self, taken: &[(SplitId, Position)]) {
        self.inner.show_taken(taken).await;
    }

    async fn open(&self, split: &SplitId, from: Position) -> Result<Box<dyn SplitReader>> {
        let inner = self.tell(self.inner.open(split, from).await)?;
        Ok(Box::new(Named { resource: Arc::clone(&self.resource), inner }))
    }

    async fn describe(&self, split: &SplitId, position: Position, column: Option<usize>) -> String {
        self.inner.describe(split, position, column).await
    }
}

#[async_trait]
impl SplitReader for Named<Box<dyn SplitReader>> {
    async fn read(&mut self, until: Option<Position>) -> Result<Read> {
        let read = self.inner.read(until).await;
        self.tell(read)
    }

    fn progress(&self) -> u64 {
        self.inner.progress()
    }
}

#[async_trait]
impl Sink for Named<Arc<dyn Sink>> {
    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn check(&self) -> Result<()> {
        self.tell(self.inner.check().await)
    }

    async fn has_output_of(&self, pipeline: &str) -> Result<Option<String>> {
        self.tell(self.inner.has_output_of(pipeline).await)
    }

    async fn prepare(&self, units: &[UnitId]) -> Result<()> {
        self.tell(self.inner.prepare(units).await)
    }

    async fn writer(&self, id: &WriterId) -> Result<Box<dyn SinkWriter>> {
        let inner = self.tell(self.inner.writer(id).await)?;
        Ok(Box::new(Named { resource: Arc::clone(&self.resource), inner }))
    }

    fn outage(&self) -> Option<Error> {
        self.inner.outage().map(|error| error.of(&self.resource))
    }

    async fn finish(&self) -> Result<()> {
        self.tell(self.inner.finish().await)
    }
}

#[async_trait]
impl SinkWriter for Named<Box<dyn SinkWriter>> {
    async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let written = self.inner.write(rows).await;
        self.tell(written)
    }

    fn rejected(&mut self) -> Vec<Rejected> {
        self.inner.rejected()
    }

    fn wants_seal(&self, age: Duration) -> bool {
        self.inner.wants_seal(age)
    }

    async fn seal(&mut self, label: &Label) -> Result<Option<Sealed>> {
        let sealed = self.inner.seal(label).await;
        self.tell(sealed)
    }

    async fn publish(&mut self, sealed: &Sealed) -> Result<()> {
        let published = self.inner.publish(sealed).await;
        self.tell(published)
    }

    async fn deliver(&mut self, label: &Label) -> Result<()> {
        let delivered = self.inner.deliver(label).await;
        self.tell(delivered)
    }

    async fn last_published(&mut self) -> Result<Option<Label>> {
        let published = self.inner.last_published().await;
        self.tell(published)
    }
}
