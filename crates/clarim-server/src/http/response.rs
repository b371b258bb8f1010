//! Responses of the HTTP API: JSON if it did what was asked, one line of text if it did not.

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

use crate::runtime::RequestInProgress;

/// A response, whole or streamed.
pub(crate) type ApiResponse = Response<Either<Full<Bytes>, StreamBody>>;

/// A body that is sent piece by piece, and ends when its sender is dropped.
#[derive(Debug)]
pub(crate) struct StreamBody {
    pieces: mpsc::Receiver<Bytes>,
    /// Dropped with the body.
    in_progress: Option<RequestInProgress>,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = ready!(self.pieces.poll_recv(context));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// An error response: the status and one line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    allow: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allow: None }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found.")
    }

    /// `allow`: the methods that the path supports.
    pub(crate) fn method(allow: &'static str) -> Self {
        let message = format!("Method not allowed. This path supports {allow}.");
        Self { status: StatusCode::METHOD_NOT_ALLOWED, message, allow: Some(allow) }
    }

    /// The request can't be parsed, or a value in it is invalid.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The request is JSON, and a field of it is missing or has another type.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// The server can't do it now, and may soon.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl From<ApiError> for ApiResponse {
    fn from(error: ApiError) -> Self {
        let mut response = text(error.status, error.message + "\n");
        let headers = response.headers_mut();
        if let Some(allow) = error.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if error.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A JSON response with status 200.
pub(crate) fn json(body: impl Into<Bytes>) -> ApiResponse {
    with_type(StatusCode::OK, "application/json", body)
}

/// A JSON response with status 200, built of a value.
pub(crate) fn json_value(value: &serde_json::Value) -> ApiResponse {
    json(value.to_string())
}

pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> ApiResponse {
    with_type(status, "text/plain; charset=utf-8", body)
}

/// A file of a built-in page. `policy` is its content security policy.
pub(crate) fn page_file(
    content_type: &'static str,
    text: &'static str,
    policy: &'static str,
) -> ApiResponse {
    let mut response = with_type(StatusCode::OK, content_type, text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// An empty response with status 204.
pub(crate) fn no_content() -> ApiResponse {
    let mut response = text(StatusCode::NO_CONTENT, "");
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// A response that is streamed.
pub(crate) fn streamed(pieces: mpsc::Receiver<Bytes>) -> ApiResponse {
    Response::new(Either::Right(StreamBody { pieces, in_progress: None }))
}

/// Counts a request as in progress until its streamed response has ended. A whole response ends at once.
pub(crate) fn hold(response: &mut ApiResponse, in_progress: Option<RequestInProgress>) {
    if let Either::Right(body) = response.body_mut() {
        body.in_progress = in_progress;
    }
}

/// Whether a response is sent piece by piece.
pub(crate) fn is_streamed(response: &ApiResponse) -> bool {
    matches!(response.body(), Either::Right(_))
}

pub(crate) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> ApiResponse {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
