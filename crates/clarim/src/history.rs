//! Reading what the server keeps of a channel, by a history rule of its app. It works over HTTP and with an
//! embedded server.
//!
//! ```
//! use clarim::{Channel, Clarim};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let (clarim, _) = Clarim::fake();
//! let newest = clarim.history(Channel::private("orders.7")).backward().limit(20).await?;
//! for event in &newest.events {
//!     println!("{}: {} {}", event.offset, event.event, event.text());
//! }
//! # Ok::<(), clarim::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A page that loads its data and then subscribes misses what is published in between, unless it subscribes
//! since a position that was read before the data:
//!
//! ```
//! use clarim::{Channel, Clarim};
//! use serde_json::{Value, json};
//!
//! # fn order_from_database(_: u64) -> Value { Value::Null }
//! async fn order(clarim: &Clarim, id: u64) -> Result<Value, clarim::Error> {
//!     let position = clarim.position(Channel::private(format!("orders.{id}"))).await?;
//!     let order = order_from_database(id);
//!     Ok(json!({ "order": order, "position": position }))
//! }
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let (clarim, _) = Clarim::fake();
//! # assert_eq!(order(&clarim, 7).await?["position"]["offset"], 0);
//! # Ok::<(), clarim::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The events of an encrypted channel are returned encrypted.

use std::sync::Arc;

use clarim_protocol::rest::{HistoryDirection, HistoryRequest};
use clarim_queue::BoxFuture;

pub use clarim_protocol::rest::{History, HistoryEvent};
pub use clarim_protocol::{Epoch, GapReason, Position};

use crate::channel::{Channel, IntoChannel, InvalidChannel};
use crate::error::Error;
use crate::publisher::publication::Publisher;

/// Reads the position of a channel.
pub(crate) fn position(
    publisher: Arc<dyn Publisher>,
    channel: impl IntoChannel,
) -> BoxFuture<'static, Result<Position, Error>> {
    let channel = channel.into_channel();
    Box::pin(async move { publisher.position(channel?.as_str()).await })
}

/// A page of the history of a channel that is read when it is awaited; see
/// [`Clarim::history`](crate::Clarim::history).
#[derive(Debug)]
#[must_use = "nothing is read before this is awaited"]
pub struct PendingHistory {
    publisher: Arc<dyn Publisher>,
    channel: Result<Channel, InvalidChannel>,
    request: HistoryRequest,
}

impl PendingHistory {
    pub(crate) fn new(publisher: Arc<dyn Publisher>, channel: impl IntoChannel) -> Self {
        Self { publisher, channel: channel.into_channel(), request: HistoryRequest::default() }
    }

    /// Reads the events after this position or, [backward](Self::backward), those before the event with its
    /// offset. If events after it are no longer kept, the page has a [gap](History::gap) and no events.
    pub fn since(mut self, position: Position) -> Self {
        self.request.since = Some(position);
        self
    }

    /// Sets the maximum number of events, up to 1,000. Default: 100. The server may return fewer; then
    /// [`History::has_more`] is true.
    pub fn limit(mut self, limit: usize) -> Self {
        self.request.limit = Some(limit);
        self
    }

    /// Reads from the newest event to the oldest.
    pub fn backward(mut self) -> Self {
        self.request.direction = HistoryDirection::Backward;
        self
    }
}

impl IntoFuture for PendingHistory {
    type Output = Result<History, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { publisher, channel, request } = self;
        Box::pin(async move {
            let channel = channel?;
            publisher.history(channel.as_str(), request).await
        })
    }
}
