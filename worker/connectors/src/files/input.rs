//! The text of a file, decompressed, from any of its bytes on. Blocks.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::config::Compression;
use super::store::Stored;

/// So much may come out of one stored byte, once [`FREE_BYTES`] did.
const MAX_RATIO: u64 = 200;
/// So much may come out of any file.
const FREE_BYTES: u64 = 64 << 20;
/// Decoders are asked for this much at a time, always, so that a broken file breaks at the same byte for everyone.
const STEP_BYTES: usize = 64 << 10;
/// What is fetched at a time from a file that is compressed.
const FETCH_BYTES: usize = 256 << 10;

/// The text of one file.
pub(crate) struct Input {
    text: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
}

impl Input {
    /// Opens the text at byte `from`.
    ///
    /// # Errors
    /// The storage failed, or the file breaks before `from`.
    pub(crate) fn open(stored: &Arc<Stored>, compression: Compression, from: u64) -> io::Result<Self> {
        let taken = Arc::new(AtomicU64::new(0));
        let start = if compression == Compression::None { from } else { 0 };
        taken.store(start, Ordering::Relaxed);
        let raw = Raw { stored: Arc::clone(stored), at: start };
        let text: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(Counted { inner: raw, taken: Arc::clone(&taken) }),
            Compression::Gzip => {
                let mut packed = counted(raw, &taken);
                check_gzip(packed.fill_buf()?)?;
                Expanded::boxed(MultiGzDecoder::new(packed), &taken)
            }
            Compression::Zstd => {
                let mut packed = counted(raw, &taken);
                check_zstd(packed.fill_buf()?)?;
                let decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                Expanded::boxed(decoder, &taken)
            }
        };
        let mut input = Self { text, taken };
        input.skip(from - start)?;
        Ok(input)
    }

    /// How many stored bytes were used.
    pub(crate) fn stored(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.text).take(count), &mut io::sink())?;
        if skipped < count {
            let found = format!("the text ends at byte {skipped}, expected at least {count}");
            return Err(io::Error::other(StorageError(io::Error::new(io::ErrorKind::NotFound, found))));
        }
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.text.read(into)
    }
}

/// Refuses a text that is no gzip: a short one would only seem to be cut off.
fn check_gzip(text: &[u8]) -> io::Result<()> {
    if begins_with(text, &[0x1f, 0x8b]) { Ok(()) } else { Err(invalid("invalid gzip header")) }
}

/// Refuses a text that is no zstd: frames of all versions, and such as are skipped (RFC 8878, 3.1.2).
fn check_zstd(text: &[u8]) -> io::Result<()> {
    let fits = match text.split_first() {
        None => true,
        Some((0x1e..=0x28, rest)) => begins_with(rest, &[0xb5, 0x2f, 0xfd]),
        Some((0x50..=0x5f, rest)) => begins_with(rest, &[0x2a, 0x4d, 0x18]),
        Some(_) => false,
    };
    if fits { Ok(()) } else { Err(invalid("invalid zstd header")) }
}

/// Whether a text begins like this, as far as it goes.
fn begins_with(text: &[u8], magic: &[u8]) -> bool {
    text.iter().zip(magic).all(|(found, wanted)| found == wanted)
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The storage failed, as opposed to a file that is broken.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StorageError(pub(crate) io::Error);

/// The storage's error behind a reader's, if it is one.
pub(crate) fn storage_error(error: &io::Error) -> Option<&io::Error> {
    let inner = error.get_ref()?.downcast_ref::<StorageError>()?;
    Some(&inner.0)
}

/// A file as stored.
struct Raw {
    stored: Arc<Stored>,
    at: u64,
}

impl Read for Raw {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stored.read_at(self.at, into).map_err(|error| io::Error::other(StorageError(error)))?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Counts what is used.
struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

fn counted(raw: Raw, taken: &Arc<AtomicU64>) -> Counted<BufReader<Raw>> {
    Counted { inner: BufReader::with_capacity(FETCH_BYTES, raw), taken: Arc::clone(taken) }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        self.inner.consume(count);
    }
}

/// What a decoder makes of it, within [`MAX_RATIO`].
struct Expanded<D> {
    decoder: D,
    taken: Arc<AtomicU64>,
    made: u64,
    step: Vec<u8>,
    at: usize,
}

impl<D: Read + Send + 'static> Expanded<D> {
    fn boxed(decoder: D, taken: &Arc<AtomicU64>) -> Box<dyn Read + Send> {
        Box::new(Self { decoder, taken: Arc::clone(taken), made: 0, step: Vec::with_capacity(STEP_BYTES), at: 0 })
    }

    fn refill(&mut self) -> io::Result<()> {
        self.at = 0;
        self.step.resize(STEP_BYTES, 0);
        let read = self.decoder.read(&mut self.step);
        self.step.truncate(*read.as_ref().unwrap_or(&0));
        self.made += read? as u64;
        let taken = self.taken.load(Ordering::Relaxed);
        if self.made > FREE_BYTES && self.made / MAX_RATIO > taken {
            let found = format!("{taken} stored bytes expand to over {}, which is beyond {MAX_RATIO} : 1", self.made);
            return Err(io::Error::new(io::ErrorKind::InvalidData, found));
        }
        Ok(())
    }
}

impl<D: Read + Send + 'static> Read for Expanded<D> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.step.len() {
            self.refill()?;
        }
        let count = into.len().min(self.step.len() - self.at);
        into[..count].copy_from_slice(&self.step[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
