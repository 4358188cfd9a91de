//! What a medium says to the writes of a store. SlateDB asks again for ever and tells nobody; who commits must hear of it.

use std::error::Error as StdError;
use std::fmt::{Debug, Display, Formatter};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result as Answer, UploadPart,
};
use thalweg_core::error::Error;
use tokio::sync::watch;

use crate::error::from_objects;
use crate::settings::Medium;

/// What was said to the writes of one store.
pub(crate) struct Refusals {
    /// The state, as its URL was given.
    state: String,
    medium: Medium,
    /// The first answer that no second try mends.
    for_good: watch::Sender<Option<Error>>,
    /// The last answer, where it was a refusal that may pass.
    last: Mutex<Option<Error>>,
}

impl Refusals {
    /// Of a store in the state of this URL, on this medium.
    pub fn new(state: &str, medium: Medium) -> Arc<Self> {
        let (for_good, _) = watch::channel(None);
        Arc::new(Self { state: state.to_owned(), medium, for_good, last: Mutex::default() })
    }

    /// Waits until a write was refused for good.
    pub async fn for_good(&self) -> Error {
        let mut told = self.for_good.subscribe();
        loop {
            let error = told.borrow_and_update().clone();
            if let Some(error) = error {
                return error;
            }
            // The sender lives as long as this does.
            let _ = told.changed().await;
        }
    }

    /// What was said to the last write, where it was refused.
    pub fn last(&self) -> Option<Error> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what became of a write.
    fn note<T>(&self, path: &Path, written: Answer<T>) -> Answer<T> {
        match &written {
            Ok(_) => *self.lock() = None,
            Err(error) if is_answer(error) => {}
            Err(error) => self.refused(path, error),
        }
        written
    }

    fn refused(&self, path: &Path, error: &object_store::Error) {
        let what = format!("writing `{path}` to state `{}`", self.state);
        if let Some(cause) = disk_error(error).filter(|_| self.medium != Medium::Bucket) {
            let error = for_good(what, cause);
            self.for_good.send_if_modified(|told| {
                let is_first = told.is_none();
                told.get_or_insert(error);
                is_first
            });
            return;
        }
        let error = from_objects(what, error);
        // Said once until a write succeeds.
        if self.lock().replace(error.clone()).is_none() {
            tracing::warn!("{error}; it is tried again");
        }
    }
}

/// Whether this is what whoever writes has asked for.
fn is_answer(error: &object_store::Error) -> bool {
    use object_store::Error::{AlreadyExists, NotImplemented, NotSupported, Precondition};
    matches!(error, AlreadyExists { .. } | Precondition { .. } | NotImplemented { .. } | NotSupported { .. })
}

/// The error of a local disk that no second try mends.
fn disk_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    let mut at = Some(error);
    while let Some(error) = at {
        let found = error.downcast_ref::<io::Error>();
        if let Some(found) = found.filter(|found| is_full(found.kind()) || is_refusal(found.kind())) {
            return Some(found);
        }
        at = error.source();
    }
    None
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn is_refusal(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory)
}

fn for_good(what: String, cause: &io::Error) -> Error {
    if is_full(cause.kind()) {
        return Error::external(what, cause).with_hint("free some space, then run it again");
    }
    Error::user(what, cause).with_hint("let the process write there, or choose another folder for state")
}

/// An object store whose refusals are noted.
pub(crate) struct Heard {
    inner: Arc<dyn ObjectStore>,
    refusals: Arc<Refusals>,
}

impl Heard {
    /// Notes what `inner` says to writes.
    pub fn over(inner: Arc<dyn ObjectStore>, refusals: Arc<Refusals>) -> Arc<dyn ObjectStore> {
        Arc::new(Self { inner, refusals })
    }
}

impl Debug for Heard {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Heard").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Display for Heard {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.inner, to)
    }
}

