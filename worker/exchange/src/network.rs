//! What carries bytes between workers: TCP, or, in a simulation, a network that is played.

use std::io::Result;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A connection's bytes, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A network.
#[async_trait]
pub trait Network: Send + Sync {
    /// Connects to who listens at an address.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::ConnectionRefused`] where nobody listens there, and whatever else keeps them apart.
    async fn connect(&self, to: SocketAddr) -> Result<Box<dyn Stream>>;
}

/// Takes connections. They are refused once it is dropped.
#[async_trait]
pub trait Listener: Send {
    /// The next connection, and where it comes from.
    ///
    /// # Errors
    /// It could not be taken; the next one may be.
    async fn accept(&mut self) -> Result<(Box<dyn Stream>, SocketAddr)>;
}

#[async_trait]
impl<T: Listener + ?Sized> Listener for Box<T> {
    async fn accept(&mut self) -> Result<(Box<dyn Stream>, SocketAddr)> {
        (**self).accept().await
    }
}

/// TCP, without waiting for more to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

#[async_trait]
impl Network for Tcp {
    async fn connect(&self, to: SocketAddr) -> Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&mut self) -> Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, from) = Self::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), from))
    }
}
