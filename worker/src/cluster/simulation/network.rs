//! The network between workers, played: bytes arrive in order and late, a cut holds them up until it is mended, and where no
//! process listens connections are refused.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use thalweg_exchange::network::{Listener, Network, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::world::World;
use crate::cluster::Door;

/// How long bytes are on their way, in microseconds.
const LATENCY_MICROS: std::ops::RangeInclusive<u64> = 200..=4_000;
/// How often it is looked whether a cut was mended.
const MENDED: Duration = Duration::from_millis(50);

/// All connections of a history.
pub struct Cables {
    world: Arc<World>,
    doors: Mutex<BTreeMap<SocketAddr, Arc<Mutex<Visitors>>>>,
}

#[derive(Default)]
struct Visitors {
    waiting: VecDeque<(End, SocketAddr)>,
    waker: Option<Waker>,
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    /// What is on its way, and when it arrives. Nothing ends it.
    parcels: VecDeque<(Duration, Option<VecDeque<u8>>)>,
    waker: Option<Waker>,
}

type SharedPipe = Arc<Mutex<Pipe>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a worker listens, in one of its lives.
pub fn address(worker: usize, life: u16) -> SocketAddr {
    let host = u8::try_from(worker + 1).unwrap_or(u8::MAX);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), 8_000 + life)
}

fn worker_of(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => usize::from(ip.octets()[3]).saturating_sub(1),
        IpAddr::V6(_) => usize::MAX,
    }
}

impl Cables {
    pub fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self { world, doors: Mutex::default() })
    }

    /// A process listens.
    pub fn open(&self, at: SocketAddr) {
        lock(&self.doors).insert(at, Arc::default());
    }

    /// A process has ended: its address refuses whoever comes.
    pub fn close(&self, at: SocketAddr) {
        let door = lock(&self.doors).remove(&at);
        drop(door);
    }
}

/// The network as one worker has it.
pub struct Plug {
    pub cables: Arc<Cables>,
    pub at: SocketAddr,
}

impl Plug {
    fn pair(&self, to: SocketAddr) -> (End, End) {
        let (there, back) = (SharedPipe::default(), SharedPipe::default());
        let between = (worker_of(self.at), worker_of(to));
        let end = |to: &SharedPipe, from: &SharedPipe| End {
            world: self.cables.world.clone(),
            between,
            to: to.clone(),
            from: from.clone(),
            alarm: None,
            last: Duration::ZERO,
        };
        (end(&there, &back), end(&back, &there))
    }
}

#[async_trait]
impl Network for Plug {
    async fn connect(&self, to: SocketAddr) -> Result<Box<dyn Stream>> {
        let pause = self.cables.world.draw(|rng| Duration::from_micros(rng.random_range(LATENCY_MICROS)));
        tokio::time::sleep(pause).await;
        while self.cables.world.is_cut((worker_of(self.at), worker_of(to))) {
            tokio::time::sleep(MENDED).await;
        }
        let door = lock(&self.cables.doors).get(&to).cloned();
        let door = door.ok_or_else(|| Error::from(ErrorKind::ConnectionRefused))?;
        let (near, far) = self.pair(to);
        let mut visitors = lock(&door);
        visitors.waiting.push_back((far, self.at));
        let waker = visitors.waker.take();
        drop(visitors);
        waker.into_iter().for_each(Waker::wake);
        Ok(Box::new(near))
    }
}

impl Door for Plug {
    fn open(&self) -> Result<Box<dyn Listener>> {
        let door = lock(&self.cables.doors).get(&self.at).cloned();
        Ok(Box::new(Ear(door.ok_or_else(|| Error::from(ErrorKind::AddrNotAvailable))?)))
    }
}

struct Ear(Arc<Mutex<Visitors>>);

#[async_trait]
impl Listener for Ear {
    async fn accept(&mut self) -> Result<(Box<dyn Stream>, SocketAddr)> {
        let (end, from) = std::future::poll_fn(|context| {
            let mut visitors = lock(&self.0);
            match visitors.waiting.pop_front() {
                Some(visitor) => Poll::Ready(visitor),
                None => {
                    visitors.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        Ok((Box::new(end), from))
    }
}

/// One side of a connection.
struct End {
    world: Arc<World>,
    between: (usize, usize),
    to: SharedPipe,
    from: SharedPipe,
    alarm: Option<Pin<Box<Sleep>>>,
    /// When what was sent last arrives: nothing overtakes it.
    last: Duration,
}

impl End {
    fn send(&mut self, parcel: Option<VecDeque<u8>>) {
        let latency = self.world.draw(|rng| Duration::from_micros(rng.random_range(LATENCY_MICROS)));
        self.last = self.last.max(self.world.now() + latency);
        let mut pipe = lock(&self.to);
        pipe.parcels.push_back((self.last, parcel));
        let waker = pipe.waker.take();
        drop(pipe);
        waker.into_iter().for_each(Waker::wake);
    }

    fn wait(&mut self, pause: Duration, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut alarm = Box::pin(tokio::time::sleep(pause));
        let due = alarm.as_mut().poll(context);
        self.alarm = Some(alarm);
        if due.is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let from = self.from.clone();
        let mut pipe = lock(&from);
        let Some((due, parcel)) = pipe.parcels.front_mut() else {
            pipe.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let now = self.world.now();
        let pause = match () {
            () if self.world.is_cut(self.between) => Some(MENDED),
            () => due.checked_sub(now).filter(|pause| !pause.is_zero()),
        };
        if let Some(pause) = pause {
            pipe.waker = Some(context.waker().clone());
            drop(pipe);
            return self.wait(pause, context);
        }
        let Some(bytes) = parcel else { return Poll::Ready(Ok(())) };
        let count = bytes.len().min(buffer.remaining());
        for byte in bytes.drain(..count) {
            buffer.put_slice(&[byte]);
        }
        if bytes.is_empty() {
            pipe.parcels.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if !bytes.is_empty() {
            self.send(Some(bytes.iter().copied().collect()));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.send(None);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.send(None);
    }
}
