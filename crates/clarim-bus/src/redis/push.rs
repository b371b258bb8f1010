//! RESP3 pushes: messages and confirmations that a server sends without a request.

use std::sync::Arc;

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc::UnboundedSender;

use super::log::{log_of, published_entry};
use crate::error::BusError;
use crate::event::EventSender;

/// A push that may end the session.
pub(super) enum Interruption {
    /// The connection cannot be used any more.
    Lost(BusError),
    /// A subscription to a subject or a log's stream was ended. If the session still wants it,
    /// its slot has moved.
    Unsubscribed(Arc<str>),
}

/// Handles the pushes of one connection.
pub(super) struct PushHandler {
    pub(super) events: EventSender,
    pub(super) interruptions: UnboundedSender<Interruption>,
}

impl PushHandler {
    pub(super) fn handle(&self, push: PushInfo) {
        let mut data = push.data.into_iter();
        let mut bytes = || match data.next() {
            Some(Value::BulkString(bytes)) => Some(bytes),
            _ => None,
        };
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let (Some(name), Some(payload)) = (bytes(), bytes())
                    && let Err(error) = self.message(&text(&name), payload.into())
                {
                    self.interrupt(Interruption::Lost(error));
                }
            }
            PushKind::Subscribe | PushKind::SSubscribe => {
                if let Some(name) = bytes().map(|name| text(&name)) {
                    match log_of(&name) {
                        Some(log) => self.events.following(log),
                        // Redis counts the receivers of each message instead.
                        None => self.events.subscribed(name, false),
                    }
                }
            }
            PushKind::SUnsubscribe => {
                if let Some(name) = bytes() {
                    self.interrupt(Interruption::Unsubscribed(text(&name)));
                }
            }
            PushKind::Disconnection => self.interrupt(Interruption::Lost(BusError::Closed)),
            _ => {}
        }
    }

    fn message(&self, name: &Arc<str>, payload: Bytes) -> Result<(), BusError> {
        match log_of(name) {
            None => self.events.message(name.clone(), payload),
            Some(log) => match published_entry(&payload) {
                Some(entry) => self.events.entry(log, entry),
                // Nothing that a script has published.
                None => Ok(()),
            },
        }
    }

    fn interrupt(&self, interruption: Interruption) {
        // The session may have ended already.
        let _ = self.interruptions.send(interruption);
    }
}

fn text(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}
