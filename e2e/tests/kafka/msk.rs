//! Log-in with an identity in AWS (AWS_MSK_IAM), against a double: MSK cannot be had here. What the double asks for is written
//! down in AWS's Signature Version 4 and in the library that AWS gives to Kafka's own client (aws-msk-iam-auth, version
//! `2020_10_22` of what is signed).

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thalweg_e2e::manifest::Manifest;

use crate::place::Place;
use crate::security::Authority;

const LIMIT: Duration = Duration::from_secs(90);
/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
const REGION: &str = "eu-central-1";
const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// As real ones are, it is not the same in a URL.
const TOKEN: &str = "FwoGZXIvYXdzE/8a+DEXAMPLE==";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What speaks the two requests of a log-in over TLS, judges what was signed by the secret that it knows, and hangs up.
struct Double {
    broker: String,
    /// What was signed, or what is wrong with it.
    judged: mpsc::Receiver<Result<Value, String>>,
}

impl Double {
    fn start(authority: &Authority) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let identity = authority.sign("localhost");
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
        let config = Arc::new(config.expect("they fit"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let broker = format!("localhost:{}", listener.local_addr().expect("bound").port());
        let (tell, judged) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_read_timeout(Some(PATIENCE)).expect("a time");
                let connection = ServerConnection::new(config.clone()).expect("a connection");
                // Who hangs up before is none of those that log in.
                let Ok(found) = log_in(&mut StreamOwned::new(connection, stream)) else { continue };
                if tell.send(found).is_err() {
                    return;
                }
            }
        });
        Self { broker, judged }
    }
}

/// A request of Kafka's protocol: its kind and version, a number that the answer repeats, and what is behind its header.
struct Request {
    kind: (i16, i16),
    number: [u8; 4],
    body: Vec<u8>,
}

impl Request {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut frame = Vec::new();
        from.take(u64::from(u32::from_be_bytes(length))).read_to_end(&mut frame)?;
        let mut frame = &frame[..];
        let kind = (short(&mut frame)?, short(&mut frame)?);
        let mut number = [0; 4];
        frame.read_exact(&mut number)?;
        let client = short(&mut frame)?;
        let mut skipped = vec![0; usize::try_from(client).unwrap_or_default()];
        frame.read_exact(&mut skipped)?;
        Ok(Self { kind, number, body: frame.to_vec() })
    }

    fn answer(&self, to: &mut impl Write, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(self.number.len() + body.len()).expect("short");
        to.write_all(&[&length.to_be_bytes()[..], &self.number, body].concat())?;
        to.flush()
    }
}

fn short(from: &mut &[u8]) -> io::Result<i16> {
    let mut bytes = [0; 2];
    from.read_exact(&mut bytes)?;
    Ok(i16::from_be_bytes(bytes))
}

/// A text of the protocol.
fn text(text: &str) -> Vec<u8> {
    [&i16::try_from(text.len()).expect("short").to_be_bytes()[..], text.as_bytes()].concat()
}

