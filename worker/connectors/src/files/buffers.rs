//! What text is read into: buffers that are used again once nobody holds the text, so that they are cleared only once.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use bytes::Bytes;

/// So many free buffers are kept: as many as a source on a few threads has at once, read ahead and in work. Never more are
/// there than were in use at once.
const KEPT: usize = 16;
/// Room behind a chunk for the beginning of the next record.
const ROOM_BYTES: usize = 64 << 10;

/// The free buffers of a source.
#[derive(Debug)]
pub(crate) struct Buffers {
    chunk_bytes: usize,
    /// With the thread that used each last, whose core's cache may hold it.
    free: Mutex<Vec<(ThreadId, Vec<u8>)>>,
}

impl Buffers {
    /// Buffers for chunks of about so many bytes.
    pub(crate) fn new(chunk_bytes: usize) -> Self {
        Self { chunk_bytes: chunk_bytes.max(1), free: Mutex::default() }
    }

    /// Bytes of a chunk, about.
    pub(crate) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// One that this thread used last, if there is one.
    fn take(&self) -> Vec<u8> {
        let mine = thread::current().id();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let at = free.iter().rposition(|(of, _)| *of == mine).or(free.len().checked_sub(1));
        match at {
            Some(at) => free.remove(at).1,
            None => Vec::with_capacity(self.chunk_bytes + ROOM_BYTES),
        }
    }

    /// One that a long record has stretched is not kept.
    fn put_back(&self, bytes: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT && bytes.capacity() <= 2 * self.chunk_bytes + ROOM_BYTES {
            free.push((thread::current().id(), bytes));
        }
    }

    /// Gives the memory back: nothing more is read for a while.
    pub(crate) fn clear(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Text that was read and not given on yet.
#[derive(Debug)]
pub(crate) struct Buffer {
    buffers: Arc<Buffers>,
    /// The text, and behind it what an earlier one left there.
    bytes: Vec<u8>,
    filled: usize,
}

impl Buffer {
    /// An empty buffer.
    pub(crate) fn new(buffers: Arc<Buffers>) -> Self {
        Self { buffers, bytes: Vec::new(), filled: 0 }
    }

    /// The text.
    pub(crate) fn text(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Room for one chunk behind the text: what is put there counts after [`Buffer::add`].
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.room_to(self.filled + self.buffers.chunk_bytes)
    }

    /// Room for what is missing of a text of `length` bytes.
    pub(crate) fn room_to(&mut self, length: usize) -> &mut [u8] {
        self.grow(length);
        &mut self.bytes[self.filled..length.max(self.filled)]
    }

    fn grow(&mut self, length: usize) {
        if self.bytes.capacity() == 0 {
            self.bytes = self.buffers.take();
        }
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        }
    }

    /// The first `count` bytes of the room are text.
    pub(crate) fn add(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.bytes.len());
    }

    /// The first `count` bytes of the text; the rest stays.
    pub(crate) fn split_to(&mut self, count: usize) -> Bytes {
        let mut rest = Self::new(Arc::clone(&self.buffers));
        let tail = &self.text()[count..];
        if !tail.is_empty() {
            rest.grow(tail.len());
            rest.bytes[..tail.len()].copy_from_slice(tail);
            rest.add(tail.len());
        }
        let whole = std::mem::replace(self, rest);
        Bytes::from_owner(Text { bytes: whole.bytes, length: count, buffers: whole.buffers })
    }

    /// Puts a text in front of what is there.
    pub(crate) fn put_in_front(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        self.grow(self.filled + text.len());
        self.bytes.copy_within(..self.filled, text.len());
        self.bytes[..text.len()].copy_from_slice(text);
        self.filled += text.len();
    }

    /// Drops the first `count` bytes of the text.
    pub(crate) fn drop_first(&mut self, count: usize) {
        self.bytes.copy_within(count..self.filled, 0);
        self.filled -= count;
    }
}

/// Text that others hold.
struct Text {
    bytes: Vec<u8>,
    length: usize,
    buffers: Arc<Buffers>,
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.buffers.put_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(buffer: &mut Buffer, text: &[u8]) {
        buffer.room()[..text.len()].copy_from_slice(text);
        buffer.add(text.len());
    }

    #[test]
    fn text_that_is_held_stays_while_its_successors_are_read() {
        let buffers = Arc::new(Buffers::new(8));
        let mut buffer = Buffer::new(Arc::clone(&buffers));
        put(&mut buffer, b"ab\ncd");
        let first = buffer.split_to(3);
        put(&mut buffer, b"e\nf");
        let second = buffer.split_to(4);
        assert_eq!((&first[..], &second[..], buffer.text()), (&b"ab\n"[..], &b"cde\n"[..], &b"f"[..]));
        drop((first, second));
        assert_eq!(buffers.free.lock().expect("not poisoned").len(), 2);
        put(&mut buffer, b"g\n");
        assert_eq!(&buffer.split_to(3)[..], b"fg\n");
        buffers.clear();
        assert!(buffers.free.lock().expect("not poisoned").is_empty());
    }

    #[test]
    fn a_thread_gets_the_buffer_that_it_used_last() {
        let buffers = Arc::new(Buffers::new(8));
        let used = || {
            let mut buffer = Buffer::new(Arc::clone(&buffers));
            put(&mut buffer, b"ab");
            buffer
        };
        let (mut mine, other) = (used(), used());
        let place = mine.text().as_ptr();
        drop(mine.split_to(2));
        thread::scope(|scope| scope.spawn(|| drop({ other }.split_to(2))).join()).expect("no panic");
        assert_eq!(used().text().as_ptr(), place, "though another was given back later");
        assert_eq!(buffers.free.lock().expect("not poisoned").len(), 1);
    }

    #[test]
    fn a_buffer_that_a_long_record_stretched_is_not_kept() {
        let buffers = Arc::new(Buffers::new(8));
        let mut buffer = Buffer::new(Arc::clone(&buffers));
        for _ in 0..ROOM_BYTES {
            put(&mut buffer, b"12345678");
        }
        assert_eq!(buffer.split_to(8 * ROOM_BYTES).len(), 8 * ROOM_BYTES);
        assert!(buffers.free.lock().expect("not poisoned").is_empty());
        put(&mut buffer, b"abc");
        buffer.drop_first(1);
        assert_eq!(buffer.text(), b"bc");
    }
}
