//! Straight onto the bus between the nodes of a cluster, past their HTTP API.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use clarim_bus::{Bus, BusEvent, Connection, PublishId};
use clarim_protocol::ChannelName;
use clarim_protocol::cluster::{
    ClusterMessage, ExternalEvent, NodeId, channel_subject, encode, nodes_subject,
};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::timeout;

use super::{BoxFuture, Publication, Publisher};
use crate::Error;

/// Where the bus of a cluster is.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// Its address: the `SCALING_URL` of the nodes, or their Redis.
    pub address: Bus,
    /// What all names on it begin with: their `SCALING_CHANNEL`.
    pub prefix: String,
}

/// Publishes onto the bus of a cluster: each node gives an event to its own clients, after the same checks as
/// its HTTP API makes. One connection carries everything, in order.
///
/// An event counts as published when the bus has taken it. Whether a node was there to hear it is not known.
pub struct BusPublisher {
    settings: BusSettings,
    app_id: String,
    patience: Duration,
    /// The task that has the connection; begun with the first event, on the runtime that it is published on.
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
    /// For an app of the nodes on this bus. An event that the bus has not taken within `patience` has failed.
    pub fn new(settings: BusSettings, app_id: impl Into<String>, patience: Duration) -> Self {
        Self { settings, app_id: app_id.into(), patience, task: OnceCell::new() }
    }

    async fn send(&self, publication: &Publication) -> Result<(), Error> {
        let Publication { channels, name, data, socket_id } = publication;
        let data = serde_json::to_string(data)
            .map_err(|cause| Error::Payload { event: name.clone(), cause })?;
        let event = ExternalEvent { name, data: &data, except: socket_id.map(Into::into) };
        for channel in channels {
            self.send_to(channel, event).await?;
        }
        Ok(())
    }

    async fn send_to(&self, channel: &str, event: ExternalEvent<'_>) -> Result<(), Error> {
        let name = ChannelName::parse(channel, usize::MAX)
            .map_err(|cause| Error::Channel { channel: channel.to_owned(), cause })?;
        let (prefix, app) = (&self.settings.prefix, self.app_id.as_str());
        // The last event of a cache channel is kept by a node, also if nobody listens to it now.
        let (subject, word) = if name.is_cache() {
            (nodes_subject(prefix), ClusterMessage::RelayPublish { app, channel, event })
        } else {
            (channel_subject(prefix, app, &name), ClusterMessage::ExternalPublish(event))
        };
        let (taken, is_taken) = oneshot::channel();
        let message = encode(NodeId::OUTSIDE, &word);
        let task = self.task.get_or_init(|| async { start(&self.settings.address) }).await;
        // A task that has ended takes nothing, and so says nothing.
        let _ = task.send(Request { subject, message, taken });
        let failed = |cause: String| Error::Bus { bus: self.settings.address.kind(), cause };
        match timeout(self.patience, is_taken).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(failed("it is not connected, or was lost meanwhile".to_owned())),
            Err(_) => Err(failed(format!("no answer within {:?}", self.patience))),
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
    tokio::spawn(carry(address.connect(), requests));
    sender
}

/// Takes what is published to the bus, until the publisher has gone.
async fn carry(mut bus: Connection, mut requests: mpsc::UnboundedReceiver<Request>) {
    // What comes before the first connection waits for it.
    while !matches!(bus.next().await, BusEvent::Connected) {}
    let mut waiting: HashMap<PublishId, oneshot::Sender<()>> = HashMap::new();
    let mut next: PublishId = 0;
    loop {
        tokio::select! {
            request = requests.recv() => {
                let Some(Request { subject, message, taken }) = request else { return };
                // Who has given up in the meantime tries again, and must not have it twice.
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
                // Dropped without a word, it has failed.
                BusEvent::Lost { id } => drop(waiting.remove(&id)),
                _ => {}
            }
        }
    }
}
