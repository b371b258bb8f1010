//! Broadcasts that have not been awaited yet.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clarim_queue::BoxFuture;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use clarim_queue::SqlTransaction;
use serde::Serialize;
use serde_json::Value;

use super::broadcaster::Broadcaster;
use super::outgoing::{EventChannels, Options, Outgoing, Payload};
use crate::channel::IntoChannel;
use crate::error::Error;
use crate::events::delivery::Delivery;
use crate::events::event::Broadcast;
use crate::events::name::EventName;
use crate::jobs::target::Target;
use crate::socket_id::SocketId;

/// An event that is broadcast when it is awaited.
#[must_use = "nothing is broadcast before this is awaited"]
pub struct PendingBroadcast<E> {
    broadcaster: Arc<Broadcaster>,
    event: E,
    options: Options,
}

macro_rules! options {
    () => {
        /// Excludes the connection that caused the event: the [`SocketId`] of the request. `None` excludes
        /// no connection.
        pub fn to_others(mut self, socket: impl Into<Option<SocketId>>) -> Self {
            self.options.except = socket.into();
            self
        }

        /// Bypasses the queue: the server has the event when the future is ready.
        pub fn now(mut self) -> Self {
            self.options.now = Some(true);
            self
        }

        /// Uses the queue, even if the event's type says otherwise.
        pub fn queued(mut self) -> Self {
            self.options.now = Some(false);
            self
        }

        /// Sets the queue, and uses it even if the event's type says otherwise.
        pub fn queue(mut self, name: impl Into<String>) -> Self {
            self.options.queue = Some(name.into());
            self.queued()
        }

        /// Queues the event, and sends it after this time. See [`Delivery::delay`] for its order.
        pub fn delay(mut self, time: Duration) -> Self {
            self.options.delay = Some(time);
            self.queued()
        }

        /// Sets the maximum number of attempts of a queued event.
        pub fn tries(mut self, tries: u32) -> Self {
            self.options.tries = Some(tries);
            self
        }
    };
}

impl<E: Broadcast + Send + 'static> PendingBroadcast<E> {
    pub(crate) fn new(broadcaster: Arc<Broadcaster>, event: E) -> Self {
        Self { broadcaster, event, options: Options::default() }
    }

    options!();

    /// Broadcasts the event, and logs an error instead of returning it: for requests that should not fail
    /// with the broadcast. Set other options before it.
    ///
    /// ```
    /// use clarim::{Broadcast, Clarim};
    /// use serde::Serialize;
    ///
    /// #[derive(Serialize, Broadcast)]
    /// #[broadcast(private = "orders.{order}")]
    /// struct OrderShipped {
    ///     order: u64,
    /// }
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let (clarim, fake) = Clarim::fake();
    /// clarim.broadcast(OrderShipped { order: 7 }).rescue().await;
    /// # fake.assert_broadcast::<OrderShipped>(|event| event.order == 7);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use = "nothing is broadcast before this is awaited"]
    pub fn rescue(self) -> BoxFuture<'static, ()> {
        let broadcaster = self.broadcaster.clone();
        let name = self.event.broadcast_as();
        Box::pin(async move { broadcaster.log_error(&name, self.await) })
    }

    /// Queues the event in a transaction of the application: it is delivered exactly if the transaction
    /// commits. Await the result before the commit. See
    /// [broadcasts in a transaction](crate::queue#broadcasts-in-a-transaction).
    ///
    /// The event goes through the queue, even if its type says otherwise.
    ///
    /// # Errors
    /// Returns an error if the queue is not in the database of the transaction, or the event can't be queued.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn in_tx<'t>(
        self,
        transaction: impl Into<SqlTransaction<'t>>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        let transaction = transaction.into();
        let Self { broadcaster, event, options } = self;
        Box::pin(async move {
            let mut target = broadcaster.transaction(transaction)?;
            send(&broadcaster, &mut target, event, options.in_transaction()).await
        })
    }
}

