//! Notifications as types.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::channel::{Channel, InvalidChannel};
use crate::events::delivery::Delivery;
use crate::events::name::{EventName, type_name};
use crate::notices::channel::Via;
use crate::notices::notifiable::Notifiable;

/// The name of the event that Echo's `notification(…)` listens to.
pub const BROADCAST_NOTIFICATION_CREATED: &str =
    "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated";

/// A notification for users of type `N`.
///
/// ```
/// use clarim::notification::{Notifiable, Notification, Via};
/// use serde::Serialize;
/// use serde_json::{Value, json};
///
/// # struct User { id: u64, wants_mail: bool }
/// # impl Notifiable for User {
/// #     fn notifiable_id(&self) -> String { self.id.to_string() }
/// # }
/// #[derive(Serialize)]
/// struct InvoicePaid {
///     invoice: u64,
///     amount: u64,
/// }
///
/// impl Notification<User> for InvoicePaid {
///     fn via(&self, user: &User) -> Vec<Via> {
///         let mut via = vec![Via::Database, Via::Broadcast];
///         via.extend(user.wants_mail.then(|| Via::channel("mail")));
///         via
///     }
///
///     fn to_broadcast(&self, _: &User) -> serde_json::Result<Value> {
///         Ok(json!({ "invoice": self.invoice, "message": format!("Fatura #{} foi paga!", self.invoice) }))
///     }
/// }
/// ```
pub trait Notification<N: Notifiable + ?Sized>: Serialize + Send + Sync + 'static {
    /// The channels of the notification. Default: the database and a broadcast. The database always comes
    /// first; the others follow in this order.
    fn via(&self, to: &N) -> Vec<Via> {
        let _ = to;
        vec![Via::Database, Via::Broadcast]
    }

    /// The data in the database. Default: the serialized notification.
    ///
    /// # Errors
    /// Returns an error if [`serde_json::to_value`] can't represent it.
    fn to_array(&self, to: &N) -> serde_json::Result<Value> {
        let _ = to;
        serde_json::to_value(self)
    }

    /// The data of the broadcast, an object. `id` and `type` are added to it. Default:
    /// [`to_array`](Self::to_array).
    ///
    /// # Errors
    /// Returns an error if [`serde_json::to_value`] can't represent it.
    fn to_broadcast(&self, to: &N) -> serde_json::Result<Value> {
        self.to_array(to)
    }

    /// The data for the application's channel `name`. Default: [`to_array`](Self::to_array).
    ///
    /// # Errors
    /// Returns an error if [`serde_json::to_value`] can't represent it.
    fn to_channel(&self, name: &str, to: &N) -> serde_json::Result<Value> {
        let _ = name;
        self.to_array(to)
    }

    /// The notification's type, in the database and in the front end. Default: the type's name in
    /// `App\Notifications`.
    fn notification_type(&self) -> Cow<'static, str> {
        format!("App\\Notifications\\{}", type_name::<Self>()).into()
    }

    /// The channels of the broadcast. Default:
    /// [`receives_broadcast_notifications_on`](Notifiable::receives_broadcast_notifications_on).
    ///
    /// # Errors
    /// Returns an error if a channel's name is invalid.
    fn broadcast_on(&self, to: &N) -> Result<Vec<Channel>, InvalidChannel> {
        Ok(vec![to.receives_broadcast_notifications_on()?])
    }

    /// The name of the broadcast. Echo listens to another name than the default with `listen('.name', …)`
    /// instead of `notification(…)`.
    fn broadcast_as(&self) -> EventName {
        BROADCAST_NOTIFICATION_CREATED.into()
    }

    /// The delay of the whole notification in the queue. Default: `None`, only the broadcast is queued.
    /// `Some(Duration::ZERO)` queues everything without delay.
    fn delay(&self, to: &N) -> Option<Duration> {
        let _ = to;
        None
    }

    /// How the broadcast is delivered; with a [`delay`](Self::delay), how everything is.
    fn delivery(&self) -> Delivery {
        Delivery::default()
    }
}
