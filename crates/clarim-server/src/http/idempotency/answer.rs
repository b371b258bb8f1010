//! Answers to published events and requests.

use bytes::Bytes;
use hyper::header::HeaderValue;

use crate::http::publish::PublishScope;
use crate::http::response::{ApiResponse, json};

/// Maximum size of an answer that the other nodes get, in bytes. Their repeats of a longer one are answered
/// without attributes of channels.
const MAX_SHARED_ANSWER: usize = 64 << 10;

/// Bytes of a key with an answer that has no body of its own.
const KEY_BYTES: usize = 128;

/// An answer to a published event or request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) scope: PublishScope,
    /// Some node has not replied.
    pub(crate) is_partial: bool,
}

impl Answer {
    /// The answer without attributes of channels.
    pub(crate) fn plain(scope: PublishScope) -> Self {
        Self { body: Bytes::from_static(b"{}"), scope, is_partial: false }
    }

    /// The answer for other nodes.
    pub(super) fn encode(&self) -> Bytes {
        let is_long = self.body.len() > MAX_SHARED_ANSWER;
        let body = if is_long { &b"{}"[..] } else { &self.body };
        let flags =
            u8::from(self.scope == PublishScope::ThisNode) | (u8::from(self.is_partial) << 1);
        [&[flags], body].concat().into()
    }

    /// The answer of another node.
    pub(super) fn decode(encoded: &Bytes) -> Self {
        let flags = encoded.first().copied().unwrap_or_default();
        let is_local = flags & 1 != 0;
        Self {
            body: encoded.slice(encoded.len().min(1)..),
            scope: if is_local { PublishScope::ThisNode } else { PublishScope::AllNodes },
            is_partial: flags & 2 != 0,
        }
    }

    pub(super) fn cost(&self) -> usize {
        KEY_BYTES + if self.body.len() > 2 { self.body.len() } else { 0 }
    }
}

impl From<Answer> for ApiResponse {
    fn from(answer: Answer) -> Self {
        let mut response = json(answer.body);
        let headers = response.headers_mut();
        if answer.scope == PublishScope::ThisNode {
            let warning = "local only: the bus is down, or not all nodes are back on it";
            headers.insert("clarim-warning", HeaderValue::from_static(warning));
        }
        if answer.is_partial {
            headers.insert("clarim-partial", HeaderValue::from_static("true"));
        }
        response
    }
}
