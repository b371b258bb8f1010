//! The fake for tests: records broadcasts and notifications.

use std::any::Any;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clarim_protocol::rest::{History, HistoryRequest};
use clarim_protocol::{Epoch, Position, SocketId};
use clarim_queue::BoxFuture;
use serde_json::Value;

use crate::channel::{Channel, IntoChannel};
use crate::error::Error;
use crate::events::name::type_name;
#[cfg(feature = "notifications")]
use crate::notices::notifiable::{Notifiable, Recipient};
use crate::publisher::publication::{Publication, Publisher};

/// Records everything and sends nothing; created by [`Clarim::fake`](crate::Clarim::fake). Clones share their
/// records.
///
/// ```
/// use clarim::{Broadcast, Channel, Clarim};
/// use serde::Serialize;
///
/// #[derive(Serialize, Broadcast)]
/// #[broadcast(private = "orders.{order}")]
/// struct OrderShipped {
///     order: u64,
/// }
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let (clarim, fake) = Clarim::fake();
/// fake.assert_nothing_broadcast();
///
/// clarim.broadcast(OrderShipped { order: 7 }).await?;
///
/// fake.assert_broadcast::<OrderShipped>(|event| event.order == 7);
/// fake.assert_broadcast_on(Channel::private("orders.7"));
/// fake.assert_broadcast_times::<OrderShipped>(1);
/// # Ok::<(), clarim::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Fake {
    broadcasts: Arc<Mutex<Vec<Record>>>,
    #[cfg(feature = "notifications")]
    notifications: Arc<Mutex<Vec<Notified>>>,
}

/// A broadcast, with its event if it had a type.
struct Record {
    sent: Sent,
    event: Option<Box<dyn Any + Send>>,
}

/// A notification to one user.
#[cfg(feature = "notifications")]
struct Notified {
    to: Recipient,
    notification: Arc<dyn Any + Send + Sync>,
}

/// A broadcast that a [`Fake`] has recorded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sent {
    /// The event's name on the wire.
    pub name: String,
    /// The channels.
    pub channels: Vec<Channel>,
    /// The payload, not encrypted.
    pub data: Value,
    /// The excluded connection.
    pub except: Option<SocketId>,
    /// The queue's name, if it was queued.
    pub queue: Option<String>,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, channels, data, .. } = self;
        write!(f, "{name} on {channels:?}: {data}")
    }
}

impl Fake {
    pub(crate) fn record(&self, sent: Sent, event: Option<Box<dyn Any + Send>>) {
        self.lock().push(Record { sent, event });
    }

    /// All broadcasts, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().iter().map(|record| record.sent.clone()).collect()
    }

    /// Deletes all records.
    pub fn clear(&self) {
        self.lock().clear();
        #[cfg(feature = "notifications")]
        self.lock_notifications().clear();
    }

    /// Asserts that an event of this type was broadcast for which the closure returns true.
    ///
    /// # Panics
    /// Panics if it was not, with all broadcasts.
    #[track_caller]
    pub fn assert_broadcast<E: 'static>(&self, matches: impl Fn(&E) -> bool) {
        let found = self.count(&matches);
        assert!(found > 0, "no such {} was broadcast; {self}", type_name::<E>());
    }

    /// Asserts that no event of this type was broadcast for which the closure returns true.
    ///
    /// # Panics
    /// Panics if one was, with all broadcasts.
    #[track_caller]
    pub fn assert_not_broadcast<E: 'static>(&self, matches: impl Fn(&E) -> bool) {
        let found = self.count(&matches);
        assert!(found == 0, "{found} such {} were broadcast; {self}", type_name::<E>());
    }

    /// Asserts the number of events of this type that were broadcast.
    ///
    /// # Panics
    /// Panics if there were more or fewer, with all broadcasts.
    #[track_caller]
    pub fn assert_broadcast_times<E: 'static>(&self, times: usize) {
        let found = self.count(&|_: &E| true);
        let name = type_name::<E>();
        assert!(found == times, "{name} was broadcast {found} times, not {times}; {self}");
    }

    /// Asserts that an event was broadcast on this channel.
    ///
    /// # Panics
    /// Panics if none was, with all broadcasts, or if the channel's name is invalid.
    #[track_caller]
    pub fn assert_broadcast_on(&self, channel: impl IntoChannel) {
        let channel = match channel.into_channel() {
            Ok(channel) => channel,
            Err(error) => panic!("{error}"),
        };
        let found = self.lock().iter().any(|record| record.sent.channels.contains(&channel));
        assert!(found, "nothing was broadcast on {channel}; {self}");
    }

    /// Asserts that an event of this name was broadcast for which the closure returns true; for anonymous
    /// events.
    ///
    /// # Panics
    /// Panics if none was, with all broadcasts.
    #[track_caller]
    pub fn assert_broadcast_as(&self, name: &str, matches: impl Fn(&Sent) -> bool) {
        let found = self.sent().iter().any(|sent| sent.name == name && matches(sent));
        assert!(found, "no such {name:?} was broadcast; {self}");
    }

    /// Asserts that nothing was broadcast.
    ///
    /// # Panics
    /// Panics if something was, with all broadcasts.
    #[track_caller]
    pub fn assert_nothing_broadcast(&self) {
        let nothing = self.lock().is_empty();
        assert!(nothing, "something was broadcast; {self}");
    }

    fn count<E: 'static>(&self, matches: &impl Fn(&E) -> bool) -> usize {
        let records = self.lock();
        let events = records.iter().filter_map(|record| record.event.as_ref()?.downcast_ref());
        events.filter(|event| matches(event)).count()
    }

    /// The records are whole at any time, so poisoning by a failed assertion can be ignored.
    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.broadcasts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Assertions about notifications. Their broadcasts are recorded too. A fake writes no rows and calls no
