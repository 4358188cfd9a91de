//! The object store under the units' state, played: objects in memory, answers that are slow, lost, or errors.

use std::fmt::{Display, Formatter};
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::world::{Fate, System, World};
use super::{Mutant, Rules};

/// The objects of a history.
#[derive(Clone)]
pub struct Objects {
    kept: Arc<InMemory>,
    world: Arc<World>,
    rules: Rules,
}

impl Objects {
    pub fn new(world: Arc<World>, rules: Rules) -> Self {
        Self { kept: Arc::new(InMemory::new()), world, rules }
    }

    /// Carries a request out as its fate wants.
    async fn ask<T>(&self, done: impl Future<Output = Result<T>>) -> Result<T> {
        let lost = || Error::Generic { store: "played", source: "no answer".into() };
        match self.world.travel(System::Objects).await {
            Fate::Lost => Err(lost()),
            Fate::AnswerLost => done.await.and_then(|_| Err(lost())),
            Fate::Answered => done.await,
        }
    }
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.write_str("Objects")
    }
}

impl Display for Objects {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.write_str("played")
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let options = match self.rules.breaks(Mutant::NoConditionalWrites) {
            true => PutOptions { mode: object_store::PutMode::Overwrite, ..options },
            false => options,
        };
        self.ask(self.kept.put_opts(at, payload, options)).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.kept.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.ask(self.kept.get_opts(at, options)).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.kept.delete_stream(all)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (mine, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            match mine.ask(async { Ok(()) }).await {
                Ok(()) => mine.kept.list(prefix.as_ref()),
                Err(error) => stream::once(async { Err(error) }).boxed(),
            }
        };
        stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.ask(self.kept.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.ask(self.kept.copy_opts(from, to, options)).await
    }
}
