//! Ids of pages, by which a page that reconnects is known. They are Clarim's own; Pusher has none.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// A page's id: 1 to 64 characters of `A-Za-z0-9_-` that the page chooses at random. The page puts it into
/// the path of its connections, after a `~`. It is not a credential.
///
/// The number of the page's connection may follow after a dot. With it, a server that does not know the page
/// can tell a new page from one that is back.
///
/// ```
/// use clarim_protocol::PageId;
///
/// let id: PageId = "6f1c.2".parse().unwrap();
/// assert_eq!(id.as_str(), "6f1c");
/// assert!(id.is_back());
/// assert!("a page".parse::<PageId>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PageId {
    id: Box<str>,
    connection: Option<NonZeroU32>,
}

impl PageId {
    /// Maximum number of characters.
    pub const MAX_LENGTH: usize = 64;

    /// Returns its text, without the number of the connection.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.id
    }

    /// Whether this is the page's first connection, as far as the page has told.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.connection == Some(NonZeroU32::MIN)
    }

    /// Whether the page has told that it may have had a connection before.
    #[must_use]
    pub fn is_back(&self) -> bool {
        self.connection.is_some() && !self.is_first()
    }
}

impl FromStr for PageId {
    type Err = InvalidPageId;

    fn from_str(text: &str) -> Result<Self, InvalidPageId> {
        let (id, connection) = match text.split_once('.') {
            Some((id, number)) => (id, Some(number.parse().map_err(|_| InvalidPageId)?)),
            None => (text, None),
        };
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_valid = (1..=Self::MAX_LENGTH).contains(&id.len()) && id.bytes().all(is_allowed);
        if is_valid { Ok(Self { id: id.into(), connection }) } else { Err(InvalidPageId) }
    }
}

/// Shows only the beginning, because a client with the id can take the page over.
impl fmt::Debug for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageId({:.4}…)", self.id)
    }
}

/// The error of an invalid page id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "A page id has 1 to 64 characters: letters, digits, _ and -. A dot and the number of the connection, from 1, may follow."
)]
pub struct InvalidPageId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_1_to_64_safe_characters() {
        for good in ["a", "6f1c0e9a-2b7d-4c3e-9f00-aB_z", &"x".repeat(64)] {
            assert!(good.parse::<PageId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "é",
            "a/b",
            "a.b",
            "a.",
            "a.0",
            "a.-1",
            "a.1.1",
            ".1",
            "a.99999999999",
            "~a",
            "a%20",
            &"x".repeat(65),
            &"x".repeat(10_000),
        ] {
            assert_eq!(bad.parse::<PageId>(), Err(InvalidPageId), "{bad}");
        }
        let told = |text: &str| {
            let id: PageId = text.parse().unwrap();
            assert_eq!(id.as_str(), "a");
            (id.is_first(), id.is_back())
        };
        assert_eq!(["a", "a.1", "a.2"].map(told), [(false, false), (true, false), (false, true)]);
        let id: PageId = "0123456789abcdef".parse().unwrap();
        assert_eq!(format!("{id:?}"), "PageId(0123…)");
    }
}
