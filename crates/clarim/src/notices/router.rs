//! The publisher that knows the application's notification channels.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use clarim_protocol::Position;
use clarim_protocol::rest::{History, HistoryRequest};
use clarim_queue::BoxFuture;

use super::channel::NotificationChannel;
use crate::error::Error;
use crate::publisher::publication::{Notice, Publication, Publisher};

/// Passes events to a publisher, and notifications to their channels.
#[derive(Debug)]
pub(crate) struct NotificationRouter {
    publisher: Arc<dyn Publisher>,
    /// Channels by name. Written at start; the lock is held for a look-up only.
    channels: RwLock<HashMap<String, Arc<dyn NotificationChannel>>>,
}

impl NotificationRouter {
    pub(crate) fn new(publisher: Arc<dyn Publisher>) -> Self {
        Self { publisher, channels: RwLock::default() }
    }

    pub(crate) fn add(&self, name: String, channel: Arc<dyn NotificationChannel>) {
        self.channels.write().unwrap_or_else(PoisonError::into_inner).insert(name, channel);
    }

    fn channel(&self, name: &str) -> Option<Arc<dyn NotificationChannel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl Publisher for NotificationRouter {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        self.publisher.publish(batch)
    }

    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), Error>> {
        match self.channel(&notice.via) {
            Some(channel) => Box::pin(async move { channel.send(notice).await }),
            None => self.publisher.notify(notice),
        }
    }

    fn history<'a>(
        &'a self,
        channel: &'a str,
        request: HistoryRequest,
    ) -> BoxFuture<'a, Result<History, Error>> {
        self.publisher.history(channel, request)
    }

    fn position<'a>(&'a self, channel: &'a str) -> BoxFuture<'a, Result<Position, Error>> {
        self.publisher.position(channel)
    }
}
