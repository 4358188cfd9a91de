//! Requests to the API server are seen, whoever of us asks it for what: all are counted.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::kills::Kills;
use crate::metrics::Metrics;

/// What a request that nobody answered has in place of a code.
const NO_ANSWER: &str = "none";

/// The API server that the environment names, each request to which is counted. Where a file is given, the process ends at its
/// writes, and notes them there.
///
/// # Errors
/// Neither a pod's environment nor a kubeconfig says how it is reached, or what they say is of no use; the file is of no use.
pub async fn client(
    metrics: &Arc<Metrics>,
    kills: Option<&Path>,
) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let config = Config::infer().await?;
    let builder = ClientBuilder::try_from(config)?.with_layer(&Seeing(Arc::clone(metrics)));
    Ok(match kills {
        Some(file) => builder.with_layer(&Seeing(Arc::new(Kills::noted_in(file)?))).build(),
        None => builder.build(),
    })
}

/// Somebody who sees each request begin and end.
pub trait Witness: Send + Sync + 'static {
    /// What is remembered of a request until it has ended.
    type Seen: Send + 'static;

    /// It is about to be sent.
    fn begins(&self, request: &Request<Body>) -> Self::Seen;

    /// It was answered with this status, or by nobody.
    fn ends(&self, seen: Self::Seen, status: Option<StatusCode>);
}

/// Makes a service one whose requests are seen.
pub struct Seeing<W>(pub Arc<W>);

impl<S, W> Layer<S> for Seeing<W> {
    type Service = Seen<S, W>;

    fn layer(&self, inner: S) -> Seen<S, W> {
        Seen { inner, witness: Arc::clone(&self.0) }
    }
}

/// A service whose requests are seen.
pub struct Seen<S, W> {
    inner: S,
    witness: Arc<W>,
}

impl<S, B, W> Service<Request<Body>> for Seen<S, W>
where
    S: Service<Request<Body>, Response = Response<B>> + 'static,
    S::Future: Send + 'static,
    W: Witness,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (seen, witness) = (self.witness.begins(&request), Arc::clone(&self.witness));
        let answer = self.inner.call(request);
        let ended = async move {
            let answer = answer.await;
            witness.ends(seen, answer.as_ref().ok().map(Response::status));
            answer
        };
        ended.boxed()
    }
}

/// Requests are counted.
impl Witness for Metrics {
    type Seen = (&'static str, Instant);

    fn begins(&self, request: &Request<Body>) -> Self::Seen {
        (verb(request), Instant::now())
    }

    fn ends(&self, (verb, began): Self::Seen, status: Option<StatusCode>) {
        let code = status.as_ref().map_or(NO_ANSWER, StatusCode::as_str);
        self.requested(verb, code, began.elapsed());
    }
}

/// A watch, which is one request for as long as it lasts.
pub const WATCH: &str = "watch";

/// What is asked, in the words of Kubernetes.
fn verb(request: &Request<Body>) -> &'static str {
    let watches = || request.uri().query().unwrap_or_default().split('&').any(|pair| pair == "watch=true");
    let applies = || {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        kind.is_some_and(|kind| kind.starts_with("application/apply-patch"))
    };
    match *request.method() {
        Method::GET if watches() => WATCH,
        Method::GET if names_one(request.uri().path()) => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH if applies() => "apply",
        Method::PATCH => "patch",
        Method::DELETE if names_one(request.uri().path()) => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    }
}

/// Whether a path is that of one object, or of nothing that there are several of.
fn names_one(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    let group = match parts.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return true,
    };
    let parts: Vec<_> = parts.skip(group).collect();
    match parts.as_slice() {
        ["namespaces", _, _, rest @ ..] | [_, rest @ ..] => !rest.is_empty(),
        [] => true,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use k8s_openapi::api::coordination::v1::Lease;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;
    use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
    use serde_json::json;

    use super::*;

    /// A client of an API server that has nothing.
    fn empty_handed(metrics: &Arc<Metrics>) -> Client {
        let service = tower::service_fn(|_: Request<Body>| async {
            let answer = Response::builder().status(404).body(Body::empty());
            Ok::<_, Infallible>(answer.expect("a response"))
        });
        ClientBuilder::new(Seeing(Arc::clone(metrics)).layer(service), "default").build()
    }

    #[tokio::test]
    async fn requests_are_counted_by_verb_and_code_and_their_time_is_taken_but_that_of_watches() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let client = empty_handed(&metrics);
        let leases: Api<Lease> = Api::namespaced(client.clone(), "shop");
        let namespaces: Api<Namespace> = Api::all(client);
        let lease = Lease::default();
        assert!(leases.get("a").await.is_err());
        assert!(namespaces.get("shop").await.is_err());
        assert!(leases.list(&ListParams::default()).await.is_err());
        assert!(namespaces.list(&ListParams::default()).await.is_err());
        drop(leases.watch(&WatchParams::default(), "0").await);
        assert!(leases.create(&PostParams::default(), &lease).await.is_err());
        assert!(leases.patch("a", &PatchParams::default(), &Patch::Merge(json!({}))).await.is_err());
        assert!(leases.patch_status("a", &PatchParams::apply("me"), &Patch::Apply(json!({}))).await.is_err());
        assert!(leases.delete("a", &DeleteParams::default()).await.is_err());
        let counts = ["get", "list", "watch", "create", "patch", "apply", "delete"]
            .map(|verb| metrics.requests.with_label_values(&[verb, "404"]).get());
        assert_eq!(counts, [2, 2, 1, 1, 1, 1, 1], "{}", metrics.text());
        let timed = ["get", "list", "watch", "create"]
            .map(|verb| metrics.request_seconds.with_label_values(&[verb]).get_sample_count());
        assert_eq!(timed, [2, 2, 0, 1], "{}", metrics.text());
    }

    #[tokio::test]
    async fn a_request_that_nobody_answers_is_counted_as_well() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let service = tower::service_fn(|_: Request<Body>| async {
            Err::<Response<Body>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
        });
        let client = ClientBuilder::new(Seeing(Arc::clone(&metrics)).layer(service), "default").build();
        let leases: Api<Lease> = Api::namespaced(client, "shop");
        assert!(leases.get("a").await.is_err());
        assert_eq!(metrics.requests.with_label_values(&["get", "none"]).get(), 1, "{}", metrics.text());
    }

    #[test]
    fn a_path_names_one_or_many() {
        let many =
            ["/api/v1/pods", "/api/v1/namespaces", "/api/v1/namespaces/n/pods", "/apis/g/v1/namespaces/n/leases"];
        let one = [
            "/api/v1/namespaces/n",
            "/api/v1/namespaces/n/pods/p",
            "/apis/g/v1/namespaces/n/leases/l/status",
            "/version",
        ];
        assert!(!many.into_iter().any(names_one));
        assert!(one.into_iter().all(names_one));
    }
}
