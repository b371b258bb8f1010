//! What the HTTP API answers: JSON when it did what was asked, one sentence of text when it did not.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

/// A whole response.
pub(crate) type Answer = Response<Full<Bytes>>;

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

pub(crate) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
