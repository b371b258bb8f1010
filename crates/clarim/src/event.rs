//! What an event is, and how it wants to be delivered.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Channel;

/// An event that can be broadcast. Derive it, or write it:
///
/// ```
/// use clarim::{Broadcast, Channel, EventName};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct OrderShipped {
///     order: u64,
///     #[serde(skip)]
///     watchers: Vec<u64>,
/// }
///
/// impl Broadcast for OrderShipped {
///     fn broadcast_on(&self) -> Vec<Channel> {
///         self.watchers.iter().map(|user| Channel::private(format!("users.{user}"))).collect()
///     }
///
///     fn broadcast_as(&self) -> EventName {
///         "order.shipped".into()
///     }
/// }
/// ```
///
/// The same for one fixed channel:
///
/// ```
/// # use clarim::Broadcast;
/// # use serde::Serialize;
/// #[derive(Serialize, Broadcast)]
/// #[broadcast(private = "orders.{order}", name = "order.shipped")]
/// struct OrderShipped {
///     order: u64,
/// }
/// # use clarim::Channel;
/// # assert_eq!(OrderShipped { order: 7 }.broadcast_on(), [Channel::private("orders.7")]);
/// ```
pub trait Broadcast: Serialize {
    /// The channels it goes to. None: it is not sent.
    fn broadcast_on(&self) -> Vec<Channel>;

    /// Its name. The default is the type's name below the namespace, which Echo hears as
    /// `.listen('OrderShipped', …)`.
    fn broadcast_as(&self) -> EventName {
        EventName::below_namespace(type_name::<Self>())
    }

    /// What the front end gets. The default is the event itself, serialized.
    ///
    /// # Errors
    /// What [`serde_json::to_value`] can't represent.
    fn broadcast_with(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    /// Whether it is sent at all.
    fn broadcast_when(&self) -> bool {
        true
    }

    /// How it is delivered. The default is queued, as [`Delivery::queued`] says.
    fn delivery(&self) -> Delivery {
        Delivery::default()
    }
}

/// The last part of a type's path, without generics.
pub(crate) fn type_name<T: ?Sized>() -> &'static str {
    let path = std::any::type_name::<T>();
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

/// The name of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName {
    text: Cow<'static, str>,
    below_namespace: bool,
}

impl EventName {
    /// A name below the application's namespace, `App\Events` if nothing else is configured:
    /// `OrderShipped` is sent as `App\Events\OrderShipped`, and Echo, which adds the same namespace, hears
    /// it as `.listen('OrderShipped', …)`.
    pub fn below_namespace(name: impl Into<Cow<'static, str>>) -> Self {
        Self { text: name.into(), below_namespace: true }
    }

    /// As it is sent.
    #[must_use]
    pub fn full(&self, namespace: &str) -> String {
        if self.below_namespace && !namespace.is_empty() {
            format!("{namespace}\\{}", self.text)
        } else {
            self.text.clone().into_owned()
        }
    }
}

/// A name as it is; Echo hears it with a dot before it: `.listen('.order.shipped', …)`.
impl From<&'static str> for EventName {
    fn from(name: &'static str) -> Self {
        Self { text: name.into(), below_namespace: false }
    }
}

/// A name as it is; Echo hears it with a dot before it.
impl From<String> for EventName {
    fn from(name: String) -> Self {
        Self { text: name.into(), below_namespace: false }
    }
}

