//! Whole records of one file, read ahead of those who take them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use thalweg_core::decode::BadRecord;
use thalweg_core::error::{Error, Result};
use thalweg_core::source::{Given, Payload, Stretch};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A run of whole records of one file.
#[derive(Debug)]
pub(crate) struct Block {
    /// Where it starts: a byte of the decompressed text, or a row.
    pub(crate) from: u64,
    /// Where the next one starts.
    pub(crate) to: u64,
    /// The records.
    pub(crate) payload: Given,
    /// Those that could not be delimited.
    pub(crate) bad: Vec<BadRecord>,
    /// How much of the file, as stored, was read by then.
    pub(crate) stored: u64,
}

impl Block {
    /// A block of text.
    pub(crate) fn text(from: u64, text: Bytes, stored: u64) -> Self {
        Self { from, to: from + text.len() as u64, payload: Payload::Text(text).into(), bad: Vec::new(), stored }
    }

    /// A block of text that stays where it is stored: its offsets are bytes of the file.
    pub(crate) fn unread(from: u64, text: Stretch) -> Self {
        let to = from + text.length() as u64;
        Self { from, to, payload: Given::Unread(text), bad: Vec::new(), stored: to }
    }

    /// A stretch that holds no row.
    pub(crate) fn gap(from: u64, to: u64, bad: Vec<BadRecord>, stored: u64) -> Self {
        Self { from, to, payload: Payload::Text(Bytes::new()).into(), bad, stored }
    }

    /// Cuts at `at`, the boundary of a record inside; the rest comes second.
    pub(crate) fn split_at(mut self, at: u64) -> (Self, Option<Self>) {
        if at >= self.to || at < self.from {
            return (self, None);
        }
        let length = (at - self.from) as usize;
        let rest = match &mut self.payload {
            Given::Unread(text) if length <= text.length() => Given::Unread(text.split_off(length)),
            Given::Held(Payload::Text(text)) if length <= text.len() => Payload::Text(text.split_off(length)).into(),
            Given::Held(Payload::Columns(rows)) if length <= rows.num_rows() => {
                let rest = rows.slice(length, rows.num_rows() - length);
                *rows = rows.slice(0, length);
                Payload::Columns(rest).into()
            }
            _ => return (self, None),
        };
        let rest = Self { from: at, to: self.to, payload: rest, bad: Vec::new(), stored: self.stored };
        self.to = at;
        (self, Some(rest))
    }
}

/// The blocks of one file, in order. Its methods block.
pub(crate) trait Blocks: Send {
    /// The next one; `None` at the file's end.
    ///
    /// # Errors
    /// Storage failed, or rows were lost; open it anew to try again.
    fn next(&mut self) -> Result<Option<Block>>;
}

/// What was read: a block, or the file's end or an error, behind which nothing comes.
type Item = Result<Option<Block>>;

/// So many blocks of which only the place is known wait in place of one that is held.
const PLACES: usize = 4;

/// Whether memory holds what was read.
fn is_held(item: &Item) -> bool {
    matches!(item, Ok(Some(block)) if matches!(block.payload, Given::Held(_)))
}

/// Who reads on, and where what is read waits.
struct Reading {
    blocks: Box<dyn Blocks>,
    into: mpsc::Sender<Item>,
    /// Blocks that wait and are held, and how many may.
    held: Arc<AtomicUsize>,
    count: usize,
}

impl Reading {
    /// Reads until no more may wait, or to the end: then nobody reads on. Blocks.
    fn fill(mut self) -> Option<Self> {
        while self.held.load(Ordering::Relaxed) < self.count
            && let Ok(place) = self.into.try_reserve()
        {
            let item = self.blocks.next();
            let is_last = !matches!(item, Ok(Some(_)));
            self.held.fetch_add(is_held(&item).into(), Ordering::Relaxed);
            place.send(item);
            if is_last {
                return None;
            }
        }
        Some(self)
    }
}

/// Reads ahead, so that disk and decoder work side by side: up to `count` blocks wait that are held, or more that are not, each of
/// which can be taken as soon as it was read. A thread reads on once half of them were taken: to wake one for each block would cost
/// more than to read it.
pub(crate) struct Prefetch {
    count: usize,
    held: Arc<AtomicUsize>,
    idle: Option<Reading>,
    task: Option<JoinHandle<Option<Reading>>>,
    read: mpsc::Receiver<Item>,
}

impl Prefetch {
    /// Opens a file and starts to read so many blocks ahead.
    pub(crate) fn start(count: usize, open: impl FnOnce() -> Result<Box<dyn Blocks>> + Send + 'static) -> Self {
        let count = count.max(1);
        let (into, read) = mpsc::channel(PLACES * count);
        let held = Arc::new(AtomicUsize::new(0));
        let holding = Arc::clone(&held);
        let task = tokio::task::spawn_blocking(move || match open() {
            Ok(blocks) => Reading { blocks, into, held: holding, count }.fill(),
            Err(error) => {
                // There is room for one, unless nobody waits for it any more.
                let _ = into.try_send(Err(error));
                None
            }
        });
        Self { count, held, idle: None, task: Some(task), read }
    }

