//! Channel names.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use clarim_protocol::{ChannelKind, ChannelName, InvalidChannelName};

/// Maximum length of a name that every server of the protocol accepts.
pub(crate) const MAX_NAME_BYTES: usize = 200;

/// A channel that events are sent to. Its name is valid.
///
/// The constructors take names as the front end writes them, without their prefix:
///
/// ```
/// use clarim::Channel;
///
/// // Echo.channel('news')
/// assert_eq!(Channel::public("news")?.as_str(), "news");
/// // Echo.private('orders.7')
/// assert_eq!(Channel::private("orders.7")?.as_str(), "private-orders.7");
/// // Echo.join('rooms.1')
/// assert_eq!(Channel::presence("rooms.1")?.as_str(), "presence-rooms.1");
/// // Echo.encryptedPrivate('vault')
/// assert_eq!(Channel::encrypted("vault")?.as_str(), "private-encrypted-vault");
/// // All pages on which user 7 is signed in
/// assert_eq!(Channel::user(7)?.as_str(), "#server-to-user-7");
/// // The name on the wire, with its prefix
/// assert_eq!(Channel::parse("private-orders.7")?, Channel::private("orders.7")?);
/// # Ok::<(), clarim::InvalidChannel>(())
/// ```
///
/// A name consists of letters, digits and `_-=@,.;`, and has at most 200 bytes. A name that comes from a user
/// may be invalid, so constructors return a `Result`. Functions that take a channel take the result too, so
/// that most calls need no `?`:
///
/// ```
/// # use clarim::{Channel, Clarim};
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let (clarim, fake) = Clarim::fake();
/// let room = "no such room!";
/// let sent = clarim.on(Channel::presence(room)).name("room.opened").send().await;
/// assert_eq!(sent.unwrap_err().code(), "invalid_channel");
/// # });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Channel(ChannelName);

impl Channel {
    /// A public channel: anyone may subscribe.
    ///
    /// # Errors
    /// Returns an error if the name is invalid.
    pub fn public(name: impl fmt::Display) -> Result<Self, InvalidChannel> {
        Self::of_kind(ChannelKind::Public, name)
    }

    /// A private channel: the application authorizes each subscriber.
    ///
    /// # Errors
    /// Returns an error if the name is invalid.
    pub fn private(name: impl fmt::Display) -> Result<Self, InvalidChannel> {
        Self::of_kind(ChannelKind::Private, name)
    }

    /// A presence channel: a private channel whose members see each other.
    ///
    /// # Errors
    /// Returns an error if the name is invalid.
    pub fn presence(name: impl fmt::Display) -> Result<Self, InvalidChannel> {
        Self::of_kind(ChannelKind::Presence, name)
    }

    /// An encrypted private channel: servers can't read its events.
    ///
    /// # Errors
    /// Returns an error if the name is invalid.
    pub fn encrypted(name: impl fmt::Display) -> Result<Self, InvalidChannel> {
        Self::of_kind(ChannelKind::Encrypted, name)
    }

    /// All connections on which this user is signed in.
    ///
    /// # Errors
    /// Returns an error if the name is invalid.
    pub fn user(id: impl fmt::Display) -> Result<Self, InvalidChannel> {
        Self::of_kind(ChannelKind::User, id)
    }

    /// A channel by its name on the wire, with its prefix.
    ///
    /// # Errors
    /// Returns an error if the name is invalid.
    pub fn parse(name: impl Into<String>) -> Result<Self, InvalidChannel> {
        let name = name.into();
        match ChannelName::parse(&name, MAX_NAME_BYTES) {
            Ok(name) => Ok(Self(name)),
            Err(source) => Err(InvalidChannel { name, source }),
        }
    }

    fn of_kind(kind: ChannelKind, name: impl fmt::Display) -> Result<Self, InvalidChannel> {
        Self::parse(format!("{}{name}", kind.prefix()))
    }

    /// The name on the wire, with its prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.kind().is_encrypted()
    }
}

impl PartialEq for Channel {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Channel {}

impl Hash for Channel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for Channel {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Channel {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A channel, the result of making one, or a channel's name on the wire.
pub trait IntoChannel {
    /// The channel.
    ///
    /// # Errors
    /// Returns an error if the name is invalid.
    fn into_channel(self) -> Result<Channel, InvalidChannel>;
}

impl IntoChannel for Channel {
    fn into_channel(self) -> Result<Channel, InvalidChannel> {
        Ok(self)
    }
}

impl IntoChannel for &Channel {
    fn into_channel(self) -> Result<Channel, InvalidChannel> {
        Ok(self.clone())
    }
}

impl IntoChannel for Result<Channel, InvalidChannel> {
    fn into_channel(self) -> Self {
        self
    }
}

impl IntoChannel for &str {
    fn into_channel(self) -> Result<Channel, InvalidChannel> {
        Channel::parse(self)
    }
}

impl IntoChannel for String {
    fn into_channel(self) -> Result<Channel, InvalidChannel> {
        Channel::parse(self)
    }
}

/// A channel name that the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid channel name {name:?}: {source}")]
#[non_exhaustive]
pub struct InvalidChannel {
    /// The name on the wire, with its prefix.
    pub name: String,
    /// The rule that it breaks.
    pub source: InvalidChannelName,
}

impl InvalidChannel {
    /// A stable identifier for programs: `invalid_channel`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "invalid_channel"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_name_makes_no_channel() {
        for name in ["", "two words", "orders:7", "#other", &"x".repeat(201)] {
            let error = Channel::parse(name).unwrap_err();
            assert_eq!((error.name.as_str(), error.code()), (name, "invalid_channel"));
        }
        assert!(Channel::private("two words").is_err());
        assert!(Channel::user("a b").is_ok(), "ids of users are free text");
    }

    #[test]
    fn channels_are_equal_by_name() {
        let channel = Channel::private("orders.7").unwrap();
        assert_eq!("private-orders.7".into_channel().as_ref(), Ok(&channel));
        assert_eq!((&channel).into_channel(), Channel::parse("private-orders.7"));
        assert_ne!(channel, Channel::public("orders.7").unwrap());
    }
}
