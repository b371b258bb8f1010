//! A document's content: Yjs updates, which give the same result in any order.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use yrs::updates::decoder::Decode as _;
use yrs::updates::encoder::Encode as _;
use yrs::{Doc, ReadTxn as _, StateVector, Transact as _, Update};

/// Maximum size of an update, in bytes.
pub(super) const MAX_UPDATE: usize = 256 * 1024;
/// Maximum size of a document, in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// Why an update is rejected. Pages handle the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Not a Yjs update.
    Malformed,
    TooLong,
    /// Depends on updates that are missing here, so the page must send all of them.
    Incomplete,
}

impl Problem {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Incomplete => "incomplete",
        }
    }
}

/// A document's content.
pub(super) struct Content {
    doc: Doc,
}

impl Content {
    /// Applies stored updates, which were valid when they were stored.
    pub(super) fn of(updates: &[String]) -> Result<Self, Problem> {
        let content = Self { doc: Doc::new() };
        for update in updates {
            content.apply(&decode(update)?)?;
        }
        Ok(content)
    }

    /// Applies an update if it is valid and complete.
    pub(super) fn add(&self, update: &[u8]) -> Result<(), Problem> {
        if update.len() > MAX_UPDATE {
            return Err(Problem::TooLong);
        }
        self.apply(update)?;
        if self.doc.transact().has_missing_updates() {
            return Err(Problem::Incomplete);
        }
        if self.everything().len() > MAX_DOCUMENT {
            return Err(Problem::TooLong);
        }
        Ok(())
    }

    fn apply(&self, update: &[u8]) -> Result<(), Problem> {
        let update = Update::decode_v1(update).map_err(|_| Problem::Malformed)?;
        self.doc.transact_mut().apply_update(update).map_err(|_| Problem::Malformed)
    }

    /// The whole content as one update.
    pub(super) fn everything(&self) -> Vec<u8> {
        self.since(&StateVector::default())
    }

    /// The changes since a state vector.
    fn since(&self, state: &StateVector) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(state)
    }

    /// The changes since a page's state vector, and the own state vector, by which the page finds the changes
    /// to send.
    pub(super) fn difference(&self, state: &str) -> Result<(String, String), Problem> {
        let state = StateVector::decode_v1(&decode(state)?).map_err(|_| Problem::Malformed)?;
        let own = self.doc.transact().state_vector().encode_v1();
        Ok((encode(&self.since(&state)), encode(&own)))
    }
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    BASE64_STANDARD.decode(text).map_err(|_| Problem::Malformed)
}

pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Runs work on a blocking thread, because it is slow for a long document. Untrusted bytes on which the
/// library panics are malformed.
pub(super) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Problem::Malformed))
}
