//! Channels, as an application names them.

use std::fmt;

use clarim_protocol::{ChannelKind, ChannelName};

use crate::Error;

/// The longest name that every server of the protocol takes.
pub(crate) const MAX_NAME_BYTES: usize = 200;

/// Where an event goes.
///
/// The front end names a channel without its prefix, and so do the constructors:
///
/// ```
/// use clarim::Channel;
///
/// // Echo.channel('news')
/// assert_eq!(Channel::public("news").as_str(), "news");
/// // Echo.private('orders.7')
/// assert_eq!(Channel::private("orders.7").as_str(), "private-orders.7");
/// // Echo.join('rooms.1')
/// assert_eq!(Channel::presence("rooms.1").as_str(), "presence-rooms.1");
/// // Echo.encryptedPrivate('vault')
/// assert_eq!(Channel::encrypted("vault").as_str(), "private-encrypted-vault");
/// // All pages on which the user 7 has signed in
/// assert_eq!(Channel::user(7).as_str(), "#server-to-user-7");
/// // The name on the wire
/// assert_eq!(Channel::from("private-orders.7"), Channel::private("orders.7"));
/// ```
///
/// A name is checked when something is sent to it: letters, digits and `_-=@,.;`, at most 200 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(String);

impl Channel {
    /// A channel that everybody may hear.
    pub fn public(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// A channel for those whom the application lets in.
    pub fn private(name: impl fmt::Display) -> Self {
        Self::of(ChannelKind::Private, name)
    }

    /// A private channel whose members know of each other.
    pub fn presence(name: impl fmt::Display) -> Self {
        Self::of(ChannelKind::Presence, name)
    }

    /// A private channel whose events only the application and its subscribers can read, and no server in
    /// between.
    pub fn encrypted(name: impl fmt::Display) -> Self {
        Self::of(ChannelKind::Encrypted, name)
    }

    /// The pages on which this user has signed in.
    pub fn user(id: impl fmt::Display) -> Self {
        Self::of(ChannelKind::User, id)
    }

    fn of(kind: ChannelKind, name: impl fmt::Display) -> Self {
        Self(format!("{}{name}", kind.prefix()))
    }

    /// The name on the wire, prefix included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks the name.
    pub(crate) fn parse(&self) -> Result<ChannelName, Error> {
        ChannelName::parse(&self.0, MAX_NAME_BYTES)
            .map_err(|cause| Error::Channel { channel: self.0.clone(), cause })
    }
}

/// The name on the wire, prefix included.
impl From<&str> for Channel {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// The name on the wire, prefix included.
impl From<String> for Channel {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl From<&Self> for Channel {
    fn from(channel: &Self) -> Self {
        channel.clone()
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
