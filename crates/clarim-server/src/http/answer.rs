//! What the HTTP API answers: JSON when it did what was asked, one sentence of text when it did not.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

/// A response: whole, or as it comes.
pub(crate) type Answer = Response<Either<Full<Bytes>, Stream>>;

/// A body that is sent piece by piece, and ends when its other end is dropped.
#[derive(Debug)]
pub(crate) struct Stream(mpsc::Receiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = ready!(self.0.poll_recv(context));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A request that was refused: the status and the sentence that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) sentence: String,
    allow: Option<&'static str>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into(), allow: None }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found.")
    }

    /// `allow`: the methods that the path knows.
    pub(crate) fn method(allow: &'static str) -> Self {
        let sentence = format!("Method not allowed; this path knows {allow}.");
        Self { status: StatusCode::METHOD_NOT_ALLOWED, sentence, allow: Some(allow) }
    }

    /// The body is no JSON at all.
    pub(crate) fn malformed(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// The body is JSON, but a field of it isn't what it must be.
    pub(crate) fn invalid(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, sentence)
    }

    pub(crate) fn too_large(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
    }

    /// The server can't do it now, but may soon.
    pub(crate) fn busy(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let mut answer = text(refused.status, refused.sentence + "\n");
        let headers = answer.headers_mut();
        if let Some(allow) = refused.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if refused.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// A JSON answer with status 200.
pub(crate) fn json(body: impl Into<Bytes>) -> Answer {
    with_type(StatusCode::OK, "application/json", body)
}

/// A JSON answer built of a value.
pub(crate) fn json_value(value: &serde_json::Value) -> Answer {
    json(value.to_string())
}

pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body)
}

/// A file of a page that is built in. `policy`: what the page may load.
pub(crate) fn page_file(
    content_type: &'static str,
    text: &'static str,
    policy: &'static str,
) -> Answer {
    let mut answer = with_type(StatusCode::OK, content_type, text);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// That it is done, and nothing more is to be said.
pub(crate) fn no_content() -> Answer {
    let mut answer = text(StatusCode::NO_CONTENT, "");
    answer.headers_mut().remove(CONTENT_TYPE);
    answer
}

/// An answer that goes on.
pub(crate) fn streamed(pieces: mpsc::Receiver<Bytes>) -> Answer {
    Response::new(Either::Right(Stream(pieces)))
}

pub(crate) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
