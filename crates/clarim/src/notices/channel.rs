//! Notification channels: the ways in which a notification reaches a user.

use std::borrow::Cow;
use std::fmt;

use clarim_queue::BoxFuture;

use crate::error::Error;
use crate::publisher::publication::Notice;

/// A way in which a notification reaches a user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Via {
    /// The table of [`with_notifications`](crate::Clarim::with_notifications).
    Database,
    /// An event on the user's channel.
    Broadcast,
    /// A channel of the application; see [`NotificationChannel`].
    Channel(Cow<'static, str>),
}

impl Via {
    /// A channel of the application.
    pub fn channel(name: impl Into<Cow<'static, str>>) -> Self {
        Self::Channel(name.into())
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Database => "database",
            Self::Broadcast => "broadcast",
            Self::Channel(name) => name,
        }
    }
}

/// A notification channel of the application: mail, a text message, a chat.
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
///             // From Notifiable::address_for("mail")
///             let Some(address) = &notice.address else {
///                 return Err(Error::undelivered(&notice.via, "the user has no address", false));
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
    /// Delivers the notification. It may be called again with the same [`Notice::id`] if it is not known
    /// whether the first call succeeded.
    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), Error>>;
}
