//! Who is answered, who is believed, and what becomes of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use thalweg_mtls::client::{AskError, Client, Server};
use thalweg_mtls::identity::{Fingerprint, Identity, Peers};
use thalweg_mtls::server::serve;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const LIMIT: Duration = Duration::from_secs(10);
const REPORT: &[u8] = b"{\"state\": \"Running\"}";

fn key() -> Identity {
    Identity::generate().expect("a key")
}

/// A worker that answers these.
struct Worker {
    server: Server,
    known: Peers,
}

impl Worker {
    async fn start(known: &[&Identity]) -> Self {
        let (identity, tcp) = (key(), TcpListener::bind("127.0.0.1:0").await.expect("a port"));
        let server = Server { address: tcp.local_addr().expect("an address"), key: Some(identity.fingerprint()) };
        let peers = Peers::default();
        peers.replace(known.iter().map(|identity| identity.fingerprint()));
        let app = Router::new().route("/report", get(|| async { REPORT }));
        let known = peers.clone();
        tokio::spawn(async move { serve(tcp, &identity, known, app).await.expect("TLS") });
        Self { server, known: peers }
    }
}

async fn ask(client: &Client, server: Server) -> Result<Vec<u8>, AskError> {
    let answer = timeout(LIMIT, client.get(server, "/report", 1_000)).await.expect("in time");
    answer.map(|bytes| bytes.to_vec())
}