async fn send<E: Broadcast + Send + 'static>(
    broadcaster: &Broadcaster,
    target: &mut Target<'_>,
    event: E,
    options: Options,
) -> Result<(), Error> {
    if !event.broadcast_when() {
        return Ok(());
    }
    let outgoing = Outgoing {
        channels: event.broadcast_on(),
        name: event.broadcast_as(),
        data: event.broadcast_with(),
        delivery: event.delivery(),
        options,
        notice: None,
    };
    outgoing.send(broadcaster, target, || Some(Box::new(event))).await
}

impl<E: Broadcast + Send + 'static> IntoFuture for PendingBroadcast<E> {
    type Output = Result<(), Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { broadcaster, event, options } = self;
        Box::pin(async move { send(&broadcaster, &mut broadcaster.queue(), event, options).await })
    }
}

impl<E: fmt::Debug> fmt::Debug for PendingBroadcast<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingBroadcast")
            .field("event", &self.event)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// An event without a type; see [`Clarim::on`](crate::Clarim::on).
#[must_use = "nothing is broadcast before `send` or `rescue` is awaited"]
pub struct Anonymous {
    broadcaster: Arc<Broadcaster>,
    channels: EventChannels,
    name: EventName,
    data: Payload,
    delivery: Delivery,
    options: Options,
}

impl Anonymous {
    pub(crate) fn new(broadcaster: Arc<Broadcaster>, channel: impl IntoChannel) -> Self {
        Self {
            broadcaster,
            channels: channel.into_channel().map(|channel| vec![channel]),
            name: "AnonymousEvent".into(),
            data: Ok(Value::Null),
            delivery: Delivery::default(),
            options: Options::default(),
        }
    }

    /// Adds a channel.
    pub fn and(mut self, channel: impl IntoChannel) -> Self {
        self.channels = self.channels.and_then(|mut channels| {
            channels.push(channel.into_channel()?);
            Ok(channels)
        });
        self
    }

    /// Sets the event's name. Default: `AnonymousEvent`.
    pub fn name(mut self, name: impl Into<EventName>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the payload. Default: `null`.
    pub fn with(mut self, payload: impl Serialize) -> Self {
        self.data = serde_json::to_value(payload);
        self
    }

    /// Sets how the event is delivered.
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    options!();

    /// Broadcasts the event.
    ///
    /// # Errors
    /// Returns an error if a channel's name is invalid, or if the event can't be sent or queued.
    pub async fn send(self) -> Result<(), Error> {
        let Self { broadcaster, channels, name, data, delivery, options } = self;
        let outgoing = Outgoing { channels, name, data, delivery, options, notice: None };
        outgoing.send(&broadcaster, &mut broadcaster.queue(), || None).await
    }

    /// Broadcasts the event, and logs an error instead of returning it, like [`PendingBroadcast::rescue`].
    pub async fn rescue(self) {
        let broadcaster = self.broadcaster.clone();
        let name = self.name.clone();
        broadcaster.log_error(&name, self.send().await);
    }

    /// Queues the event in a transaction of the application, like [`PendingBroadcast::in_tx`].
    ///
    /// # Errors
    /// Returns an error if a channel's name is invalid, the queue is not in the database of the transaction,
    /// or the event can't be queued.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn in_tx<'t>(
        self,
        transaction: impl Into<SqlTransaction<'t>>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        let transaction = transaction.into();
        let Self { broadcaster, channels, name, data, delivery, options } = self;
        Box::pin(async move {
            let options = options.in_transaction();
            let outgoing = Outgoing { channels, name, data, delivery, options, notice: None };
            let mut target = broadcaster.transaction(transaction)?;
            outgoing.send(&broadcaster, &mut target, || None).await
        })
    }
}

impl fmt::Debug for Anonymous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anonymous")
            .field("channels", &self.channels)
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
