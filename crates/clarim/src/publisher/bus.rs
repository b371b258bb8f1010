//! The publisher to the bus of a cluster, which bypasses the HTTP API of its nodes.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use clarim_bus::{Bus, BusEvent, Connection, PublishId};
use clarim_cluster::{
    ClusterMessage, ExternalEvent, NodeId, channel_subject, encode, nodes_subject,
};
use clarim_protocol::ChannelName;
use clarim_queue::BoxFuture;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::timeout;

use super::publication::{Publication, Publisher};
use crate::channel::InvalidChannel;
use crate::error::Error;

/// Address of a cluster's bus.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BusSettings {
    /// The address: the `SCALING_URL` of the nodes, or their Redis.
    pub address: Bus,
    /// Prefix of all names on the bus: the `SCALING_CHANNEL` of the nodes.
    pub prefix: String,
}

impl BusSettings {
    /// The bus at this address, with this prefix.
    pub fn new(address: Bus, prefix: impl Into<String>) -> Self {
        Self { address, prefix: prefix.into() }
    }
}

/// Publishes to the bus of a cluster. Each node checks an event like its HTTP API does, and delivers it to
/// its own clients. One connection carries all events, in order.
///
/// An event counts as published once the bus has taken it, even if no node receives it. Idempotency keys have
/// no effect, and histories can't be read.
pub struct BusPublisher {
    settings: BusSettings,
    app_id: String,
    timeout: Duration,
    /// Sends to the task that owns the connection. The first event spawns it.
    task: OnceCell<mpsc::UnboundedSender<Request>>,
}

impl fmt::Debug for BusPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusPublisher").field("settings", &self.settings).finish_non_exhaustive()
    }
}

struct Request {
    subject: String,
    message: Bytes,
    taken: oneshot::Sender<()>,
}

impl BusPublisher {
    /// A publisher for an app of the cluster. An event fails if the bus does not take it within `timeout`.
    pub fn new(settings: BusSettings, app_id: impl Into<String>, timeout: Duration) -> Self {
        Self { settings, app_id: app_id.into(), timeout, task: OnceCell::new() }
    }

    async fn send(&self, publication: &Publication) -> Result<(), Error> {
        let Publication { channels, name, data, socket_id, .. } = publication;
        let data = serde_json::to_string(data)
            .map_err(|source| Error::Payload { event: name.clone(), source })?;
        let event = ExternalEvent { name, data: &data, except: socket_id.map(Into::into) };
        for channel in channels {
            self.send_to(channel, event).await?;
        }
        Ok(())
    }

    async fn send_to(&self, channel: &str, event: ExternalEvent<'_>) -> Result<(), Error> {
        let name = ChannelName::parse(channel, usize::MAX)
            .map_err(|source| InvalidChannel { name: channel.to_owned(), source })?;
        let prefix = &self.settings.prefix;
        let app = self.app_id.as_str();
        // A node must keep the last event of a cache channel even without subscribers.
        let (subject, cluster_message) = if name.is_cache() {
            (nodes_subject(prefix), ClusterMessage::RelayPublish { app, channel, event })
        } else {
            (channel_subject(prefix, app, &name), ClusterMessage::ExternalPublish(event))
        };
        let (taken, is_taken) = oneshot::channel();
        let message = encode(NodeId::OUTSIDE, &cluster_message);
        let task = self.task.get_or_init(|| async { start(&self.settings.address) }).await;
        // If the task has ended, `taken` is dropped, which is an error below.
        let _ = task.send(Request { subject, message, taken });
        let failed =
            |cause: String| Error::Bus { bus: self.settings.address.kind(), source: cause.into() };
        match timeout(self.timeout, is_taken).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(failed("the connection was lost".to_owned())),
            Err(_) => Err(failed(format!("no answer within {:?}", self.timeout))),
        }
    }
}

impl Publisher for BusPublisher {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for publication in batch {
                self.send(publication).await?;
            }
            Ok(())
        })
    }
}

fn start(address: &Bus) -> mpsc::UnboundedSender<Request> {
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(forward(address.connect(), requests));
    sender
}

/// Forwards requests to the bus until the publisher is dropped.
async fn forward(mut bus: Connection, mut requests: mpsc::UnboundedReceiver<Request>) {
    // Requests wait for the first connection.
    while !matches!(bus.next().await, BusEvent::Connected) {}
    let mut waiting: HashMap<PublishId, oneshot::Sender<()>> = HashMap::new();
    let mut next: PublishId = 0;
    loop {
        tokio::select! {
            request = requests.recv() => {
                let Some(Request { subject, message, taken }) = request else { return };
                // The caller has timed out and may try again: sending it now could publish it twice.
                if taken.is_closed() {
                    continue;
                }
                next += 1;
                waiting.insert(next, taken);
                bus.publish(&subject, message, next);
            }
            event = bus.next() => match event {
                BusEvent::Published { id, .. } => {
                    if let Some(taken) = waiting.remove(&id) {
                        let _ = taken.send(());
                    }
                }
                // Dropping the sender reports the failure.
                BusEvent::Lost { id } => drop(waiting.remove(&id)),
                _ => {}
            }
        }
    }
}