    /// The next block; `None` at the file's end, and for ever after an error.
    ///
    /// # Cancel safety
    /// A call that is dropped loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>> {
        let read = loop {
            self.read_on();
            let Some(task) = &mut self.task else { break self.read.try_recv().unwrap_or(Ok(None)) };
            tokio::select! {
                biased;
                ended = task => {
                    self.task = None;
                    self.idle = ended.map_err(|error| Error::internal("reading a file ahead", error))?;
                }
                Some(read) = self.read.recv() => break read,
            }
        };
        self.held.fetch_sub(is_held(&read).into(), Ordering::Relaxed);
        self.read_on();
        read
    }

    fn read_on(&mut self) {
        if self.held.load(Ordering::Relaxed) <= self.count / 2
            && self.read.len() <= self.read.max_capacity() / 2
            && let Some(reading) = self.idle.take()
        {
            self.task = Some(tokio::task::spawn_blocking(move || reading.fill()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc as threads;
    use std::time::Duration;

    use thalweg_core::source::Unread;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Blocks of one byte each, read once they are let through, and how many were read.
    struct Numbered {
        blocks: u64,
        let_through: threads::Receiver<()>,
        read: Arc<AtomicU64>,
    }

    impl Blocks for Numbered {
        fn next(&mut self) -> Item {
            let number = self.read.load(Ordering::SeqCst);
            if number == self.blocks {
                return Ok(None);
            }
            // Who lets them through is gone at the end of a test.
            let _ = self.let_through.recv();
            self.read.store(number + 1, Ordering::SeqCst);
            Ok(Some(Block::text(number, Bytes::from_static(b"x"), number + 1)))
        }
    }

    fn numbered(count: usize, blocks: u64) -> (Prefetch, threads::Sender<()>, Arc<AtomicU64>) {
        let (opens, let_through) = threads::channel();
        let read = Arc::new(AtomicU64::new(0));
        let of_file = Numbered { blocks, let_through, read: Arc::clone(&read) };
        (Prefetch::start(count, move || Ok(Box::new(of_file))), opens, read)
    }

    async fn next(prefetch: &mut Prefetch) -> Option<u64> {
        let next = tokio::time::timeout(LIMIT, prefetch.next()).await.expect("in time");
        next.expect("no error").map(|block| block.from)
    }

    #[tokio::test]
    async fn a_block_is_there_as_soon_as_it_was_read() {
        let (mut prefetch, opens, _) = numbered(4, 9);
        for number in 0..9 {
            opens.send(()).expect("it reads");
            assert_eq!(next(&mut prefetch).await, Some(number), "it waits for none behind it");
        }
        assert_eq!(next(&mut prefetch).await, None);
        assert_eq!(next(&mut prefetch).await, None, "and that stays so");
    }

    #[tokio::test]
    async fn no_more_is_read_ahead_than_may_wait_and_all_comes_in_order() {
        for count in [1, 2, 3, 4, 7] {
            let (mut prefetch, opens, read) = numbered(count, 50);
            (0..50).for_each(|_| opens.send(()).expect("it reads"));
            for number in 0..50 {
                assert_eq!(next(&mut prefetch).await, Some(number), "{count} ahead");
                let ahead = read.load(Ordering::SeqCst) - (number + 1);
                assert!(ahead <= count as u64, "{ahead} blocks of {count} wait");
            }
            assert_eq!(next(&mut prefetch).await, None, "{count} ahead");
        }
    }

    /// A text that nobody reads.
    #[derive(Debug)]
    struct Elsewhere;

    #[async_trait::async_trait]
    impl Unread for Elsewhere {
        async fn read(self: Arc<Self>, from: u64, _length: usize) -> Result<Bytes> {
            Err(Error::internal("reading", format!("byte {from}")))
        }
    }

    #[tokio::test]
    async fn of_blocks_that_memory_does_not_hold_more_may_wait() {
        struct Places(Arc<AtomicU64>);
        impl Blocks for Places {
            fn next(&mut self) -> Item {
                let number = self.0.fetch_add(1, Ordering::SeqCst);
                // Each tenth is held.
                let (held, place) = (
                    || Block::text(number, Bytes::from_static(b"x"), 0),
                    || Block::unread(number, Stretch::new(Arc::new(Elsewhere), number, 1)),
                );
                Ok((number < 50).then(|| if number.is_multiple_of(10) { held() } else { place() }))
            }
        }
        let read = Arc::new(AtomicU64::new(0));
        let of_file = Places(Arc::clone(&read));
        let mut prefetch = Prefetch::start(4, move || Ok(Box::new(of_file)));
        // As many as may wait: of these two are held, and four might be.
        let ahead = async {
            while read.load(Ordering::SeqCst) < 16 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, ahead).await.expect("in time");
        for number in 0..50 {
            assert_eq!(next(&mut prefetch).await, Some(number));
            let ahead = read.load(Ordering::SeqCst).min(50) - (number + 1);
            assert!(ahead <= 16, "{ahead} wait");
        }
        assert_eq!(next(&mut prefetch).await, None);
    }

    #[tokio::test]
    async fn a_panic_of_the_reading_is_an_error_and_no_end() {
        struct Broken;
        impl Blocks for Broken {
            fn next(&mut self) -> Item {
                panic!("out of order")
            }
        }
        let mut prefetch = Prefetch::start(4, || Ok(Box::new(Broken)));
        let error = tokio::time::timeout(LIMIT, prefetch.next()).await.expect("in time").expect_err("it panicked");
        assert!(error.to_string().contains("reading a file ahead"), "{error}");
    }
}
