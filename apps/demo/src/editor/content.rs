//! A document's content: Yjs updates, which give the same result in any order.
//!
//! This runs in a process of its own ([`sandbox`](mod@super::sandbox)), because the library is not made for
//! hostile updates: some make it panic, allocate without bounds, or crash.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use yrs::updates::decoder::Decode as _;
use yrs::updates::encoder::Encode as _;
use yrs::{Doc, IdSet, ReadTxn as _, StateVector, Transact as _, Update};

use super::wire;

/// Maximum size of an update, in bytes.
pub(super) const MAX_UPDATE: usize = 256 * 1024;
/// Maximum size of a document, in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// Why an update is rejected. Pages handle the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// A task for the other process. Bytes are base64.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    /// Stored updates, in order.
    pub(super) stored: Vec<String>,
    pub(super) work: Work,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Work {
    /// Loads the stored updates, to find out whether the document can be edited.
    Load,
    /// Adds a page's update, which [`wire`] has checked.
    Add { update: String },
    /// Finds what a page with this state vector lacks.
    Compare { state: String },
}

/// The result of a [`Task`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// What the page's update changed, or what the page lacks. The library has written it: pages get no bytes
    /// of another page.
    pub(super) update: String,
    /// The whole content, after `Add`.
    pub(super) everything: String,
    /// The own state vector, after `Compare`, by which the page finds the changes to send.
    pub(super) state: String,
}

impl Task {
    pub(super) fn run(self) -> Result<Outcome, Problem> {
        let content = Content::of(&self.stored)?;
        match self.work {
            Work::Load => {
                content.rehearse(&self.stored)?;
                Ok(Outcome::default())
            }
            Work::Add { update } => {
                let update = encode(&content.apply(&decode(&update)?)?);
                let everything = content.everything();
                if everything.len() > MAX_DOCUMENT {
                    return Err(Problem::TooLong);
                }
                let everything = encode(&everything);
                content.rehearse(&[self.stored, vec![update.clone()]].concat())?;
                content.rehearse(std::slice::from_ref(&everything))?;
                Ok(Outcome { update, everything, ..Outcome::default() })
            }
            Work::Compare { state } => {
                let state = StateVector::decode_v1(&decode(&state)?);
                let update = encode(&content.since(&state.map_err(|_| Problem::Malformed)?));
                let state = encode(&content.state().encode_v1());
                Ok(Outcome { update, state, ..Outcome::default() })
            }
        }
    }
}

/// A document's content.
struct Content {
    doc: Doc,
}

impl Content {
    /// Applies stored updates.
    fn of(updates: &[String]) -> Result<Self, Problem> {
        let content = Self { doc: Doc::new() };
        for update in updates {
            content.apply(&decode(update)?)?;
        }
        Ok(content)
    }

    /// Applies an update if it is complete, and returns what it changed.
    fn apply(&self, update: &[u8]) -> Result<Vec<u8>, Problem> {
        let update = Update::decode_v1(update).map_err(|_| Problem::Malformed)?;
        let mut transaction = self.doc.transact_mut();
        transaction.apply_update(update).map_err(|_| Problem::Malformed)?;
        if transaction.has_missing_updates() {
            return Err(Problem::Incomplete);
        }
        Ok(transaction.encode_update_v1())
    }

    /// Loads what is to be stored as the next request will, and deletes all of it, which reaches every part.
    /// So an update that makes later ones fatal is fatal here, before it is stored.
    fn rehearse(&self, stored: &[String]) -> Result<(), Problem> {
        let loaded = Self::of(stored)?;
        if loaded.state() != self.state() {
            return Err(Problem::Malformed);
        }
        let mut all = IdSet::default();
        for (client, clock) in loaded.state().iter() {
            all.insert(yrs::ID::new(*client, 0), *clock);
        }
        // An update without new content
        let deletion = [&[0], &*all.encode_v1()].concat();
        loaded.apply(&deletion)?;
        loaded.everything();
        Ok(())
    }

    /// The whole content as one update.
    fn everything(&self) -> Vec<u8> {
        self.since(&StateVector::default())
    }

    /// The changes since a state vector.
    fn since(&self, state: &StateVector) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(state)
    }

    fn state(&self) -> StateVector {
        self.doc.transact().state_vector()
    }
}

/// Decodes a page's update and checks its bounds.
pub(super) fn page_update(text: &str) -> Result<(), Problem> {
    let bytes = decode(text)?;
    match bytes.len() <= MAX_UPDATE {
        true if wire::is_update(&bytes) => Ok(()),
        true => Err(Problem::Malformed),
        false => Err(Problem::TooLong),
    }
}

/// Decodes a page's state vector and checks its bounds.
pub(super) fn page_state(text: &str) -> Result<(), Problem> {
    match wire::is_state_vector(&decode(text)?) {
        true => Ok(()),
        false => Err(Problem::Malformed),
    }
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    BASE64_STANDARD.decode(text).map_err(|_| Problem::Malformed)
}

pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}
