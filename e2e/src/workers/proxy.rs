//! What stands between workers and the store of their state, and what it does to them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What happens to requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every piece of an answer comes later.
    Slow(Duration),
    /// Each request is answered with 503.
    Refuses,
    /// Connections are cut: whether a request was carried out is not known.
    Cuts,
}

/// Passes connections on to a server, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy at a free port of loopback.
    ///
    /// # Panics
    /// No port is free.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (fault, ended) = (Arc::<Mutex<Fault>>::default(), Arc::<AtomicBool>::default());
        let (now, is_over) = (fault.clone(), ended.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let now = now.clone();
                std::thread::spawn(move || pass(client, server, &now));
            }
        });
        Self { address, fault, ended }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this happens.
    pub fn does(&self, fault: Fault) {
        *lock(&self.fault) = fault;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes whoever waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

fn lock(fault: &Mutex<Fault>) -> MutexGuard<'_, Fault> {
    fault.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(client: TcpStream, server: SocketAddr, fault: &Arc<Mutex<Fault>>) {
    let Ok(server) = TcpStream::connect(server) else { return };
    let (Ok(mut from_client), Ok(mut from_server)) = (client.try_clone(), server.try_clone()) else { return };
    let (mut to_server, mut to_client) = (server, client);
    let asked = fault.clone();
    let asking = std::thread::spawn(move || {
        let mut bytes = [0; 64 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut bytes) {
            let now = *lock(&asked);
            let passed = match now {
                Fault::Refuses => refuse(&from_client),
                Fault::Cuts => false,
                Fault::None | Fault::Slow(_) => to_server.write_all(&bytes[..count]).is_ok(),
            };
            if !passed {
                let _ = from_client.shutdown(Shutdown::Both);
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 64 << 10];
    while let Ok(count @ 1..) = from_server.read(&mut bytes) {
        let now = *lock(fault);
        if let Fault::Slow(pause) = now {
            std::thread::sleep(pause);
        }
        // A request that is on its way when connections are cut is carried out, and nobody hears of it.
        if now == Fault::Cuts || to_client.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to_client.shutdown(Shutdown::Both);
    let _ = asking.join();
}

/// Says that the server is overloaded, and ends the connection.
fn refuse(mut client: &TcpStream) -> bool {
    let _ = client.write_all(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    false
}
