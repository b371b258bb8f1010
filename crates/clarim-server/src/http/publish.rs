//! Publishing: checks events and hands them to the hub.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::app::App;
use clarim_hub::{AppIndex, ChannelKey, Delivery, DeliveryAck, DeliveryAcks, Node, Placed};
use clarim_protocol::rest::{Event, Info};
use clarim_protocol::{ChannelName, SocketId, server};
use hyper::HeaderMap;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::cluster::Cluster;
use crate::runtime::{Counters, PublishSpan, PublishedEvent, Sink, TracedPublish};

/// An event that was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The server has no app with this id.
    #[error("No matching application for ID [{app_id}].")]
    UnknownApp {
        /// The id, at most 64 characters of it.
        app_id: String,
    },
    /// A field of the event is invalid.
    #[error("{reason}")]
    Invalid {
        /// The field, its value and the limit.
        reason: String,
    },
    /// The event's data is too large.
    #[error(
        "The data content of this event has {bytes} bytes and exceeds the allowed maximum ({max} bytes)."
    )]
    TooLarge {
        /// Size of the data.
        bytes: usize,
        /// Maximum size, by the app's limits.
        max: usize,
    },
    /// The idempotency key belongs to another event or request.
    #[error(
        "The idempotency key was used for another event or request within the last five minutes; nothing was published. Use a new key for each event."
    )]
    KeyReused,
    /// The first request with the same idempotency key has not ended.
    #[error("The first request with this idempotency key is still in progress. Try again.")]
    KeyInProgress,
    /// The server is shutting down.
    #[error("The server is shutting down. Try again.")]
    ShuttingDown,
    /// The workers or the bus have too much to do.
    #[error("The server is over capacity; nothing was published. Try again.")]
    OverCapacity,
    /// The bus is down, and the server is configured to publish to all nodes or to none.
    #[error(
        "The connection to the bus has been down for {} s; nothing was published. Try again.", .down_for.as_secs()
    )]
    BusDown {
        /// Time since the connection was lost.
        down_for: Duration,
    },
    /// Nodes are not back on the bus after an outage, and the server is configured to publish to all nodes or
    /// to none.
    #[error("{nodes} nodes are not back on the bus yet; nothing was published. Try again.")]
    NodesAway {
        /// Number of nodes.
        nodes: usize,
    },
    /// An event on a channel with history could not be stored, or it is not known whether it was.
    #[error(
        "The history of a channel could not take the event, or it is not known whether it did. Try again, with the same idempotency_key."
    )]
    NotStored,
    /// The connection to the bus was lost during the request, or not all nodes are back on the bus after an
    /// outage. Clients of this node have got the event.
    #[error(
        "The connection to the bus was lost during this request, or not all nodes are back on it; clients of other nodes may not have received the event."
    )]
    BusLost,
}

impl PublishError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownApp { .. } => "unknown_app",
            Self::Invalid { .. } => "invalid_event",
            Self::TooLarge { .. } => "event_too_large",
            Self::KeyReused => "idempotency_key_reused",
            Self::KeyInProgress => "idempotency_key_in_progress",
            Self::ShuttingDown => "shutting_down",
            Self::OverCapacity => "over_capacity",
            Self::BusDown { .. } => "bus_down",
            Self::NodesAway { .. } => "nodes_away",
            Self::NotStored => "not_stored",
            Self::BusLost => "bus_lost",
        }
    }

    /// Whether the same event may be accepted later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        !matches!(
            self,
            Self::UnknownApp { .. }
                | Self::Invalid { .. }
                | Self::TooLarge { .. }
                | Self::KeyReused
        )
    }

    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }
}

/// The clients that have got an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PublishScope {
    /// Those of all nodes.
    AllNodes,
    /// Perhaps those of this node alone, since the bus did not accept the event or not all nodes are back.
    ThisNode,
}

/// Events that were published.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) scope: PublishScope,
    /// Their places in the histories of their channels.
    pub(crate) placed: Vec<Placed>,
}

/// Publishes events into a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publisher<'a> {
    pub(crate) node: &'a Node<Sink>,
    pub(crate) now: Duration,
    pub(crate) counters: &'a Counters,
    pub(crate) cluster: Option<&'a Cluster>,
    /// The thread that keeps histories: that of the cluster, or of a file.
    pub(crate) logs: Option<&'a Cluster>,
}

