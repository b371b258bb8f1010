//! Diagnosis of problems between pages, server and backend. Each finding has a remedy.
//!
//! One file per place where a problem can be. Functions that only judge what was observed are pure, and in
//! the same file as the observation.

mod api;
mod authorization;
mod checkup;
mod connection;
mod fallback;
mod finding;
mod history;
mod machine;
mod names;
mod websocket;

pub(crate) use authorization::Endpoint;
pub(crate) use checkup::{AppCredentials, Checkup, EventNames, Signer};
pub(crate) use connection::client::{Client, ClientError, parsed_data};
pub(crate) use connection::target::{Target, TargetError};
pub(crate) use finding::{Finding, Level};
pub(crate) use history::store as history_store;
pub(crate) use names::echo_note;
