//! The HTTP API: request bodies, and the signatures of requests.
//!
//! <https://pusher.com/docs/channels/library_auth_reference/rest-api/>

mod bodies;
mod error;
mod history;
mod query;
mod signature;

pub use bodies::{Batch, Event, Info, UnknownAttribute, UserEvent};
pub use error::{SignatureError, TIMESTAMP_TOLERANCE};
pub use history::{History, HistoryDirection, HistoryEvent, HistoryRequest, InvalidHistoryRequest};
pub use query::{Params, encode_segment};
pub use signature::{SignedHead, SignedRequest, sign};
