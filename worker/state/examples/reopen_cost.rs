//! What it costs to take a unit's store over, in requests and time, where state is in a bucket:
//! `cargo run --workspace --example reopen_cost -- fill s3://BUCKET/PREFIX`, then `… -- open s3://BUCKET/PREFIX [TIMES]`.
//! The bucket is reached as the `AWS_…` variables say. `REOPEN_TRACE=1` tells each request.
//!
//! `fill` commits 160 MB as a unit does that catches up, and then a hundred small commits; it ends without closing, as a
//! worker does that is killed. `open` does what its next owner does.

use std::fmt::{Debug, Display, Formatter};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::try_join;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use thalweg_core::clock::{SharedClock, SystemClock};
use thalweg_core::commit::{UnitStore, WriteSet};
use thalweg_core::error::{Error, Result};
use thalweg_core::unit::{StageId, UnitId};
use thalweg_state::{Expected, PipelineState, StateRoot};

const UNIT: UnitId = UnitId { stage: StageId(0), index: 0 };
const BUDGET: usize = 64 << 20;
/// Commits of a unit that catches up, and bytes of each.
const LARGE: (u64, usize) = (80, 2 << 20);
/// Commits of a unit that is level, and bytes of each.
const SMALL: (u64, usize) = (100, 200 << 10);
/// How often a unit that is level commits.
const EVERY: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", url] => fill(url).await,
        ["open", url] => open(url, 5).await,
        ["open", url, times] => open(url, times.parse().unwrap_or(1)).await,
        _ => Err(Error::user("arguments", "expected: fill URL, or open URL [TIMES]")),
    }
}

async fn fill(url: &str) -> Result<()> {
    let bed = Bed::new(url)?;
    let store = bed.store().await?;
    for number in 0..LARGE.0 + SMALL.0 {
        let bytes = if number < LARGE.0 { LARGE.1 } else { SMALL.1 };
        store.commit(entries(number, bytes)).await?;
        if number >= LARGE.0 {
            tokio::time::sleep(EVERY).await;
        }
    }
    std::process::exit(0);
}

/// What a unit writes at once: its record, how far its logs were taken, and what has changed of a window.
fn entries(number: u64, bytes: usize) -> WriteSet {
    let mut writes = WriteSet::default();
    writes.put("u", vec![b'u'; 300]);
    writes.put("v/0", vec![b'v'; 100]);
    writes.put("v/1", vec![b'v'; 100]);
    // Nothing that compresses, as no compression is set.
    let value: Vec<u8> = (0..bytes).map(|at| (at as u64 ^ number) as u8).collect();
    writes.put(pane(number), value);
    writes
}

fn pane(number: u64) -> Bytes {
    [&b"p/"[..], &number.to_be_bytes()].concat().into()
}

async fn open(url: &str, times: u32) -> Result<()> {
    for _ in 0..times {
        let bed = Bed::new(url)?;
        bed.told("before");
        let store = bed.store().await?;
        bed.told("open the store");
        store.get(b"u").await?;
        bed.told("read the record");
        let mut marker = WriteSet::default();
        marker.put("u", vec![b'u'; 300]);
        try_join!(store.commit(marker), store.scan(b"v/", None, 1_024), store.scan(b"s/", None, 1_024))?;
        bed.told("commit the marker, read what was taken");
        let mut bytes = 0;
        if std::env::var_os("REOPEN_PAGES").is_some() {
            let mut last = None::<Bytes>;
            loop {
                let page = store.scan(b"p/", last.as_deref(), 32).await?;
                let Some((key, _)) = page.last() else { break };
                last = Some(key.clone());
                bytes += page.iter().map(|(_, value)| value.len()).sum::<usize>();
            }
        } else {
            let mut entries = store.entries(b"p/", None).await?;
            while let Some((_, value)) = entries.next().await? {
                bytes += value.len();
            }
        }
        bed.told(&format!("read {} MB of windows", bytes >> 20));
        store.scan(b"o/", None, 32).await?;
        bed.told("read the outbox");
        store.commit(entries(LARGE.0 + SMALL.0, SMALL.1)).await?;
        bed.told("commit");
        store.close().await?;
        println!("in all {:.0} ms\n", bed.clock.monotonic().as_secs_f64() * 1e3);
    }
    Ok(())
}

struct Bed {
    root: StateRoot,
    objects: Arc<Counted>,
    clock: SharedClock,
    last: Mutex<(Duration, u64)>,
}

impl Bed {
    fn new(url: &str) -> Result<Self> {
        let bucket = AmazonS3Builder::from_env().with_url(url).build();
        let bucket = bucket.map_err(|error| Error::user("the bucket", error))?;
        let clock: SharedClock = Arc::new(SystemClock::new());
        let is_told = std::env::var_os("REOPEN_TRACE").is_some();
        let objects = Arc::new(Counted { inner: bucket, clock: clock.clone(), count: AtomicU64::new(0), is_told });
        let root = StateRoot::over(url, objects.clone(), "cost", clock.clone());
        Ok(Self { root, objects, clock, last: Mutex::default() })
    }

    async fn store(&self) -> Result<Arc<dyn UnitStore>> {
        let state = PipelineState::open(&self.root, "default", "cost", &Expected::default(), false).await?;
        state.unit_store(UNIT, BUDGET).await
    }

    /// Tells what was done since the last time.
    fn told(&self, what: &str) {
        let (now, count) = (self.clock.monotonic(), self.objects.count.load(Ordering::Relaxed));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{what:<40} {:>6.0} ms {:>5} requests", (now - last.0).as_secs_f64() * 1e3, count - last.1);
        *last = (now, count);
    }
}

/// A bucket whose requests are counted.
struct Counted {
    inner: AmazonS3,
    clock: SharedClock,
    count: AtomicU64,
    is_told: bool,
}

impl Counted {
    async fn counted<T>(&self, what: &str, at: &Path, asked: impl Future<Output = T>) -> T {
        self.count.fetch_add(1, Ordering::Relaxed);
        let started = self.clock.monotonic();
        let answer = asked.await;
        if self.is_told {
            let took = (self.clock.monotonic() - started).as_secs_f64() * 1e3;
            println!("    {:>8.1} {what} {at}: {took:.1} ms", started.as_secs_f64() * 1e3);
        }
        answer
    }
}

impl Debug for Counted {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        to.write_str("Counted")
    }
}

impl Display for Counted {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.inner, to)
    }
}

type Answer<T> = object_store::Result<T>;

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Answer<PutResult> {
        let what = format!("put {} bytes to", payload.content_length());
        self.counted(&what, at, self.inner.put_opts(at, payload, options)).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Answer<Box<dyn MultipartUpload>> {
        self.counted("put in parts", at, self.inner.put_multipart_opts(at, options)).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Answer<GetResult> {
        let what = if options.head { "head".to_owned() } else { format!("get {:?} of", options.range) };
        self.counted(&what, at, self.inner.get_opts(at, options)).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Answer<Vec<Bytes>> {
        self.counted(&format!("get {ranges:?} of"), at, self.inner.get_ranges(at, ranges)).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Answer<Path>>) -> BoxStream<'static, Answer<Path>> {
        self.inner.delete_stream(all)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Answer<ObjectMeta>> {
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.is_told {
            let started = self.clock.monotonic().as_secs_f64() * 1e3;
            println!("    {started:>8.1} list {}", prefix.map(ToString::to_string).unwrap_or_default());
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Answer<ListResult> {
        let at = prefix.cloned().unwrap_or_default();
        self.counted("list a level of", &at, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Answer<()> {
        self.counted("copy", from, self.inner.copy_opts(from, to, options)).await
    }
}
