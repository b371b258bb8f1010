//! What one user is told: kept in a table, shown by the page at once, sent by mail, or all of it.
//!
//! A notification is a type, and so is who gets it. What nothing is said about is as Laravel has it:
//!
//! ```
//! use clarim::Clarim;
//! use clarim::notification::{Notifiable, Notification, Notifications, Page};
//! use serde::Serialize;
//!
//! struct User {
//!     id: u64,
//! }
//!
//! impl Notifiable for User {
//!     fn notifiable_id(&self) -> String {
//!         self.id.to_string()
//!     }
//! }
//!
//! #[derive(Serialize)]
//! struct InvoicePaid {
//!     invoice: u64,
//!     amount: u64,
//! }
//!
//! // In the table, and on the page
//! impl Notification<User> for InvoicePaid {}
//!
//! # #[cfg(feature = "sqlite")]
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let table = Notifications::connect("sqlite::memory:").await?; // Notifications::from_env()
//! table.migrate().await?;
//! let clarim = Clarim::from_env()?.with_notifications(table.clone());
//!
//! let user = User { id: 7 };
//! clarim.notify(&user, InvoicePaid { invoice: 1, amount: 4200 }).await?;
//!
//! let unread = table.unread(&user, Page::default()).await?;
//! assert_eq!(unread[0].notification_type, "App\\Notifications\\InvoicePaid");
//! assert_eq!(unread[0].data["amount"], 4200);
//! # clarim.idle().await;
//! # Ok::<(), clarim::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In the page, whose channel is one that the application lets this user into,
//! `Channels::new().private("App.Models.User.{id}", |user: User, id: u64| user.id == id)`:
//!
//! ```js
//! echo.private('App.Models.User.7').notification(({ id, type, invoice, amount }) => …);
//! ```
//!
//! The id is that of the row, and the row is there before the page hears of it, so that a page which asks
//! for its notifications on hearing of one finds it.
//!
//! # What waits, and what fails
//!
//! The row is written before `notify(…).await` returns, channels of the application's own are asked before
//! it returns, and the broadcast goes through the queue as [`delivery`](Notification::delivery) says. With a
//! [`delay`](Notification::delay) all of it goes through the queue, the row and the broadcast together. A
//! queue's worker needs the table and the channels then: it runs jobs with the
//! [`publisher`](crate::Clarim::publisher) of a [`Clarim`](crate::Clarim) that was given them.
//!
//! What fails doesn't stop the rest. [`Error::Notification`] has a list of what failed, and for whom.

mod fake;
mod notifiable;
mod outlet;
mod send;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod store;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::event::type_name;
use crate::publisher::BoxFuture;
use crate::{Channel, Delivery, Error, EventName};

pub use crate::publisher::Notice;
pub(crate) use fake::Notified;
pub use notifiable::Notifiable;
pub(crate) use outlet::Outlet;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use store::{Notifications, Page, StoredNotification};

/// The name by which Echo's `notification(…)` hears the broadcast of a notification.
pub const BROADCAST_NOTIFICATION_CREATED: &str =
    "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated";

/// Something that a user of type `N` is told.
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
///         let mut ways = vec![Via::Database, Via::Broadcast];
///         ways.extend(user.wants_mail.then(|| Via::channel("mail")));
///         ways
///     }
///
///     fn to_broadcast(&self, _: &User) -> serde_json::Result<Value> {
///         Ok(json!({ "invoice": self.invoice, "message": format!("Fatura #{} foi paga!", self.invoice) }))
///     }
/// }
/// ```
pub trait Notification<N: Notifiable + ?Sized>: Serialize + Send + Sync + 'static {
    /// What it goes through. The default is the database and a broadcast. The database is always first,
    /// then they come in this order.
    fn via(&self, to: &N) -> Vec<Via> {
        let _ = to;
        vec![Via::Database, Via::Broadcast]
    }

    /// What the database keeps. The default is the notification itself, serialized.
    ///
    /// # Errors
    /// What [`serde_json::to_value`] can't represent.
    fn to_array(&self, to: &N) -> serde_json::Result<Value> {
        let _ = to;
        serde_json::to_value(self)
    }

    /// What the front end gets, beside `id` and `type`: an object. The default is
    /// [`to_array`](Self::to_array).
    ///
    /// # Errors
    /// What [`serde_json::to_value`] can't represent.
    fn to_broadcast(&self, to: &N) -> serde_json::Result<Value> {
        self.to_array(to)
    }

    /// What a channel of the application's own gets, which is called `name`. The default is
    /// [`to_array`](Self::to_array).
    ///
    /// # Errors
    /// What [`serde_json::to_value`] can't represent.
    fn to_channel(&self, name: &str, to: &N) -> serde_json::Result<Value> {
        let _ = name;
        self.to_array(to)
    }

    /// Its type, in the database and for the front end. The default is the type's name below
    /// `App\Notifications`.
    fn notification_type(&self) -> Cow<'static, str> {
        format!("App\\Notifications\\{}", type_name::<Self>()).into()
    }

    /// The channels of the broadcast. The default is the one that the user has for it.
    fn broadcast_on(&self, to: &N) -> Vec<Channel> {
        vec![to.receives_broadcast_notifications_on()]
    }

    /// The name of the broadcast. With another one than the default Echo hears it with `listen('.name', …)`
    /// instead of `notification(…)`.
    fn broadcast_as(&self) -> EventName {
        BROADCAST_NOTIFICATION_CREATED.into()
    }

    /// How long all of it waits in the queue. The default is `None`: only the broadcast goes through the
    /// queue. `Some(Duration::ZERO)` puts all of it there, and due at once.
    fn delay(&self, to: &N) -> Option<Duration> {
        let _ = to;
        None
    }

    /// How the broadcast is delivered, and with a [`delay`](Self::delay) everything.
    fn delivery(&self) -> Delivery {
        Delivery::default()
    }
}

/// What a notification goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Via {
    /// The table of [`Notifications`](crate::Clarim::with_notifications).
    Database,
    /// An event on the user's channel.
    Broadcast,
    /// A channel of the application's own; see [`NotificationChannel`].
    Channel(Cow<'static, str>),
}

impl Via {
    /// A channel of the application's own.
    pub fn channel(name: impl Into<Cow<'static, str>>) -> Self {
        Self::Channel(name.into())
    }

    fn name(&self) -> &str {
        match self {
            Self::Database => "database",
            Self::Broadcast => "broadcast",
            Self::Channel(name) => name,
        }
    }
}

/// A way of the application's own to reach a user: mail, a text message, a chat.
///
/// ```
/// use clarim::notification::{Notice, NotificationChannel};
/// use clarim::publisher::BoxFuture;
/// use clarim::{Clarim, Error};
///
/// #[derive(Debug)]
/// struct Mail;
///
/// impl NotificationChannel for Mail {
///     fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), Error>> {
///         Box::pin(async move {
///             // What Notifiable::address_for("mail") has said
///             let Some(address) = &notice.address else {
///                 let (via, cause) = (notice.via.clone(), "no address".to_owned());
///                 return Err(Error::Undelivered { via, cause, temporary: false });
///             };
///             println!("to {address}: {}", notice.data);
///             Ok(())
///         })
///     }
/// }
///
/// # let clarim = Clarim::fake().0;
/// let clarim = clarim.with_notification_channel("mail", Mail);
/// ```
pub trait NotificationChannel: fmt::Debug + Send + Sync + 'static {
    /// Delivers it. May be asked twice for the same [`Notice::id`], when it is not known whether the first
    /// time went well.
    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), Error>>;
}
