//! RESP3 pushes: messages and confirmations that a server sends without a request.

use std::sync::Arc;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc::UnboundedSender;

use crate::error::BusError;
use crate::event::EventSender;

/// A push that may end the session.
pub(super) enum Interruption {
    /// The connection cannot be used any more.
    Lost(BusError),
    /// A subscription was ended. If the session still wants it, its slot has moved.
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
                if let (Some(subject), Some(payload)) = (bytes(), bytes())
                    && let Err(error) = self.events.message(text(&subject), payload.into())
                {
                    self.interrupt(Interruption::Lost(error));
                }
            }
            PushKind::Subscribe | PushKind::SSubscribe => {
                if let Some(subject) = bytes() {
                    // Redis counts the receivers of each message instead.
                    self.events.subscribed(text(&subject), false);
                }
            }
            PushKind::SUnsubscribe => {
                if let Some(subject) = bytes() {
                    self.interrupt(Interruption::Unsubscribed(text(&subject)));
                }
            }
            PushKind::Disconnection => self.interrupt(Interruption::Lost(BusError::Closed)),
            _ => {}
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