/// notification channels.
#[cfg(feature = "notifications")]
impl Fake {
    pub(crate) fn record_notified(&self, to: Recipient, notification: Arc<dyn Any + Send + Sync>) {
        self.lock_notifications().push(Notified { to, notification });
    }

    /// Asserts that this user got a notification of this type for which the closure returns true.
    ///
    /// ```
    /// # use clarim::Clarim;
    /// # use clarim::notification::{Notifiable, Notification};
    /// # struct User(u64);
    /// # impl Notifiable for User {
    /// #     fn notifiable_id(&self) -> String { self.0.to_string() }
    /// # }
    /// # #[derive(serde::Serialize)]
    /// # struct InvoicePaid { amount: u64 }
    /// # impl Notification<User> for InvoicePaid {}
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let (clarim, fake) = Clarim::fake();
    /// clarim.notify(&User(7), InvoicePaid { amount: 4200 }).await?;
    ///
    /// fake.assert_notified::<InvoicePaid>(&User(7), |sent| sent.amount == 4200);
    /// fake.assert_not_notified::<InvoicePaid>(&User(8), |_| true);
    /// # Ok::<(), clarim::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// Panics if not, with all users that got this type.
    #[track_caller]
    pub fn assert_notified<T: 'static>(
        &self,
        to: &(impl Notifiable + ?Sized),
        matches: impl Fn(&T) -> bool,
    ) {
        let to = Recipient::of(to);
        let found = self.count_notified(&to, matches);
        let all = self.notified_users::<T>();
        assert!(found > 0, "{to} got no such {}; {all}", type_name::<T>());
    }

    /// Asserts that this user got no notification of this type for which the closure returns true.
    ///
    /// # Panics
    /// Panics if it did, with all users that got this type.
    #[track_caller]
    pub fn assert_not_notified<T: 'static>(
        &self,
        to: &(impl Notifiable + ?Sized),
        matches: impl Fn(&T) -> bool,
    ) {
        let to = Recipient::of(to);
        let found = self.count_notified(&to, matches);
        let all = self.notified_users::<T>();
        assert!(found == 0, "{to} got {found} such {}; {all}", type_name::<T>());
    }

    /// Asserts that no user was notified.
    ///
    /// # Panics
    /// Panics if one was, with all notified users.
    #[track_caller]
    pub fn assert_nothing_notified(&self) {
        let users: Vec<String> =
            self.lock_notifications().iter().map(|one| one.to.to_string()).collect();
        assert!(users.is_empty(), "these users were notified: {}", users.join(", "));
    }

    fn count_notified<T: 'static>(&self, to: &Recipient, matches: impl Fn(&T) -> bool) -> usize {
        let notifications = self.lock_notifications();
        let to_user = notifications.iter().filter(|one| one.to == *to);
        to_user.filter_map(|one| one.notification.downcast_ref()).filter(|one| matches(one)).count()
    }

    fn notified_users<T: 'static>(&self) -> String {
        let notifications = self.lock_notifications();
        let of_type = notifications.iter().filter(|one| one.notification.is::<T>());
        let users: Vec<String> = of_type.map(|one| one.to.to_string()).collect();
        let users = if users.is_empty() { "no user".to_owned() } else { users.join(", ") };
        format!("notified with this type: {users}")
    }

    /// The records are whole at any time, so poisoning by a failed assertion can be ignored.
    fn lock_notifications(&self) -> MutexGuard<'_, Vec<Notified>> {
        self.notifications.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All broadcasts, one per line.
impl fmt::Display for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = self.sent();
        if sent.is_empty() {
            return f.write_str("nothing was broadcast");
        }
        f.write_str("all broadcasts:")?;
        sent.iter().try_for_each(|sent| write!(f, "\n  {sent}"))
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sent()).finish()
    }
}

/// For tests of queues: as a publisher it records publications, without their events.
/// The position of every channel.
const BEGINNING: Position = Position { epoch: Epoch(NonZeroU64::MIN), offset: 0 };

impl Publisher for Fake {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        let record = |one: &Publication| {
            let sent = Sent {
                name: one.name.clone(),
                channels: one.channels.iter().map(Channel::parse).collect::<Result<_, _>>()?,
                data: serde_json::from_str(&one.data).unwrap_or_default(),
                except: one.socket_id,
                queue: None,
            };
            self.record(sent, None);
            Ok(())
        };
        Box::pin(std::future::ready(batch.iter().try_for_each(record)))
    }

    /// Channels have no past.
    fn history<'a>(
        &'a self,
        _: &'a str,
        _: HistoryRequest,
    ) -> BoxFuture<'a, Result<History, Error>> {
        let Position { epoch, offset } = BEGINNING;
        let history = History { epoch, offset, events: Vec::new(), has_more: false, gap: None };
        Box::pin(std::future::ready(Ok(history)))
    }

    fn position<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Position, Error>> {
        Box::pin(std::future::ready(Ok(BEGINNING)))
    }
}