/// How an event is delivered: at once or through a queue, and what the queue does when that fails.
///
/// ```
/// use std::time::Duration;
/// use clarim::Delivery;
///
/// let delivery = Delivery::queued().queue("high").tries(3).timeout(Duration::from_secs(10));
/// assert_eq!(delivery.wait_before(2), Duration::from_secs(1));
/// assert_eq!(delivery.wait_before(9), Duration::from_secs(10));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Delivery {
    /// Before `broadcast(…).await` returns, and past every queue.
    pub now: bool,
    /// The queue's name; `None`: the default queue.
    pub queue: Option<String>,
    /// The name of the queue's connection; `None`: the default one.
    pub connection: Option<String>,
    /// Attempts, of which all but the last failed for a temporary reason; `None`: as many as the queue
    /// likes.
    pub tries: Option<u32>,
    /// Waiting times before each further attempt; the last repeats.
    pub backoff: Vec<Duration>,
    /// Time for one attempt.
    pub timeout: Duration,
    /// It is not begun before this time is over. It then comes after what was queued meanwhile, also on its
    /// own channels.
    pub delay: Option<Duration>,
    /// For how long at most a second one is dropped while the first one waits.
    pub unique_for: Option<Duration>,
    /// What makes it the same as another one of its name; `None`: the channels.
    pub unique_by: Option<String>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            now: false,
            queue: None,
            connection: None,
            tries: None,
            backoff: [1, 5, 10].map(Duration::from_secs).to_vec(),
            timeout: Duration::from_secs(60),
            delay: None,
            unique_for: None,
            unique_by: None,
        }
    }
}

impl Delivery {
    /// Through the default queue: tried again after 1, 5, 10, 10, … seconds, an attempt may take a minute.
    #[must_use]
    pub fn queued() -> Self {
        Self::default()
    }

    /// At once.
    #[must_use]
    pub fn now() -> Self {
        Self { now: true, ..Self::default() }
    }

    /// Through the queue of this name.
    #[must_use]
    pub fn queue(self, name: impl Into<String>) -> Self {
        Self { queue: Some(name.into()), ..self }
    }

    /// Through a queue of the connection of this name.
    #[must_use]
    pub fn connection(self, name: impl Into<String>) -> Self {
        Self { connection: Some(name.into()), ..self }
    }

    /// At most so many attempts.
    #[must_use]
    pub fn tries(self, tries: u32) -> Self {
        Self { tries: Some(tries), ..self }
    }

    /// Waiting times before each further attempt; the last repeats.
    #[must_use]
    pub fn backoff(self, waits: impl Into<Vec<Duration>>) -> Self {
        Self { backoff: waits.into(), ..self }
    }

    /// Time for one attempt.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Not before this time is over.
    #[must_use]
    pub fn delay(self, time: Duration) -> Self {
        Self { delay: Some(time), ..self }
    }

    /// While one waits, at most for so long, a second one is dropped.
    #[must_use]
    pub fn unique_for(self, time: Duration) -> Self {
        Self { unique_for: Some(time), ..self }
    }

    /// What makes it the same as another one of its name.
    #[must_use]
    pub fn unique_by(self, id: impl Into<String>) -> Self {
        Self { unique_by: Some(id.into()), ..self }
    }

    /// How long to wait before the given attempt, of which the first is 1 and needs no waiting.
    #[must_use]
    pub fn wait_before(&self, attempt: u32) -> Duration {
        let Some(place) = attempt.checked_sub(2) else { return Duration::ZERO };
        let wait = self.backoff.get(place as usize).or_else(|| self.backoff.last());
        wait.copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_hears_the_type_name_below_the_namespace() {
        struct Shipped<T>(T);
        assert_eq!(type_name::<Shipped<Vec<String>>>(), "Shipped");
        assert_eq!(EventName::below_namespace("A").full("App\\Events"), "App\\Events\\A");
        assert_eq!(EventName::below_namespace("A").full(""), "A");
        assert_eq!(EventName::from("order.shipped").full("App\\Events"), "order.shipped");
    }

    #[test]
    fn the_last_waiting_time_repeats() {
        let delivery = Delivery::queued().backoff([1, 7].map(Duration::from_secs));
        let waits = [0, 1, 2, 3, 4, 99].map(|attempt| delivery.wait_before(attempt).as_secs());
        assert_eq!(waits, [0, 0, 1, 7, 7, 7]);
        assert_eq!(Delivery::queued().backoff([]).wait_before(5), Duration::ZERO);
    }

    #[test]
    fn a_delivery_of_an_older_version_can_be_read() {
        let delivery: Delivery = serde_json::from_str(r#"{"queue":"high"}"#).unwrap();
        assert_eq!(delivery, Delivery::queued().queue("high"));
    }
}
