//! Channel names. Nothing outside this folder looks at their prefixes.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::kind::ChannelKind;
use crate::user::MAX_USER_ID_BYTES;

/// A valid channel name and the kind that its prefix stands for. Cloning is cheap.
///
/// ```
/// use clarim_protocol::{ChannelKind, ChannelName};
///
/// let name = ChannelName::parse("private-cache-rates", 200).unwrap();
/// assert_eq!(name.kind(), ChannelKind::Private);
/// assert!(name.is_cache());
/// assert!(ChannelName::parse("what ever", 200).is_err());
/// ```
#[derive(Clone)]
pub struct ChannelName {
    text: Arc<str>,
    kind: ChannelKind,
    cache: bool,
}

/// The inner prefix of cache channels.
const CACHE_PREFIX: &str = "cache-";

impl ChannelName {
    /// Parses a name of at most `max_bytes` bytes: letters, digits and `_-=@,.;`, as Pusher allows. The
    /// name of a user's channel contains the user's id, which may have other characters too, and at most
    /// [`MAX_USER_ID_BYTES`].
    ///
    /// # Errors
    /// If the name is empty, too long, reserved, or contains other characters.
    pub fn parse(text: &str, max_bytes: usize) -> Result<Self, InvalidChannelName> {
        if text.is_empty() {
            return Err(InvalidChannelName::Empty);
        }
        let user = text.strip_prefix(ChannelKind::User.prefix());
        if text.len() > max_bytes && user.is_none() {
            return Err(InvalidChannelName::TooLong { bytes: text.len(), max: max_bytes });
        }
        let (kind, cache) = if let Some(user) = user {
            if user.is_empty() {
                return Err(InvalidChannelName::Reserved);
            }
            if user.len() > MAX_USER_ID_BYTES {
                return Err(InvalidChannelName::UserIdTooLong { bytes: user.len() });
            }
            // A user id is the app's own text, and is not part of a signature.
            if user.chars().any(char::is_control) {
                return Err(InvalidChannelName::Characters);
            }
            (ChannelKind::User, false)
        } else if text.starts_with('#') {
            return Err(InvalidChannelName::Reserved);
        } else if !text.bytes().all(is_allowed) {
            return Err(InvalidChannelName::Characters);
        } else {
            classify(text)
        };
        Ok(Self { text: text.into(), kind, cache })
    }

    /// Returns the channel of the connections that signed in as `user_id`.
    ///
    /// # Errors
    /// If the id cannot be part of a channel name.
    pub fn of_user(user_id: &str) -> Result<Self, InvalidChannelName> {
        Self::parse(&format!("{}{user_id}", ChannelKind::User.prefix()), 0)
    }

    /// Returns the name, including its prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the channel's kind, which decides who may subscribe.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        self.kind
    }

    /// Whether the channel caches its last event for later subscribers.
    #[must_use]
    pub fn is_cache(&self) -> bool {
        self.cache
    }

    /// Whether subscribers are members who see each other.
    #[must_use]
    pub fn is_presence(&self) -> bool {
        self.kind.has_members()
    }

    /// Whether a subscription needs a signature by the app's backend.
    #[must_use]
    pub fn needs_auth(&self) -> bool {
        self.kind.needs_auth()
    }

    /// Returns the name without its prefixes: the application's own name for the channel.
    ///
    /// ```
    /// use clarim_protocol::ChannelName;
    ///
    /// let name = ChannelName::parse("private-encrypted-cache-orders.7", 200).unwrap();
    /// assert_eq!(name.topic(), "orders.7");
    /// ```
    #[must_use]
    pub fn topic(&self) -> &str {
        let after_kind = &self.text[self.kind.prefix().len()..];
        if self.cache { &after_kind[CACHE_PREFIX.len()..] } else { after_kind }
    }

    /// Returns the id of the user whose own channel this is.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.kind.is_of_user().then(|| self.topic())
    }
}

