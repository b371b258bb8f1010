//! Channel kinds and their policies. A new kind is a variant, an entry in [`ChannelKind::ALL`] and a policy.

/// The kind of a channel, given by the outer prefix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// No prefix: every client may subscribe.
    Public,
    /// `private-`: a subscription needs a signature by the app's backend.
    Private,
    /// `private-encrypted-`: as private; the server cannot read the data.
    Encrypted,
    /// `presence-`: as private; the subscribers are members with a user id who see each other.
    Presence,
    /// `#server-to-user-ID`: for connections that have signed in as the user.
    User,
}

/// The properties of a kind.
struct Policy {
    label: &'static str,
    attribute: Option<&'static str>,
    prefix: &'static str,
    access: Access,
    client_events: ClientEvents,
    has_members: bool,
    is_encrypted: bool,
    is_synchronized: bool,
}

/// The clients that may subscribe.
#[derive(PartialEq, Eq)]
enum Access {
    All,
    Signed,
    SignedInUser,
}

/// Whether clients may send events on the channel.
enum ClientEvents {
    Never,
    IfAllowedOnPublic,
    Always,
}

impl ChannelKind {
    /// All kinds, in the order of their [indexes](Self::index).
    pub const ALL: [Self; 5] =
        [Self::Public, Self::Private, Self::Encrypted, Self::Presence, Self::User];

    const fn policy(self) -> Policy {
        match self {
            Self::Public => Policy {
                label: "public",
                attribute: Some("channel"),
                prefix: "",
                access: Access::All,
                client_events: ClientEvents::IfAllowedOnPublic,
                has_members: false,
                is_encrypted: false,
                is_synchronized: false,
            },
            Self::Private => Policy {
                label: "private",
                attribute: Some("private"),
                prefix: "private-",
                access: Access::Signed,
                client_events: ClientEvents::Always,
                ..Self::Public.policy()
            },
            Self::Encrypted => Policy {
                label: "encrypted",
                attribute: Some("encrypted"),
                prefix: "private-encrypted-",
                // Clients cannot encrypt them, and neither Pusher nor pusher-js takes them.
                client_events: ClientEvents::Never,
                is_encrypted: true,
                ..Self::Private.policy()
            },
            Self::Presence => Policy {
                label: "presence",
                attribute: Some("presence"),
                prefix: "presence-",
                has_members: true,
                is_synchronized: true,
                ..Self::Private.policy()
            },
            Self::User => Policy {
                label: "user",
                attribute: None,
                prefix: "#server-to-user-",
                access: Access::SignedInUser,
                client_events: ClientEvents::Never,
                is_synchronized: true,
                ..Self::Public.policy()
            },
        }
    }

    /// Returns the kind's index in [`ALL`](Self::ALL), for arrays with an element per kind.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the kind that an attribute of `#[broadcast(…)]` stands for.
    #[must_use]
    pub fn from_attribute(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.policy().attribute == Some(name))
    }

    /// Returns the name used in metrics, which is also the name of `clarim::Channel`'s constructor.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.policy().label
    }

    /// Returns the prefix of the names of such channels, which is empty for public ones.
    ///
    /// ```
    /// use clarim_protocol::ChannelKind;
    ///
    /// assert_eq!(ChannelKind::Presence.prefix(), "presence-");
    /// ```
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        self.policy().prefix
    }

    /// Whether names of such channels can begin with `start`.
    ///
    /// ```
    /// use clarim_protocol::ChannelKind;
    ///
    /// assert!(ChannelKind::Presence.may_begin_with("presence-room"));
    /// assert!(!ChannelKind::Presence.may_begin_with("room"));
    /// ```
    #[must_use]
    pub fn may_begin_with(self, start: &str) -> bool {
        start.starts_with(self.prefix()) || self.prefix().starts_with(start)
    }

    /// Whether a subscription needs a signature by the app's backend.
    #[must_use]
    pub const fn needs_auth(self) -> bool {
        matches!(self.policy().access, Access::Signed)
    }

    /// Whether the channel belongs to a user, and is for connections that have signed in as that user.
    #[must_use]
    pub const fn is_of_user(self) -> bool {
        matches!(self.policy().access, Access::SignedInUser)
    }

    /// Whether subscribers are members with a user id who see each other.
    #[must_use]
    pub const fn has_members(self) -> bool {
        self.policy().has_members
    }

    /// Whether publishers encrypt the data, and subscribers get the key from the backend.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        self.policy().is_encrypted
    }

    /// Whether nodes of a cluster synchronize state of such channels, and do not only exchange events.
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        self.policy().is_synchronized
    }

    /// Whether clients may send events on such channels. `on_public`: whether the app allows them on public
    /// channels.
    #[must_use]
    pub const fn allows_client_events(self, on_public: bool) -> bool {
        match self.policy().client_events {
            ClientEvents::Never => false,
            ClientEvents::IfAllowedOnPublic => on_public,
            ClientEvents::Always => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_those_of_the_list() {
        for (index, kind) in ChannelKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
    }
}
