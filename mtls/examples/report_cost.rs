//! What a report costs over mutual TLS, against plain HTTP: handshakes, questions on connections that are kept, and the memory of a
//! connection. Prints one JSON object. `cargo run --workspace --example report_cost [CONNECTIONS]`
//!
//! Workers are a process of their own, so that time and memory are those of the operator's side.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use thalweg_mtls::client::{Client, Server};
use thalweg_mtls::identity::{Identity, Peers};
use thalweg_mtls::server::serve;
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error>;

/// A report of some twenty units and splits.
const BYTES: usize = 5_000;
/// How often each worker is asked.
const ROUNDS: usize = 20;

fn main() -> Result<(), Failure> {
    let argument = std::env::args().nth(1);
    // One thread, whose time is known to the nanosecond.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match argument.as_deref() {
        Some("workers") => runtime.block_on(workers()),
        connections => runtime.block_on(operator(connections.map_or(Ok(2_000), str::parse)?)),
    }
}

/// Listens with TLS and without, and says where; it is told whom to answer.
async fn workers() -> Result<(), Failure> {
    let operator = BufReader::new(std::io::stdin()).lines().next().ok_or("nobody to answer")??;
    let known = Peers::default();
    known.replace([operator.parse()?]);
    let identity = Identity::generate()?;
    let app = || Router::new().route("/report", get(|| async { "x".repeat(BYTES) }));
    let (plain, tls) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    println!("{} {} {}", plain.local_addr()?, tls.local_addr()?, identity.fingerprint());
    tokio::spawn(async move { axum::serve(plain, app()).await });
    serve(tls, &identity, known, app()).await?;
    Ok(())
}

async fn operator(connections: usize) -> Result<(), Failure> {
    let identity = Identity::generate()?;
    let mut child = Command::new(std::env::current_exe()?);
    let mut child = child.arg("workers").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    writeln!(child.stdin.take().ok_or("piped")?, "{}", identity.fingerprint())?;
    let said = BufReader::new(child.stdout.take().ok_or("piped")?).lines().next().ok_or("it ended")??;
    let [plain, tls, key] = said.split(' ').collect::<Vec<_>>()[..] else { return Err(said.into()) };

    // They stay open, so that what comes after them takes memory of its own.
    let (without, _open) = measured_plain(plain.parse()?, connections).await?;
    let with = measured_tls(identity, Server { address: tls.parse()?, key: Some(key.parse()?) }, connections).await?;
    println!("{}", json!({"connections": connections, "bytes": BYTES, "plain": without, "tls": with}));
    child.kill()?;
    child.wait()?;
    Ok(())
}

async fn measured_plain(address: SocketAddr, connections: usize) -> Result<(Value, Vec<SendRequest<Body>>), Failure> {
    let (memory, begun) = (memory()?, cpu()?);
    let mut kept: Vec<SendRequest<Body>> = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, carrier) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(carrier);
        kept.push(sender);
        ask_plainly(kept.last_mut().ok_or("it is there")?).await?;
    }
    let opened = cpu()?;
    for _ in 0..ROUNDS {
        for sender in &mut kept {
            ask_plainly(sender).await?;
        }
    }
    Ok((figures(connections, memory, [begun, opened, cpu()?])?, kept))
}

async fn ask_plainly(sender: &mut SendRequest<Body>) -> Result<(), Failure> {
    sender.ready().await?;
    let request = Request::get("/report").header("host", "worker").body(Body::empty())?;
    let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
    if body.len() == BYTES { Ok(()) } else { Err("another report".into()) }
}

async fn measured_tls(identity: Identity, server: Server, connections: usize) -> Result<Value, Failure> {
    let (memory, begun) = (memory()?, cpu()?);
    // Each of them keeps one connection to a server.
    let clients: Vec<_> = (0..connections).map(|_| Client::new(identity.clone())).collect();
    for client in &clients {
        client.get(server, "/report", BYTES).await?;
    }
    let opened = cpu()?;
    for _ in 0..ROUNDS {
        for client in &clients {
            client.get(server, "/report", BYTES).await?;
        }
    }
    figures(connections, memory, [begun, opened, cpu()?])
}

fn figures(connections: usize, memory_before: u64, [begun, opened, ended]: [u64; 3]) -> Result<Value, Failure> {
    let (connections, rounds) = (connections as u64, ROUNDS as u64);
    Ok(json!({
        "firstReportCpuMicros": (opened - begun) / connections / 1_000,
        "reportCpuMicros": (ended - opened) / connections / rounds / 1_000,
        "connectionBytes": memory()?.saturating_sub(memory_before) / connections,
    }))
}

/// Nanoseconds that this thread has worked.
fn cpu() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(text.split(' ').next().ok_or("no figures")?.parse()?)
}

/// Bytes of this process's own.
fn memory() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no figures")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
