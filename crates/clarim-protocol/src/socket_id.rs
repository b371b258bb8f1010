//! Public ids of connections.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A connection's public id, `\d+\.\d+`. Backends sign it to authorize a subscription, and send it to exclude
/// the connection that caused an event.
///
/// ```
/// use clarim_protocol::SocketId;
///
/// let id: SocketId = "145814.20211781".parse().unwrap();
/// assert_eq!(id.to_string(), "145814.20211781");
/// assert!("145814".parse::<SocketId>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId {
    /// The number before the dot.
    pub nonce: u64,
    /// The number after the dot.
    pub place: u64,
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.nonce, self.place)
    }
}

impl FromStr for SocketId {
    type Err = InvalidSocketId;

    fn from_str(text: &str) -> Result<Self, InvalidSocketId> {
        let (nonce, place) = text.split_once('.').ok_or(InvalidSocketId)?;
        Ok(Self { nonce: number(nonce)?, place: number(place)? })
    }
}

impl<'de> Deserialize<'de> for SocketId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for SocketId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Parses a number in its canonical form. `u64::from_str` alone would accept a sign and leading zeros.
fn number(digits: &str) -> Result<u64, InvalidSocketId> {
    let canonical = digits == "0" || !digits.starts_with('0');
    if canonical && digits.bytes().all(|b| b.is_ascii_digit()) {
        digits.parse().map_err(|_| InvalidSocketId)
    } else {
        Err(InvalidSocketId)
    }
}

/// The error of an invalid socket id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a socket_id is two numbers with a dot between them, like 1234.5678")]
pub struct InvalidSocketId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_accepted() {
        for good in ["1.2", "0.0", "18446744073709551615.1"] {
            assert_eq!(good.parse::<SocketId>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            ".",
            "1.",
            ".1",
            "1.2.3",
            "1:2",
            "+1.2",
            "-1.2",
            "01.2",
            "1.2 ",
            "1.2:private-x",
            "99999999999999999999.1",
        ] {
            assert_eq!(bad.parse::<SocketId>(), Err(InvalidSocketId), "{bad}");
        }
    }
}
