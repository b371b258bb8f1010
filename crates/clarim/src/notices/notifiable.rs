//! Users that can be notified.

use std::borrow::Cow;
use std::fmt;

use crate::channel::{Channel, InvalidChannel};
use crate::events::name::type_name;

/// A user, or anything else that can be notified.
///
/// ```
/// use clarim::Channel;
/// use clarim::notification::Notifiable;
///
/// struct User {
///     id: u64,
///     mail: String,
/// }
///
/// impl Notifiable for User {
///     fn notifiable_id(&self) -> String {
///         self.id.to_string()
///     }
///
///     fn address_for(&self, channel: &str) -> Option<String> {
///         (channel == "mail").then(|| self.mail.clone())
///     }
/// }
///
/// let user = User { id: 7, mail: "ana@example.com".to_owned() };
/// assert_eq!(user.notifiable_type(), "App\\Models\\User");
/// assert_eq!(user.receives_broadcast_notifications_on(), Channel::private("App.Models.User.7"));
/// ```
pub trait Notifiable {
    /// The id, unique within the type.
    fn notifiable_id(&self) -> String;

    /// The type. Default: the type's name in `App\Models`. Rows are found by type and id, so two types whose
    /// ids overlap need different names.
    fn notifiable_type(&self) -> Cow<'static, str> {
        format!("App\\Models\\{}", type_name::<Self>()).into()
    }

    /// The channel for notifications. Default: the private channel of type and id, with dots for backslashes
    /// as in Echo.
    ///
    /// # Errors
    /// Returns an error if the channel's name is invalid.
    fn receives_broadcast_notifications_on(&self) -> Result<Channel, InvalidChannel> {
        let name = self.notifiable_type().replace('\\', ".");
        Channel::private(format!("{name}.{}", self.notifiable_id()))
    }

    /// The address for a channel of the application: a mail address, a phone number. Default: none.
    fn address_for(&self, channel: &str) -> Option<String> {
        let _ = channel;
        None
    }
}

/// Type and id of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipient {
    pub(crate) notifiable_type: String,
    pub(crate) notifiable_id: String,
}

impl Recipient {
    pub(crate) fn of(notifiable: &(impl Notifiable + ?Sized)) -> Self {
        Self {
            notifiable_type: notifiable.notifiable_type().into_owned(),
            notifiable_id: notifiable.notifiable_id(),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.notifiable_type, self.notifiable_id)
    }
}