/// An event that has passed every check.
#[derive(Debug)]
pub(crate) struct CheckedEvent<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) data: Cow<'a, RawValue>,
    pub(crate) channels: Vec<ChannelKey>,
    pub(crate) except: Option<SocketId>,
    pub(crate) info: Option<Info>,
    pub(crate) idempotency_key: Option<Cow<'a, str>>,
    /// The key under which the history of each channel takes the event once, also if the answer is lost with
    /// its node.
    pub(crate) log_key: Option<Arc<str>>,
}

impl CheckedEvent<'_> {
    pub(crate) fn into_owned(self) -> CheckedEvent<'static> {
        CheckedEvent {
            name: self.name.into_owned().into(),
            data: Cow::Owned(self.data.into_owned()),
            idempotency_key: self.idempotency_key.map(|key| key.into_owned().into()),
            channels: self.channels,
            except: self.except,
            info: self.info,
            log_key: self.log_key,
        }
    }
}

impl<'a> Publisher<'a> {
    pub(crate) fn app(&self, index: AppIndex) -> &'a App {
        self.node.apps().get(index)
    }

    pub(crate) fn check<'e>(
        &self,
        app: AppIndex,
        event: &'e Event<'_>,
    ) -> Result<CheckedEvent<'e>, PublishError> {
        self.check_content(app, &event.name, event.data)?;
        let except = match event.socket_id.as_deref() {
            None | Some("") => None,
            Some(id) => Some(id.parse().map_err(|error| {
                PublishError::invalid(format!("socket_id is invalid: {error}."))
            })?),
        };
        let info = event.info.as_deref().map(Info::parse).transpose();
        let key = event.idempotency_key.as_deref().map(check_key).transpose()?;
        Ok(CheckedEvent {
            name: event.name.as_str().into(),
            data: Cow::Borrowed(event.data),
            channels: self.check_channels(app, event)?,
            except,
            info: info.map_err(|error| PublishError::invalid(format!("{error}.")))?,
            idempotency_key: key.map(Cow::Borrowed),
            log_key: key.filter(|_| self.logs.is_some()).map(|key| format!("e{key}").into()),
        })
    }

    pub(crate) fn check_content(
        &self,
        app: AppIndex,
        name: &str,
        data: &RawValue,
    ) -> Result<(), PublishError> {
        let limits = &self.app(app).limits;
        if name.is_empty() {
            return Err(PublishError::invalid("name is empty; set the name of the event."));
        }
        let max = limits.event_name_bytes;
        if name.len() > max {
            let bytes = name.len();
            let reason = format!("name has {bytes} bytes, the maximum is {max}.");
            return Err(PublishError::invalid(reason));
        }
        if !data.get().starts_with('"') {
            let reason = "data must be a string; encode objects as JSON text.";
            return Err(PublishError::invalid(reason));
        }
        let max = limits.event_data_bytes;
        // The text is never longer than its literal, so only long literals are decoded.
        if data.get().len() - 2 > max {
            let bytes =
                serde_json::from_str::<String>(data.get()).map_or(usize::MAX, |text| text.len());
            if bytes > max {
                return Err(PublishError::TooLarge { bytes, max });
            }
        }
        Ok(())
    }

    fn check_channels(
        &self,
        app: AppIndex,
        event: &Event<'_>,
    ) -> Result<Vec<ChannelKey>, PublishError> {
        let limits = &self.app(app).limits;
        let names = match (&event.channels, &event.channel) {
            (Some(channels), _) if channels.is_empty() => {
                let reason = "channels is empty; name at least one channel.";
                return Err(PublishError::invalid(reason));
            }
            (Some(channels), _) => channels.as_slice(),
            (None, Some(channel)) => std::slice::from_ref(channel),
            (None, None) => {
                let reason = r#"Missing field: set "channel" or "channels"."#;
                return Err(PublishError::invalid(reason));
            }
        };
        let max = limits.channels_per_event;
        if names.len() > max {
            let count = names.len();
            let reason = format!("channels has {count} names, the maximum is {max}.");
            return Err(PublishError::invalid(reason));
        }
        let mut keys: Vec<ChannelKey> = Vec::with_capacity(names.len());
        for text in names {
            let name = ChannelName::parse(text, limits.channel_name_bytes).map_err(|error| {
                let shown: String = text.chars().take(64).collect();
                PublishError::invalid(format!("channel {shown:?} is invalid: {error}."))
            })?;
            let key = ChannelKey { app, name };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// Hands events to the hub. When this returns, they are in the send queues of all subscribers, and the
    /// bus has accepted them. `headers` are those of the request, if there is one.
    pub(crate) async fn publish(
        &self,
        events: &[&CheckedEvent<'_>],
        headers: Option<&HeaderMap>,
    ) -> Result<Published, PublishError> {
        let begun = Instant::now();
        let strict_cluster = self.cluster.filter(|cluster| cluster.is_strict);
        if let Some(down_for) = strict_cluster.and_then(Cluster::down_for) {
            return Err(PublishError::BusDown { down_for });
        }
        let awaited = strict_cluster.map_or(0, |cluster| cluster.state().awaited);
        if awaited > 0 {
            return Err(PublishError::NodesAway { nodes: awaited });
        }
        // Otherwise the events on channels without history would go out, and go out again with a retry.
        if self.logs.is_some_and(|logs| logs.down_for().is_some())
            && events.iter().flat_map(|event| &event.channels).any(|key| self.has_history(key))
        {
            return Err(PublishError::NotStored);
        }
        if !self.node.sink().wait_for_room().await {
            return Err(PublishError::OverCapacity);
        }
        let (delivered, all_delivered) = oneshot::channel::<Delivery>();
        let ack = DeliveryAck::new(move |delivery| {
            // The publisher may have gone.
            let _ = delivered.send(delivery);
        });
        let count = events.iter().map(|event| event.channels.len()).sum();
        let span = self.start_span(events, count, headers);
        let traced = span.as_ref().map(|span| span.acks(&ack, self.logs.is_some()));
        let acks = match &traced {
            Some((here, bus)) => DeliveryAcks { here: Some(here), bus: Some(bus) },
            None => DeliveryAcks::of(&ack),
        };
        for event in events {
            for channel in &event.channels {
                self.observe(channel, event);
                let frame = server::event(&event.name, &channel.name, &event.data);
                let key = event.log_key.as_ref();
                self.node.publish_once(channel, &frame, event.except, key, acks, self.now);
            }
        }
        drop(traced);
        drop(ack);
        let Delivery { is_complete, is_stored, placed } =
            all_delivered.await.map_err(|_| PublishError::OverCapacity)?;
        if let Some(span) = span {
            span.end(is_complete);
        }
        self.counters.count_publish(count, begun.elapsed());
        if !is_stored {
            return Err(PublishError::NotStored);
        }
        match is_complete {
            true => Ok(Published { scope: PublishScope::AllNodes, placed }),
            false if strict_cluster.is_some() => Err(PublishError::BusLost),
            false => Ok(Published { scope: PublishScope::ThisNode, placed }),
        }
    }

    fn has_history(&self, channel: &ChannelKey) -> bool {
        self.app(channel.app).history_of(&channel.name).is_some()
    }

    fn observe(&self, channel: &ChannelKey, event: &CheckedEvent<'_>) {
        let event = PublishedEvent {
            app: self.app(channel.app),
            channel: &channel.name,
            name: &event.name,
            data: event.data.get(),
        };
        self.node.sink().observers.notify(|observer| observer.published(event));
    }

    fn start_span(
        &self,
        events: &[&CheckedEvent<'_>],
        count: usize,
        headers: Option<&HeaderMap>,
    ) -> Option<Box<dyn PublishSpan + 'a>> {
        let tracer = self.node.sink().tracer.as_ref()?;
        let first = events.first()?.channels.first()?;
        let app = &self.app(first.app).id;
        let publish = TracedPublish { app, channel: first.name.as_str(), count };
        tracer.start_publish(headers, publish)
    }
}

/// Maximum length of an idempotency key, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 128;

/// Checks the length of an idempotency key.
pub(crate) fn check_key(text: &str) -> Result<&str, PublishError> {
    match text.len() {
        1..=MAX_KEY_BYTES => Ok(text),
        bytes => Err(PublishError::invalid(format!(
            "idempotency_key has {bytes} bytes; it must have 1 to {MAX_KEY_BYTES}."
        ))),
    }
}
