//! HTTP to an object store, at addresses that may be reached.
//!
//! A name is looked up by [`Lookup`], and what it answers is what is connected to: no second look-up can give another address.
//! An address that stands in a URL is not looked up, so it is judged there: in a request, and in where an answer redirects to.
//! Behind a proxy of the environment (`HTTPS_PROXY`), the proxy looks names up, and this judges the proxy's address.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientConfigKey as Key, ClientOptions};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy, Url};
use thalweg_core::address::{Reachable, Refused};
use thalweg_core::endpoint::is_yes;

/// What a request names as its sender.
const SENDER: &str = concat!("thalweg/", env!("CARGO_PKG_VERSION"));

type SetTime = fn(ClientBuilder, Duration) -> ClientBuilder;
type SwitchOn = fn(ClientBuilder) -> ClientBuilder;
type Failure = Box<dyn StdError + Send + Sync>;

/// Makes clients that reach what may be reached.
#[derive(Debug)]
pub(crate) struct Guarded(Arc<Reachable>);

impl Guarded {
    pub(crate) fn new(reachable: Reachable) -> Self {
        Self(Arc::new(reachable))
    }
}

impl HttpConnector for Guarded {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = client(options, &self.0);
        let client = client.map_err(|source| object_store::Error::Generic { store: "S3", source })?;
        Ok(HttpClient::new(Judged { client, reachable: self.0.clone() }))
    }
}

/// The client that the options describe. The crate of object stores makes one of them itself, which follows a redirect to
/// whatever address.
fn client(options: &ClientOptions, reachable: &Arc<Reachable>) -> Result<Client, Failure> {
    let said = |key| options.get_config_value(&key);
    let is = |key| said(key).is_some_and(|said| is_yes(&said));
    let mut builder = Client::builder()
        .dns_resolver(Lookup { reachable: reachable.clone(), turn: AtomicUsize::new(0) })
        .redirect(redirects(reachable.clone()))
        .user_agent(said(Key::UserAgent).unwrap_or_else(|| SENDER.to_owned()))
        .https_only(!is(Key::AllowHttp))
        .tls_danger_accept_invalid_certs(is(Key::AllowInvalidCertificates))
        // The length of a compressed answer is not that of the object.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate();
    let times: [(Key, SetTime); 6] = [
        (Key::Timeout, ClientBuilder::timeout),
        (Key::ConnectTimeout, ClientBuilder::connect_timeout),
        (Key::ReadTimeout, ClientBuilder::read_timeout),
        (Key::PoolIdleTimeout, |builder, time| builder.pool_idle_timeout(time)),
        (Key::Http2KeepAliveInterval, |builder, time| builder.http2_keep_alive_interval(time)),
        (Key::Http2KeepAliveTimeout, ClientBuilder::http2_keep_alive_timeout),
    ];
    for (key, set) in times {
        if let Some(time) = said(key) {
            builder = set(builder, humantime::parse_duration(&time)?);
        }
    }
    let switches: [(Key, SwitchOn); 4] = [
        (Key::Http1Only, ClientBuilder::http1_only),
        (Key::Http2Only, ClientBuilder::http2_prior_knowledge),
        (Key::Http2KeepAliveWhileIdle, |builder| builder.http2_keep_alive_while_idle(true)),
        (Key::NoSystemCertificates, |builder| builder.tls_certs_only([])),
    ];
    for (key, set) in switches {
        if is(key) {
            builder = set(builder);
        }
    }
    if let Some(most) = said(Key::PoolMaxIdlePerHost) {
        builder = builder.pool_max_idle_per_host(most.parse()?);
    }
    if let Some(bytes) = said(Key::Http2MaxFrameSize) {
        builder = builder.http2_max_frame_size(bytes.parse::<u32>()?);
    }
    if let Some(pem) = said(Key::ProxyCaCertificate) {
        builder = builder.tls_certs_merge([Certificate::from_pem(pem.as_bytes())?]);
    }
    if let Some(url) = said(Key::ProxyUrl) {
        let excluded = said(Key::ProxyExcludes).and_then(|names| NoProxy::from_string(&names));
        builder = builder.proxy(Proxy::all(url)?.no_proxy(excluded));
    }
    Ok(builder.build()?)
}

/// Follows redirects, as is usual, to what may be reached.
fn redirects(reachable: Arc<Reachable>) -> Policy {
    let usual = Policy::default();
    Policy::custom(move |attempt| match judge(&reachable, attempt.url()) {
        Err(refused) => attempt.error(refused),
        Ok(()) => usual.redirect(attempt),
    })
}

/// Judges the address that a URL names, where it names one.
fn judge(reachable: &Reachable, url: &Url) -> Result<(), Refused> {
    // Whatever form it was written in (`http://2852039166`), the parsed URL has the usual one.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.parse::<IpAddr>().map_or(Ok(()), |address| reachable.judge(host, address))
}

