//! A publisher for tests, which remembers what was broadcast.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clarim_protocol::SocketId;
use serde_json::Value;

use super::{BoxFuture, Publication, Publisher};
use crate::event::type_name;
use crate::{Channel, Error};

/// Remembers everything and sends nothing; made by [`Clarim::fake`](crate::Clarim::fake). Clones share
/// what they remember.
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
    records: Arc<Mutex<Vec<Record>>>,
    #[cfg(feature = "notifications")]
    pub(crate) notified: Arc<Mutex<Vec<crate::notification::Notified>>>,
}

struct Record {
    sent: Sent,
    event: Option<Box<dyn Any + Send>>,
}

/// Something that was broadcast.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sent {
    /// Its name on the wire.
    pub name: String,
    /// Its channels.
    pub channels: Vec<Channel>,
    /// Its payload, not encrypted.
    pub data: Value,
    /// The connection that was left out.
    pub except: Option<SocketId>,
    /// Whether it went through a queue, and through which.
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

    /// Everything, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().iter().map(|record| record.sent.clone()).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
        #[cfg(feature = "notifications")]
        self.forget_notified();
    }

    /// An event of this type, for which this is true, was broadcast.
    ///
    /// # Panics
    /// If it was not; with what was broadcast.
    #[track_caller]
    pub fn assert_broadcast<E: 'static>(&self, is_it: impl Fn(&E) -> bool) {
        let found = self.count(&is_it);
        assert!(found > 0, "no such {} was broadcast; {self}", type_name::<E>());
    }

    /// No event of this type, for which this is true, was broadcast.
    ///
    /// # Panics
    /// If one was; with what was broadcast.
    #[track_caller]
    pub fn assert_not_broadcast<E: 'static>(&self, is_it: impl Fn(&E) -> bool) {
        let found = self.count(&is_it);
        assert!(found == 0, "{found} such {} were broadcast; {self}", type_name::<E>());
    }

    /// So many events of this type were broadcast.
    ///
    /// # Panics
    /// If it were more or fewer; with what was broadcast.
    #[track_caller]
    pub fn assert_broadcast_times<E: 'static>(&self, times: usize) {
        let found = self.count(&|_: &E| true);
        let name = type_name::<E>();
        assert!(found == times, "{found} times {name} was broadcast, not {times}; {self}");
    }

    /// Something was broadcast on this channel.
    ///
    /// # Panics
    /// If nothing was; with what was broadcast.
    #[track_caller]
    pub fn assert_broadcast_on(&self, channel: impl Into<Channel>) {
        let channel = channel.into();
        let found = self.lock().iter().any(|record| record.sent.channels.contains(&channel));
        assert!(found, "nothing was broadcast on {channel}; {self}");
    }

    /// Something of this name was broadcast: how an anonymous event is asserted.
    ///
    /// # Panics
    /// If nothing was; with what was broadcast.
    #[track_caller]
    pub fn assert_broadcast_as(&self, name: &str, is_it: impl Fn(&Sent) -> bool) {
        let found = self.sent().iter().any(|sent| sent.name == name && is_it(sent));
        assert!(found, "no such {name:?} was broadcast; {self}");
    }

    /// Nothing was broadcast.
    ///
    /// # Panics
    /// If something was; with what was broadcast.
    #[track_caller]
    pub fn assert_nothing_broadcast(&self) {
        let nothing = self.lock().is_empty();
        assert!(nothing, "something was broadcast; {self}");
    }

    fn count<E: 'static>(&self, is_it: &impl Fn(&E) -> bool) -> usize {
        let records = self.lock();
        let events = records.iter().filter_map(|record| record.event.as_ref()?.downcast_ref());
        events.filter(|event| is_it(event)).count()
    }

    /// What is remembered is whole at any time, even when an assertion has panicked over it.
    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was broadcast, one line each.
impl fmt::Display for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = self.sent();
        if sent.is_empty() {
            return f.write_str("nothing was broadcast");
        }
        f.write_str("these were broadcast:")?;
        sent.iter().try_for_each(|sent| write!(f, "\n  {sent}"))
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sent()).finish()
    }
}

/// As the publisher of a queue that is itself tested: it knows publications, and no events.
impl Publisher for Fake {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        for one in batch {
            let sent = Sent {
                name: one.name.clone(),
                channels: one.channels.iter().map(|name| name.as_str().into()).collect(),
                data: serde_json::from_str(&one.data).unwrap_or_default(),
                except: one.socket_id,
                queue: None,
            };
            self.record(sent, None);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
