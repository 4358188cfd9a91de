//! Answers over HTTP: documents, and watches as lines that never end.

use std::convert::Infallible;

use futures::{Stream, StreamExt};
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::Value;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A document.
pub fn document(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).expect("a response")
}

/// A document a line.
pub fn lines(values: impl Stream<Item = Value> + Send + 'static) -> Response<Body> {
    let frames = values.map(|value| Ok(Frame::data(Bytes::from(format!("{value}\n")))));
    Response::builder().status(200).body(StreamBody::new(frames).boxed_unsync()).expect("a response")
}