/// Looks names up.
struct Lookup {
    reachable: Arc<Reachable>,
    turn: AtomicUsize,
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let (reachable, turn) = (self.reachable.clone(), self.turn.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            // The port is that of the URL.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let mut addresses: Vec<SocketAddr> = found.collect();
            reachable.judge_all(name.as_str(), addresses.iter().map(SocketAddr::ip))?;
            // A large store has many machines: each gets its share.
            let first = turn % addresses.len().max(1);
            addresses.rotate_left(first);
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A client, and what it may reach.
#[derive(Debug)]
struct Judged {
    client: Client,
    reachable: Arc<Reachable>,
}

#[async_trait]
impl HttpService for Judged {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let url = request.uri().to_string().parse::<Url>();
        let url = url.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        judge(&self.reachable, &url).map_err(once)?;
        HttpService::call(&self.client, request).await.map_err(|error| match refused(&error) {
            Some(refused) => once(refused.clone()),
            None => error,
        })
    }
}

/// A refusal as an error that is not tried again.
fn once(refused: Refused) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, refused)
}

/// The refusal that caused an error.
pub(crate) fn refused<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Refused> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStore, ObjectStoreExt};
    use thalweg_core::address::Surroundings;
    use thalweg_core::error::{Error, ErrorKind};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::BucketAccess;

    /// Nothing that is refused is tried again: the crate of object stores would go on for three minutes.
    const SOON: Duration = Duration::from_secs(20);

    fn bucket(endpoint: &str, exceptions: &[&str], surroundings: Surroundings) -> impl ObjectStore {
        let exceptions = exceptions.iter().map(|range| range.parse().expect("a range")).collect();
        let access = BucketAccess {
            endpoint: Some(endpoint.to_owned()),
            region: Some("us-east-1".to_owned()),
            allow_http: true,
            access_key_id: Some("id".to_owned()),
            secret_access_key: Some("key".to_owned()),
            reachable: Reachable::new("s3.allowPrivateAddresses", exceptions, surroundings),
        };
        access.open("`s3://b`", "b").expect("a client")
    }

    fn pod() -> Surroundings {
        Surroundings::new(Some("10.96.0.1".to_owned()))
    }

    async fn read(bucket: &impl ObjectStore) -> Error {
        let read = timeout(SOON, bucket.get(&"a".into())).await.expect("it is told at once");
        crate::error("reading `s3://b/a`", &read.expect_err("refused"))
    }

    #[tokio::test]
    async fn an_endpoint_at_a_refused_address_is_an_error_of_the_resource_in_whatever_form_it_is_written() {
        for endpoint in [
            "http://169.254.169.254",
            "https://169.254.169.254/latest",
            "http://[::ffff:169.254.169.254]:80",
            "http://2852039166",
            "http://0xa9fea9fe",
        ] {
            let error = read(&bucket(endpoint, &[], Surroundings::Machine)).await;
            assert_eq!(error.kind, ErrorKind::User, "{endpoint}: {error}");
            assert_eq!(
                error.to_string(),
                "reading `s3://b/a`: `169.254.169.254` is where clouds hand out the credentials of a machine, which connectors do \
                 not reach (name another host; where this one is meant, say `s3.allowPrivateAddresses: [\"169.254.169.254/32\"]`)",
                "{endpoint}"
            );
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_the_address_that_it_leads_to() {
        let error = read(&bucket("http://localhost:9", &[], pod())).await;
        assert_eq!(error.kind, ErrorKind::User, "{error}");
        assert!(error.detail.starts_with("`localhost` is at "), "{error}");
        assert!(error.detail.contains("this pod itself"), "{error}");
    }

    #[tokio::test]
    async fn what_is_named_as_an_exception_is_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let object = "a".into();
        for host in ["localhost", "127.0.0.1"] {
            let bucket = bucket(&format!("http://{host}:{port}"), &["127.0.0.0/8", "::1"], pod());
            tokio::select! {
                accepted = timeout(SOON, listener.accept()) => { accepted.expect("in time").expect("connected"); }
                answer = bucket.get(&object) => panic!("nobody answers: {answer:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_redirect_to_a_refused_address_is_not_followed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let (mut asked, _) = listener.accept().await.expect("connected");
            let mut request = [0; 8192];
            let _ = asked.read(&mut request).await.expect("a request");
            let answer =
                "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/\r\nContent-Length: 0\r\n\r\n";
            asked.write_all(answer.as_bytes()).await.expect("answered");
        });
        let error = read(&bucket(&format!("http://127.0.0.1:{port}"), &[], Surroundings::Machine)).await;
        assert_eq!(error.kind, ErrorKind::User, "{error}");
        assert!(error.detail.starts_with("`169.254.169.254` is where"), "{error}");
    }
}
