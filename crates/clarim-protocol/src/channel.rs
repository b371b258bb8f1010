//! Channel names. Nothing outside this file looks at their prefixes.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Who may subscribe to a channel, as the outer prefix of its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// Anybody.
    Public,
    /// `private-`: who has a signature of the app's backend.
    Private,
    /// `private-encrypted-`: as private; the data is opaque to the server.
    Encrypted,
    /// `presence-`: as private; the subscribers are members with a user id, and know of each other.
    Presence,
    /// `#server-to-user-ID`: connections that signed in as the user ID.
    User,
}

/// A valid channel name, parsed once into what its prefix means. Cloning is cheap.
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

const USER_PREFIX: &str = "#server-to-user-";
const CACHE_PREFIX: &str = "cache-";

impl ChannelKind {
    /// What the names of such channels begin with: nothing for public ones.
    ///
    /// ```
    /// use clarim_protocol::ChannelKind;
    ///
    /// assert_eq!(ChannelKind::Presence.prefix(), "presence-");
    /// ```
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Public => "",
            Self::Private => "private-",
            Self::Encrypted => "private-encrypted-",
            Self::Presence => "presence-",
            Self::User => USER_PREFIX,
        }
    }
}

impl ChannelName {
    /// Reads a name of at most `max_bytes` bytes out of letters, digits and `_-=@,.;`, as Pusher allows.
    /// The channel of a user may have any name that is its id.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn parse(text: &str, max_bytes: usize) -> Result<Self, InvalidChannelName> {
        if text.is_empty() {
            return Err(InvalidChannelName::Empty);
        }
        let user = text.strip_prefix(USER_PREFIX);
        if text.len() > max_bytes && user.is_none() {
            return Err(InvalidChannelName::TooLong { bytes: text.len(), max: max_bytes });
        }
        let (kind, cache) = if let Some(user) = user {
            if user.is_empty() {
                return Err(InvalidChannelName::Reserved);
            }
            // A user id is the app's own text, and no signature is taken over it.
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

    /// The channel of the connections that signed in as `user_id`.
    ///
    /// # Errors
    /// When the id cannot stand in a channel name.
    pub fn of_user(user_id: &str) -> Result<Self, InvalidChannelName> {
        Self::parse(&format!("{USER_PREFIX}{user_id}"), 0)
    }

    /// The name, prefix included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Who may subscribe.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        self.kind
    }

    /// Whether the channel keeps its last event for those who come later.
    #[must_use]
    pub fn is_cache(&self) -> bool {
        self.cache
    }

    /// Whether subscribers are members who know of each other.
    #[must_use]
    pub fn is_presence(&self) -> bool {
        self.kind == ChannelKind::Presence
    }

    /// Whether a subscription needs a signature of the app's backend.
    #[must_use]
    pub fn needs_auth(&self) -> bool {
        matches!(self.kind, ChannelKind::Private | ChannelKind::Encrypted | ChannelKind::Presence)
    }

    /// The name without what its prefixes say: what the application itself calls the channel.
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

    /// The user whose own channel this is.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.text.strip_prefix(USER_PREFIX)
    }
}

/// Authorisation follows the outer prefix; `cache-` inside it only says that the last event is kept.
fn classify(text: &str) -> (ChannelKind, bool) {
    use ChannelKind::{Encrypted, Presence, Private, Public};
    // The prefix of encrypted channels begins with that of private ones.
    [Encrypted, Private, Presence, Public]
        .into_iter()
        .find_map(|kind| Some((kind, text.strip_prefix(kind.prefix())?.starts_with(CACHE_PREFIX))))
        .unwrap_or((Public, false))
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

/// Why a text is no channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidChannelName {
    /// Nothing there.
    #[error("the channel name is empty")]
    Empty,
    /// Longer than the app allows.
    #[error("the channel name has {bytes} bytes, the maximum is {max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The app's limit.
        max: usize,
    },
    /// A character that names must not have.
    #[error("a channel name consists of letters, digits and _ - = @ , . ;")]
    Characters,
    /// `#…` other than `#server-to-user-ID`.
    #[error("channel names beginning with # are reserved, except for #server-to-user-ID")]
    Reserved,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_prefix_decides_who_may_subscribe() {
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
    fn the_topic_is_what_follows_the_prefixes() {
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
    fn bad_names_are_refused_with_the_reason() {
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
