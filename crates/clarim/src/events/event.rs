//! Events as types.

use serde::Serialize;
use serde_json::Value;

use super::delivery::Delivery;
use super::name::{EventName, type_name};
use crate::channel::{Channel, InvalidChannel};

/// An event that can be broadcast. Derive it, or implement it:
///
/// ```
/// use clarim::{Broadcast, Channel, EventName, InvalidChannel};
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
///     fn broadcast_on(&self) -> Result<Vec<Channel>, InvalidChannel> {
///         self.watchers.iter().map(|user| Channel::private(format!("users.{user}"))).collect()
///     }
///
///     fn broadcast_as(&self) -> EventName {
///         "order.shipped".into()
///     }
/// }
/// ```
///
/// The derive, for a single channel:
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
/// # assert_eq!(OrderShipped { order: 7 }.broadcast_on()?, [Channel::private("orders.7")?]);
/// # Ok::<(), clarim::InvalidChannel>(())
/// ```
pub trait Broadcast: Serialize {
    /// The channels that the event is sent to. Without channels it is not sent.
    ///
    /// # Errors
    /// Returns an error if a channel's name is invalid.
    fn broadcast_on(&self) -> Result<Vec<Channel>, InvalidChannel>;

    /// The event's name. Default: the type's name in the namespace; Echo receives it with
    /// `.listen('OrderShipped', …)`.
    fn broadcast_as(&self) -> EventName {
        EventName::in_namespace(type_name::<Self>())
    }

    /// The payload for the front end. Default: the serialized event.
    ///
    /// # Errors
    /// Returns an error if [`serde_json::to_value`] can't represent it.
    fn broadcast_with(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    /// Whether the event is sent at all. Default: yes.
    fn broadcast_when(&self) -> bool {
        true
    }

    /// How the event is delivered. Default: [`Delivery::queued`].
    fn delivery(&self) -> Delivery {
        Delivery::default()
    }
}

/// An event whose name and payload are known from its type.
/// [Types for the front end](crate::types) are made from it. The derive implements it, except for an event
/// that has `with` and no `payload`.
///
/// ```
/// use clarim::{Broadcast, EventType};
/// use serde::Serialize;
///
/// #[derive(Serialize, Broadcast)]
/// #[broadcast(private = "orders.{order}", with = "payload", payload = "Parcel")]
/// struct OrderShipped {
///     order: u64,
/// }
///
/// #[derive(Serialize)]
/// struct Parcel {
///     tracking: String,
/// }
///
/// impl OrderShipped {
///     fn payload(&self) -> Parcel {
///         Parcel { tracking: format!("BR{}", self.order) }
///     }
/// }
///
/// fn echo_name<E: EventType<Payload = Parcel>>() -> String {
///     E::event_name().for_echo()
/// }
/// assert_eq!(echo_name::<OrderShipped>(), "OrderShipped");
/// ```
///
/// The derive checks that `with` returns the type in `payload`:
///
/// ```compile_fail,E0308
/// # use clarim::Broadcast;
/// # use serde::Serialize;
/// #[derive(Serialize, Broadcast)]
/// #[broadcast(channel = "orders", with = "payload", payload = "String")]
/// struct OrderShipped {
///     order: u64,
/// }
///
/// impl OrderShipped {
///     fn payload(&self) -> u64 {
///         self.order
///     }
/// }
/// ```
///
/// Without `payload` the type is not known:
///
/// ```compile_fail,E0277
/// # use clarim::{Broadcast, EventType};
/// # use serde::Serialize;
/// #[derive(Serialize, Broadcast)]
/// #[broadcast(channel = "orders", with = "payload")]
/// struct OrderShipped {
///     order: u64,
/// }
///
/// impl OrderShipped {
///     fn payload(&self) -> u64 {
///         self.order
///     }
/// }
///
/// fn known<E: EventType>() {}
/// known::<OrderShipped>();
/// ```
#[diagnostic::on_unimplemented(
    message = "the payload or the name of `{Self}` is not known from its type",
    note = "derive `Broadcast`; if it has `with = \"…\"`, add `payload = \"Type\"`, the type that it returns",
    note = "for an event that is implemented by hand, use `Types::named`"
)]
pub trait EventType: Broadcast {
    /// The type that [`broadcast_with`](Broadcast::broadcast_with) serializes.
    type Payload: ?Sized;

    /// The name that [`broadcast_as`](Broadcast::broadcast_as) returns for every event of the type.
    fn event_name() -> EventName;
}