/// Answers `SaslHandshake` (17) and `SaslAuthenticate` (36), each in version 1.
fn log_in(stream: &mut (impl Read + Write)) -> io::Result<Result<Value, String>> {
    const MECHANISM: &str = "AWS_MSK_IAM";
    let handshake = Request::read(stream)?;
    if handshake.kind != (17, 1) || handshake.body != text(MECHANISM) {
        return Ok(Err(format!("{:?} is no handshake of {MECHANISM}: {:?}", handshake.kind, handshake.body)));
    }
    let one = [&[0_u8, 0][..], &1_u32.to_be_bytes(), &text(MECHANISM)].concat();
    handshake.answer(stream, &one)?;
    let log_in = Request::read(stream)?;
    if log_in.kind != (36, 1) {
        return Ok(Err(format!("{:?} is no log-in", log_in.kind)));
    }
    let judged = judge(log_in.body.get(4..).unwrap_or_default());
    let (code, message, token) = match &judged {
        Ok(_) => (0_i16, (-1_i16).to_be_bytes().to_vec(), &br#"{"version":"2020_10_22","request-id":"1"}"#[..]),
        Err(_) => (58, text("Access denied"), &[][..]),
    };
    let length = u32::try_from(token.len()).expect("short");
    let forever = [0_u8; 8];
    log_in.answer(stream, &[&code.to_be_bytes()[..], &message, &length.to_be_bytes(), token, &forever].concat())?;
    Ok(judged)
}

/// What was signed, where the signature is that of the key's secret.
fn judge(signed: &[u8]) -> Result<Value, String> {
    let signed: Value = serde_json::from_slice(signed).map_err(|error| error.to_string())?;
    let of = |name: &str| signed[name].as_str().unwrap_or_default();
    let date = of("x-amz-date");
    let scope = format!("{}/{REGION}/kafka-cluster/aws4_request", date.get(..8).unwrap_or_default());
    let credential = format!("{KEY_ID}/{scope}");
    for (name, expected) in [
        ("version", "2020_10_22"),
        ("host", "localhost"),
        ("action", "kafka-cluster:Connect"),
        ("x-amz-algorithm", ALGORITHM),
        ("x-amz-signedheaders", "host"),
        ("x-amz-credential", credential.as_str()),
        ("x-amz-security-token", TOKEN),
    ] {
        if of(name) != expected {
            return Err(format!("{name}: expected {expected}, found {}", of(name)));
        }
    }
    // By name, in the order of their bytes.
    let query = [
        ("Action", of("action")),
        ("X-Amz-Algorithm", of("x-amz-algorithm")),
        ("X-Amz-Credential", of("x-amz-credential")),
        ("X-Amz-Date", date),
        ("X-Amz-Expires", of("x-amz-expires")),
        ("X-Amz-Security-Token", of("x-amz-security-token")),
        ("X-Amz-SignedHeaders", of("x-amz-signedheaders")),
    ];
    let query = query.map(|(name, value)| format!("{name}={}", in_url(value))).join("&");
    let nothing = hex(&Sha256::digest(b""));
    let request = format!("GET\n/\n{query}\nhost:{}\n\nhost\n{nothing}", of("host"));
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let expected = signature(SECRET, &scope, &to_sign);
    match of("x-amz-signature") == expected {
        true => Ok(signed),
        false => Err(format!("the signature is not {expected}: {signed}")),
    }
}

/// By a key that is made of the secret and of each part of the scope: date, region, service, `aws4_request`.
fn signature(secret: &str, scope: &str, to_sign: &str) -> String {
    let secret = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(secret, |key, part| hmac(&key, part.as_bytes()));
    hex(&hmac(&key, to_sign.as_bytes()))
}

/// HMAC of RFC 2104 with SHA-256, for keys of at most 64 bytes.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn in_url(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

/// Now, as AWS writes it.
fn now() -> String {
    let shown = Command::new("date").args(["-u", "+%Y%m%dT%H%M%SZ"]).output().expect("date runs").stdout;
    String::from_utf8(shown).expect("text").trim().to_owned()
}

/// A pipeline that reads from the double.
fn place(double: &Double, authority: &Authority) -> Place {
    let manifest = Manifest::at(&double.broker)
        .source("events", &["n BIGINT"])
        .kafka("tls: { caFrom: { configMapKeyRef: { name: ca, key: ca.crt } } }")
        .kafka(&format!("sasl: {{ mechanism: AwsMskIam, region: {REGION} }}"))
        .sink("out")
        .connector("blackhole: {}")
        .pipeline("in-aws", &["events"], &["out"], "INSERT INTO out SELECT n FROM events");
    let place = Place::with(&manifest.to_string());
    place.write("secrets/ca/ca.crt", &authority.certificate);
    place
}

/// The identity of a process in AWS.
fn identity(secret: &str) -> [(&'static str, &str); 3] {
    [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", secret), ("AWS_SESSION_TOKEN", TOKEN)]
}

#[test]
fn an_identity_in_aws_signs_a_request_to_connect_and_a_wrong_secret_is_refused_and_never_told() {
    const WRONG: &str = "wr0ngUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let authority = Authority::new();
    let double = Double::start(&authority);
    let place = place(&double, &authority);
    let (began, since) = (now(), Instant::now());
    let mut run = place.run_as(&["--secrets", "secrets"], &identity(SECRET));
    let signed = loop {
        if let Ok(judged) = double.judged.recv_timeout(Duration::from_millis(100)) {
            break judged.unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        if run.has_ended() {
            assert!(run.said().contains("through librdkafka, which does not know it"), "{}", run.said());
            return;
        }
        assert!(since.elapsed() < LIMIT, "nobody logs in: {}", run.said());
    };
    // MSK takes a quarter of an hour at the most.
    let expires: u32 = signed["x-amz-expires"].as_str().expect("a text").parse().expect("seconds");
    assert!((1..=900).contains(&expires), "{signed}");
    let date = signed["x-amz-date"].as_str().expect("a text");
    assert!(began.as_str() <= date && date <= now().as_str(), "{began}, {signed}");
    assert!(signed["user-agent"].as_str().is_some_and(|agent| !agent.is_empty()), "{signed}");
    // Logged in, it meets nobody who speaks further: that is waited for.
    run.kill();

    let said = place.run_as(&["--secrets", "secrets"], &identity(WRONG)).fails(LIMIT);
    assert!(said.contains("check `tls` and `sasl`"), "{said}");
    assert!(![SECRET, WRONG, TOKEN].iter().any(|secret| said.contains(secret)), "no secret is told: {said}");
    let wrong = loop {
        // What the first run signed may come late.
        if let Err(wrong) = double.judged.recv_timeout(LIMIT).expect("it was judged") {
            break wrong;
        }
    };
    assert!(wrong.starts_with("the signature is not"), "{wrong}");
}

/// The example of AWS's documentation ("Create a signed AWS API request").
#[test]
fn the_double_signs_as_aws_does() {
    let scope = "20150830/us-east-1/iam/aws4_request";
    let of_request = "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
    let to_sign = format!("{ALGORITHM}\n20150830T123600Z\n{scope}\n{of_request}");
    let expected = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
    assert_eq!(signature(SECRET, scope, &to_sign), expected);
    assert_eq!(in_url("a/b+c=~"), "a%2Fb%2Bc%3D~");
}
