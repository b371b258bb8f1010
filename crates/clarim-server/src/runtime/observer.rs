//! Interfaces for consumers of the server's events: webhooks, event streams, the inspector, the debug output,
//! traces.

use std::sync::Arc;

use clarim_cluster::Trace;
use clarim_hub::app::App;
use clarim_hub::{ChannelEvent, ConnectionEvent, DeliveryAck, End, Migration};
use clarim_protocol::{ChannelName, Code, SocketId};
use hyper::HeaderMap;

/// The cause of the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client sent a close frame.
    ByClient,
    /// The server closed the connection with a code.
    ByServer,
    /// The client read too slowly and its send queue was full.
    Slow,
    /// The connection was lost without a close frame.
    Lost,
}

impl Ended {
    /// All causes with their metric labels, in the order of the variants.
    pub(crate) const ALL: [(Self, &'static str); 4] = [
        (Self::ByClient, "client"),
        (Self::ByServer, "server"),
        (Self::Slow, "slow"),
        (Self::Lost, "lost"),
    ];
}

/// How a connection began to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The send queue was full: the client reads too slowly, or not at all.
    Slow,
    /// The server closed it with a code.
    ByServer(Code),
    /// The client sent a close frame, perhaps with a code.
    ByClient(Option<Code>),
}

impl From<Closing> for Ended {
    fn from(closing: Closing) -> Self {
        match closing {
            Closing::Slow => Self::Slow,
            Closing::ByServer(_) => Self::ByServer,
            Closing::ByClient(_) => Self::ByClient,
        }
    }
}

impl From<Closing> for End {
    fn from(closing: Closing) -> Self {
        match closing {
            Closing::Slow => Self::Lost,
            Closing::ByServer(code) => Self::ByServer(code),
            Closing::ByClient(code) => Self::ByClient(code),
        }
    }
}

/// An event that an application publishes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublishedEvent<'a> {
    pub(crate) app: &'a App,
    pub(crate) channel: &'a ChannelName,
    pub(crate) name: &'a str,
    /// The data, as the literal of a JSON string.
    pub(crate) data: &'a str,
}

/// A consumer of the server's events.
///
/// Called by workers in the middle of their work: an observer must be quick and must never wait. By default
/// everything is ignored.
pub(crate) trait Observer: std::fmt::Debug + Send + Sync {
    /// A connection was accepted.
    fn connected(&self, _app: &App, _socket_id: SocketId) {}

    /// A client has sent a message, which is handled next.
    fn received(&self, _app: &App, _socket_id: SocketId, _text: &str) {}

    /// The client's message was handled.
    fn handled(&self, _socket_id: SocketId) {}

    /// A connection begins to close.
    fn closing(&self, _app: &App, _socket_id: SocketId, _closing: Closing) {}

    /// A connection has left its channels.
    fn disconnected(&self, _app: &App, _socket_id: SocketId, _cause: Ended) {}

    /// The socket of a connection is gone.
    fn closed(&self, _app: &App, _socket_id: SocketId) {}

    /// An application publishes an event through this node.
    fn published(&self, _event: PublishedEvent<'_>) {}

    /// Something happened on a channel. Only events that the app's [hooks](clarim_hub::app::Hooks) ask for.
    fn channel_event(&self, _event: &ChannelEvent) {}

    /// A connection has done something. Only events that the app's hooks ask for.
    fn connection_event(&self, _event: &ConnectionEvent) {}

    /// A user or channel has moved between nodes. Only in a cluster.
    fn migrated(&self, _migration: &Migration) {}
}

/// All observers of a server. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Observers(Arc<[Arc<dyn Observer>]>);

impl Observers {
    pub(crate) fn new(observers: Vec<Arc<dyn Observer>>) -> Self {
        Self(observers.into())
    }

    /// Calls each observer.
    pub(crate) fn notify(&self, notify: impl Fn(&dyn Observer)) {
        for observer in &*self.0 {
            notify(&**observer);
        }
    }
}

/// The events of one publish request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TracedPublish<'a> {
    pub(crate) app: &'a str,
    /// The first of the request's channels.
    pub(crate) channel: &'a str,
    /// Number of events, each counted once for each channel.
    pub(crate) count: usize,
}

/// Makes spans of published events.
pub(crate) trait Tracer: std::fmt::Debug + Send + Sync {
    /// Starts the span of a publish request, if it is sampled. `headers` may name the parent span.
    fn start_publish(
        &self,
        headers: Option<&HeaderMap>,
        publish: TracedPublish<'_>,
    ) -> Option<Box<dyn PublishSpan + '_>>;

    /// Starts the span of an event that came over the bus. The workers hold the returned value until they
    /// have delivered the event.
    fn start_delivery(&self, app: &str, channel: &str, trace: Trace) -> Option<DeliveryAck>;
}

/// The span of a publish request.
pub(crate) trait PublishSpan: Send {
    /// Returns the acknowledgements for the workers and for the bus. Each keeps `all` alive.
    fn acks(&self, all: &DeliveryAck, has_bus: bool) -> (DeliveryAck, DeliveryAck);

    /// Ends the span. `is_complete`: the event has reached the bus, too.
    fn end(self: Box<Self>, is_complete: bool);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_in_the_order_of_their_counters() {
        for (n, (cause, _)) in Ended::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, n);
        }
    }
}