/// Finds the kind of a name by its outer prefix. `cache-` after it only means that the last event is cached.
fn classify(text: &str) -> (ChannelKind, bool) {
    // One prefix may be the beginning of another: the longest match counts.
    let kinds = ChannelKind::ALL.into_iter().filter(|kind| text.starts_with(kind.prefix()));
    let kind = kinds.max_by_key(|kind| kind.prefix().len()).unwrap_or(ChannelKind::Public);
    (kind, text[kind.prefix().len()..].starts_with(CACHE_PREFIX))
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte)
}

impl PartialEq for ChannelName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ChannelName {}

impl Hash for ChannelName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The error of an invalid channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidChannelName {
    /// The name is empty.
    #[error("the channel name is empty")]
    Empty,
    /// The name is longer than the app allows.
    #[error("the channel name has {bytes} bytes, the maximum is {max}")]
    TooLong {
        /// The name's length.
        bytes: usize,
        /// The app's limit.
        max: usize,
    },
    /// The user id in the name of a user's channel is too long.
    #[error("the user id has {bytes} bytes, the maximum is {MAX_USER_ID_BYTES}")]
    UserIdTooLong {
        /// The id's length.
        bytes: usize,
    },
    /// The name contains a character that is not allowed.
    #[error("a channel name consists of letters, digits and _ - = @ , . ;")]
    Characters,
    /// The name begins with `#` and is not `#server-to-user-ID`.
    #[error("channel names beginning with # are reserved, except for #server-to-user-ID")]
    Reserved,
}

impl InvalidChannelName {
    /// Returns a stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "channel_name_empty",
            Self::TooLong { .. } => "channel_name_too_long",
            Self::UserIdTooLong { .. } => "user_id_too_long",
            Self::Characters => "channel_name_characters",
            Self::Reserved => "channel_name_reserved",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_prefix_decides_the_kind() {
        use ChannelKind::{Encrypted, Presence, Private, Public, User};
        for (text, kind, cache) in [
            ("chat", Public, false),
            ("cache-chat", Public, true),
            ("cached", Public, false),
            ("privately", Public, false),
            ("private-chat", Private, false),
            ("private-cache-chat", Private, true),
            ("private-encrypted-chat", Encrypted, false),
            ("private-encrypted-cache-chat", Encrypted, true),
            ("presence-chat", Presence, false),
            ("presence-cache-chat", Presence, true),
            ("cache-private-chat", Public, true),
            ("#server-to-user-42", User, false),
            ("#server-to-user-ana@example.com:7", User, false),
        ] {
            let name = ChannelName::parse(text, 200).unwrap();
            assert_eq!((name.kind(), name.is_cache()), (kind, cache), "{text}");
            assert_eq!(name.needs_auth(), matches!(kind, Private | Encrypted | Presence), "{text}");
        }
    }

    #[test]
    fn the_topic_is_the_name_without_prefixes() {
        for (text, topic) in [
            ("chat", "chat"),
            ("cache-chat", "chat"),
            ("private-chat", "chat"),
            ("private-cache-chat", "chat"),
            ("private-encrypted-cache-chat", "chat"),
            ("presence-cache-private-chat", "private-chat"),
            ("private-", ""),
            ("#server-to-user-42", "42"),
        ] {
            assert_eq!(ChannelName::parse(text, 200).unwrap().topic(), topic, "{text}");
        }
    }

    #[test]
    fn invalid_names_are_rejected_with_the_reason() {
        use InvalidChannelName::{Characters, Empty, Reserved, TooLong};
        assert_eq!(ChannelName::parse("", 9).unwrap_err(), Empty);
        assert_eq!(ChannelName::parse("0123456789", 9).unwrap_err(), TooLong { bytes: 10, max: 9 });
        for text in ["a b", "a:b", "ä", "a/b", "a\n", "private-a#", "#server-to-user-1\n"] {
            assert_eq!(ChannelName::parse(text, 99).unwrap_err(), Characters, "{text}");
        }
        for text in ["#", "#x", "#server-to-user-", "#server-to-users-1"] {
            assert_eq!(ChannelName::parse(text, 99).unwrap_err(), Reserved, "{text}");
        }
    }
}
