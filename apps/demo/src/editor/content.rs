//! What a document is made of: updates of Yjs, which together are its content in whatever order they come.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use yrs::updates::decoder::Decode as _;
use yrs::updates::encoder::Encode as _;
use yrs::{Doc, ReadTxn as _, StateVector, Transact as _, Update};

/// The largest update, in bytes.
pub(super) const MAX_UPDATE: usize = 256 * 1024;
/// The largest document.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// Why an update is not taken; the page knows these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is no update of Yjs.
    Malformed,
    TooLong,
    /// It continues something that is not here: the page is to send all that is missing.
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

/// What is in a document.
pub(super) struct Content {
    doc: Doc,
}

impl Content {
    /// Of stored updates, which were valid when they were stored.
    pub(super) fn of(updates: &[String]) -> Result<Self, Problem> {
        let content = Self { doc: Doc::new() };
        for update in updates {
            content.apply(&decode(update)?)?;
        }
        Ok(content)
    }

    /// Takes an update, unless it is not one or needs what is missing.
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

    /// All of it, in one update.
    pub(super) fn everything(&self) -> Vec<u8> {
        self.since(&StateVector::default())
    }

    /// What somebody who has that much does not have.
    fn since(&self, state: &StateVector) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(state)
    }

    /// What the page does not have, and how much there is here: by it the page knows what to send.
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

/// Away from the threads that answer, as it takes long for a long document. A stranger's bytes over which the
/// library panics are no valid ones.
pub(super) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Problem::Malformed))
}