#[async_trait]
impl ObjectStore for Heard {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Answer<PutResult> {
        self.refusals.note(at, self.inner.put_opts(at, payload, options).await)
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Answer<Box<dyn MultipartUpload>> {
        let inner = self.refusals.note(at, self.inner.put_multipart_opts(at, options).await)?;
        Ok(Box::new(HeardUpload { inner, at: at.clone(), refusals: Arc::clone(&self.refusals) }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Answer<GetResult> {
        self.inner.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Answer<Vec<Bytes>> {
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Answer<Path>>) -> BoxStream<'static, Answer<Path>> {
        self.inner.delete_stream(all)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Answer<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Answer<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Answer<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Answer<()> {
        self.refusals.note(to, self.inner.copy_opts(from, to, options).await)
    }
}

/// An upload in parts whose refusals are noted.
#[derive(Debug)]
struct HeardUpload {
    inner: Box<dyn MultipartUpload>,
    at: Path,
    refusals: Arc<Refusals>,
}

impl Debug for Refusals {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Refusals").field("state", &self.state).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for HeardUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, at, refusals) = (self.inner.put_part(data), self.at.clone(), Arc::clone(&self.refusals));
        async move { refusals.note(&at, part.await) }.boxed()
    }

    async fn complete(&mut self) -> Answer<PutResult> {
        let completed = self.inner.complete().await;
        self.refusals.note(&self.at, completed)
    }

    async fn abort(&mut self) -> Answer<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use thalweg_core::error::ErrorKind;

    use super::*;

    /// A store that takes no write.
    #[derive(Debug)]
    struct Refusing {
        kept: InMemory,
        says: fn() -> object_store::Error,
    }

    impl Display for Refusing {
        fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
            to.write_str("refusing")
        }
    }

    #[async_trait]
    impl ObjectStore for Refusing {
        async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Answer<PutResult> {
            Err((self.says)())
        }

        async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Answer<Box<dyn MultipartUpload>> {
            Err((self.says)())
        }

        async fn get_opts(&self, at: &Path, options: GetOptions) -> Answer<GetResult> {
            self.kept.get_opts(at, options).await
        }

        fn delete_stream(&self, all: BoxStream<'static, Answer<Path>>) -> BoxStream<'static, Answer<Path>> {
            self.kept.delete_stream(all)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Answer<ObjectMeta>> {
            self.kept.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Answer<ListResult> {
            self.kept.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Answer<()> {
            Err((self.says)())
        }
    }

    /// What a folder's store wraps the disk's errors in.
    #[derive(Debug)]
    struct Layer(io::Error);

    impl Display for Layer {
        fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
            to.write_str("copying a file")
        }
    }

    impl StdError for Layer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    fn of_disk(kind: io::ErrorKind) -> object_store::Error {
        object_store::Error::Generic { store: "folder", source: Box::new(Layer(kind.into())) }
    }

    async fn heard(medium: Medium, says: fn() -> object_store::Error) -> Arc<Refusals> {
        let refusals = Refusals::new("st", medium);
        let store = Heard::over(Arc::new(Refusing { kept: InMemory::new(), says }), Arc::clone(&refusals));
        store.put(&Path::from("a"), PutPayload::from_static(b"x")).await.expect_err("refused");
        refusals
    }

    #[tokio::test]
    async fn a_full_or_locked_disk_is_told_at_once_and_names_the_state() {
        let full: fn() -> object_store::Error = || of_disk(io::ErrorKind::StorageFull);
        let error = heard(Medium::LockedFolder, full).await.for_good().await;
        assert_eq!((error.kind, error.what.as_str()), (ErrorKind::External, "writing `a` to state `st`"));
        assert_eq!(error.hint.as_deref(), Some("free some space, then run it again"));
        let locked: [fn() -> object_store::Error; 2] =
            [|| of_disk(io::ErrorKind::ReadOnlyFilesystem), || of_disk(io::ErrorKind::PermissionDenied)];
        for says in locked {
            let error = heard(Medium::SharedFolder, says).await.for_good().await;
            assert_eq!(error.kind, ErrorKind::User, "{error}");
        }
    }

    #[tokio::test]
    async fn what_may_pass_is_kept_until_a_write_succeeds() {
        let busy: fn() -> object_store::Error = || of_disk(io::ErrorKind::TimedOut);
        let denied: fn() -> object_store::Error =
            || object_store::Error::PermissionDenied { path: "a".into(), source: "no".into() };
        for (medium, says) in [(Medium::LockedFolder, busy), (Medium::Bucket, denied)] {
            let refusals = heard(medium, says).await;
            assert!(refusals.for_good().now_or_never().is_none());
            assert!(refusals.last().is_some());
            let well = Heard::over(Arc::new(InMemory::new()), Arc::clone(&refusals));
            well.put(&Path::from("a"), PutPayload::from_static(b"x")).await.expect("written");
            assert!(refusals.last().is_none());
        }
        let told = heard(Medium::Bucket, denied).await.last().expect("a refusal");
        assert_eq!(told.what, "writing `a` to state `st`");
    }
}
