//! Positions in the history of a channel. They are Clarim's own; Pusher has none.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::socket_id::SocketId;

/// The life of a channel's history. Offsets of different epochs cannot be compared. Clients treat it as
/// opaque text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub NonZeroU64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = InvalidEpoch;

    fn from_str(text: &str) -> Result<Self, InvalidEpoch> {
        u64::from_str_radix(text, 16).ok().and_then(NonZeroU64::new).map(Self).ok_or(InvalidEpoch)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The error of an invalid epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is a number in hexadecimal digits, as in the position that the server sent")]
pub struct InvalidEpoch;

/// A position in the history of a channel: behind the event with this offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The offset of the last event before the position; 0 at the beginning.
    pub offset: u64,
}

/// The position from which a client asks for what it missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "TypedSince")]
pub enum Since {
    /// Behind this position.
    Position {
        /// The position.
        position: Position,
        /// The client's former id. Events that excluded it are not for this client.
        socket_id: Option<SocketId>,
    },
    /// The client sent something else.
    Invalid,
}

/// What a client sends. It is subscribed whatever it sends.
#[derive(Deserialize)]
#[serde(untagged)]
enum TypedSince {
    Position {
        #[serde(flatten)]
        position: Position,
        #[serde(default)]
        socket_id: Option<SocketId>,
    },
    Other(IgnoredAny),
}

impl From<TypedSince> for Since {
    fn from(typed: TypedSince) -> Self {
        match typed {
            TypedSince::Position { position, socket_id } => Self::Position { position, socket_id },
            TypedSince::Other(_) => Self::Invalid,
        }
    }
}

/// The start of a subscription to a channel with history, as `subscription_succeeded` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Everything behind this position follows.
    pub position: Position,
    /// Whether the client has named a position, and nothing behind it is missing.
    pub recovered: bool,
    /// Number of past events that follow before new ones.
    pub missed: usize,
}

/// Why events cannot be recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// They are older than the history reaches.
    Expired,
    /// The history has begun anew.
    Epoch,
    /// More events were missed than the history keeps.
    TooMany,
    /// The node had lost its connection to the bus.
    Bus,
    /// The client's position is invalid, or it lies in the future.
    #[serde(other)]
    Unknown,
}

impl GapReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 5] =
        [Self::Expired, Self::Epoch, Self::TooMany, Self::Bus, Self::Unknown];

    /// Returns the reason's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Epoch => "epoch",
            Self::TooMany => "too_many",
            Self::Unknown => "unknown",
            Self::Bus => "bus",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_json_is_a_since() {
        let good = r#"{"epoch":"ff","offset":3,"socket_id":"1.2","more":[]}"#;
        let position = Position { epoch: "ff".parse().unwrap(), offset: 3 };
        let socket_id = Some("1.2".parse().unwrap());
        assert_eq!(
            serde_json::from_str::<Since>(good).unwrap(),
            Since::Position { position, socket_id }
        );
        for bad in [
            "1",
            "[]",
            r#"{"epoch":"0","offset":1}"#,
            r#"{"epoch":"x","offset":1}"#,
            r#"{"epoch":7,"offset":1}"#,
            r#"{"epoch":"1"}"#,
            r#"{"epoch":"1","offset":-1}"#,
            r#"{"epoch":"1","offset":1.5}"#,
            r#"{"epoch":"1","offset":18446744073709551616}"#,
        ] {
            assert_eq!(serde_json::from_str::<Since>(bad).unwrap(), Since::Invalid, "{bad}");
        }
    }
}