/// What comes back of a request that is written as it is.
async fn said(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    // The other side may have hung up.
    let _ = stream.write_all(b"GET /report HTTP/1.0\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// TLS without a key of its own, which believes any server.
fn keyless() -> TlsConnector {
    #[derive(Debug)]
    struct Any;
    impl rustls::client::danger::ServerCertVerifier for Any {
        fn verify_server_cert(
            &self,
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &[rustls::pki_types::CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn the_operator_and_peers_are_answered_and_a_strangers_key_no_key_and_plain_http_are_not() {
    let (operator, peer) = (key(), key());
    let worker = Worker::start(&[&operator, &peer]).await;
    for known in [&operator, &peer] {
        assert_eq!(ask(&Client::new(known.clone()), worker.server).await.expect("an answer"), REPORT);
    }
    let stranger = ask(&Client::new(key()), worker.server).await.expect_err("it is a stranger");
    assert!(matches!(stranger, AskError::Lost(_) | AskError::Connect(_)), "{stranger}");

    let tcp = || async { TcpStream::connect(worker.server.address).await.expect("the port is open") };
    let name = ServerName::try_from("thalweg").expect("a name");
    let keyless = keyless().connect(name, tcp().await).await;
    if let Ok(stream) = keyless {
        assert_eq!(said(stream).await, "", "without a key");
    }
    let plain = said(tcp().await).await;
    assert!(!plain.contains("HTTP") && !plain.contains("Running"), "{plain}");

    assert_eq!(ask(&Client::new(operator), worker.server).await.expect("still"), REPORT);
}

#[tokio::test]
async fn strangers_that_come_at_the_same_time_hold_nobody_up() {
    let operator = key();
    let worker = Worker::start(&[&operator]).await;
    let (stranger, operator) = (Client::new(key()), Client::new(operator));
    for _ in 0..20 {
        operator.close_unused(Duration::ZERO);
        let (refused, answered) = tokio::join!(ask(&stranger, worker.server), ask(&operator, worker.server));
        assert!(refused.is_err());
        assert_eq!(answered.expect("an answer"), REPORT);
    }
}

#[tokio::test]
async fn who_is_known_no_more_is_refused_on_a_connection_that_stands() {
    let peer = key();
    let worker = Worker::start(&[&peer]).await;
    let client = Client::new(peer);
    ask(&client, worker.server).await.expect("it is known");
    worker.known.replace([]);
    let refused = ask(&client, worker.server).await.expect_err("it is not");
    assert!(matches!(&refused, AskError::Status(status) if *status == 403), "{refused}");
    assert!(ask(&client, worker.server).await.is_err(), "nor by another connection");
}

#[tokio::test]
async fn a_key_is_replaced_while_both_are_known() {
    let (old, new) = (key(), key());
    let worker = Worker::start(&[&old]).await;
    let (before, after) = (Client::new(old.clone()), Client::new(new.clone()));
    ask(&before, worker.server).await.expect("the old one");
    ask(&after, worker.server).await.expect_err("it is not known yet");
    worker.known.replace([old.fingerprint(), new.fingerprint()]);
    ask(&before, worker.server).await.expect("the old one, still");
    ask(&after, worker.server).await.expect("the new one, already");
    worker.known.replace([new.fingerprint()]);
    ask(&before, worker.server).await.expect_err("it is replaced");
    ask(&after, worker.server).await.expect("the new one alone");
}

#[tokio::test]
async fn who_answers_must_have_the_key_that_is_expected_of_it() {
    let operator = key();
    let worker = Worker::start(&[&operator]).await;
    let client = Client::new(operator);
    let other = Server { key: Some(key().fingerprint()), ..worker.server };
    let refused = ask(&client, other).await.expect_err("it has another key").to_string();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    ask(&client, Server { key: None, ..worker.server }).await.expect("any key");
}

#[tokio::test]
async fn an_answer_that_is_too_long_and_a_path_that_is_none_are_errors() {
    let operator = key();
    let worker = Worker::start(&[&operator]).await;
    let client = Client::new(operator);
    let long = client.get(worker.server, "/report", REPORT.len() - 1).await.expect_err("too long");
    assert!(matches!(long, AskError::Body(_)), "{long}");
    let none = client.get(worker.server, "/metrics", 1_000).await.expect_err("nothing is there");
    assert_eq!(none.to_string(), "it answered 404 Not Found");
}

/// A way to a server that counts connections, and can cut them.
struct Way {
    server: Server,
    connections: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

impl Way {
    async fn to(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let way = Self { server: Server { address, ..server }, connections: Arc::default(), cut: Arc::default() };
        let (connections, cut) = (way.connections.clone(), way.cut.clone());
        tokio::spawn(async move {
            let mut forwarded = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((mut from, _)) = listener.accept() => {
                        connections.fetch_add(1, Ordering::SeqCst);
                        let mut to = TcpStream::connect(server.address).await.expect("the server");
                        forwarded.spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
                    }
                    () = cut.notified() => forwarded.shutdown().await,
                }
            }
        });
        way
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_connection_is_kept_until_it_is_not_used() {
    let operator = key();
    let worker = Worker::start(&[&operator]).await;
    let way = Way::to(worker.server).await;
    let client = Client::new(operator);
    for _ in 0..3 {
        ask(&client, way.server).await.expect("an answer");
        client.close_unused(LIMIT);
    }
    assert_eq!(way.connections(), 1);
    client.close_unused(Duration::ZERO);
    ask(&client, way.server).await.expect("an answer");
    assert_eq!(way.connections(), 2);
}

#[tokio::test]
async fn who_loses_a_connection_asks_on_another_one() {
    let operator = key();
    let worker = Worker::start(&[&operator]).await;
    let way = Way::to(worker.server).await;
    let client = Client::new(operator);
    for connections in 1..4 {
        ask(&client, way.server).await.expect("an answer");
        assert_eq!(way.connections(), connections);
        way.cut.notify_one();
        // It may not have been cut yet.
        while way.connections() == connections {
            ask(&client, way.server).await.expect("an answer, whatever becomes of the connection before");
            tokio::task::yield_now().await;
        }
    }
}

#[test]
fn a_key_is_read_as_kubernetes_mounts_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Identity::read(folder.path()).expect_err("nothing is there").to_string();
    assert!(missing.contains("tls.crt"), "{missing}");
    let make = || {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
        (certificate, key)
    };
    let (certificate, key) = make();
    std::fs::write(folder.path().join("tls.crt"), certificate.pem()).expect("written");
    std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).expect("written");
    let identity = Identity::read(folder.path()).expect("a key");
    assert_eq!(identity.fingerprint(), Fingerprint::of(certificate.der()).expect("a certificate"));
    std::fs::write(folder.path().join("tls.key"), make().1.serialize_pem()).expect("written");
    let mixed = Identity::read(folder.path()).expect_err("it belongs to another certificate").to_string();
    assert!(mixed.starts_with("setting up TLS: "), "{mixed}");
    std::fs::write(folder.path().join("tls.key"), "no key").expect("written");
    assert!(Identity::read(folder.path()).expect_err("it is none").to_string().contains("tls.key"));
}
