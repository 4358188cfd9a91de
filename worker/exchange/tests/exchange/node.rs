//! Processes that find each other by an assignment, and a network between them that can be cut.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::clock::SystemClock;
use thalweg_core::unit::RunId;
use thalweg_exchange::hub::Hub;
use thalweg_exchange::link::PeerAddress;
use thalweg_mtls::identity::Identity;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::worker::{Shared, run, subscription};

/// A process that listens until it is dropped.
pub struct Node {
    pub hub: Hub,
    pub address: PeerAddress,
    /// Connections that stand, in both directions of those that come to this node.
    pub connections: Shared<usize>,
    cut: watch::Sender<()>,
    tasks: [AbortHandle; 2],
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Node {
    pub async fn start(name: &str) -> Self {
        let identity = Identity::generate().expect("a key");
        let hub = Hub::new(run(name), Arc::new(SystemClock::new()), Duration::from_millis(20));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let behind = listener.local_addr().expect("it is bound");
        let front = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = front.local_addr().expect("it is bound");
        let address = PeerAddress { run: run(name), address, fingerprint: identity.fingerprint() };
        let listening = hub.clone();
        let listen = tokio::spawn(async move { listening.listen(listener, &identity).await.map(|_| ()) });
        let (cut, connections) = (watch::Sender::default(), Shared::default());
        let forward = tokio::spawn(forward(front, behind, cut.clone(), connections.clone()));
        Self { hub, address, connections, cut, tasks: [listen.abort_handle(), forward.abort_handle()] }
    }

    /// Ends all connections of others to this node.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }
}

/// Passes connections on, so that they can be cut.
async fn forward(front: TcpListener, behind: SocketAddr, cut: watch::Sender<()>, connections: Shared<usize>) {
    let mut tasks = JoinSet::new();
    while let Ok((mut from, _)) = front.accept().await {
        let (mut cut, connections) = (cut.subscribe(), connections.clone());
        tasks.spawn(async move {
            let Ok(mut to) = TcpStream::connect(behind).await else { return };
            // Small messages are not to be held back between.
            [&from, &to].into_iter().for_each(|stream| stream.set_nodelay(true).expect("it is open"));
            connections.change(|connections| *connections += 1);
            tokio::select! {
                _ = copy_bidirectional(&mut from, &mut to) => {}
                _ = cut.changed() => {}
            }
            connections.change(|connections| *connections -= 1);
        });
    }
}

/// Gives all of these the same assignment: all of them are peers, and the log is read by one of them.
pub fn assign(nodes: &[&Node], reader: Option<&Node>) {
    let logs = reader.map(|reader| (subscription(0).log, reader.address.run.clone()));
    let logs: BTreeMap<_, RunId> = logs.into_iter().collect();
    for node in nodes {
        node.hub.place(nodes.iter().map(|node| node.address.clone()).collect(), logs.clone());
    }
}
