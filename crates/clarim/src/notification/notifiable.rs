//! Who can be notified.

use std::borrow::Cow;

use crate::Channel;
use crate::event::type_name;

/// Somebody who can be notified: the application's user, as a rule.
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
    /// Which one it is of its type.
    fn notifiable_id(&self) -> String;

    /// What it is. The default is the type's name below `App\Models`. Rows have it beside the id, so it
    /// must not be the same for two types whose ids may be.
    fn notifiable_type(&self) -> Cow<'static, str> {
        format!("App\\Models\\{}", type_name::<Self>()).into()
    }

    /// The channel on which it hears of notifications. The default is the private one of type and id, in
    /// which Echo has dots for backslashes.
    fn receives_broadcast_notifications_on(&self) -> Channel {
        let name = self.notifiable_type().replace('\\', ".");
        Channel::private(format!("{name}.{}", self.notifiable_id()))
    }

    /// Where a channel of the application's own finds it: a mail address, a number.
    fn address_for(&self, channel: &str) -> Option<String> {
        let _ = channel;
        None
    }
}

/// Who it is, and nothing else of it.
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

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.notifiable_type, self.notifiable_id)
    }
}
