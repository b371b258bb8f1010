//! Ids of pages, by which a page that reconnects is known. They are Clarim's own; Pusher has none.

use std::fmt;
use std::str::FromStr;

/// A page's id: 1 to 64 characters of `A-Za-z0-9_-` that the page chooses at random. The page puts it into
/// the path of its connections, after a `~`. It is not a credential.
///
/// ```
/// use clarim_protocol::PageId;
///
/// let id: PageId = "6f1c".parse().unwrap();
/// assert_eq!(id.as_str(), "6f1c");
/// assert!("a page".parse::<PageId>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PageId(Box<str>);

impl PageId {
    /// Maximum number of characters.
    pub const MAX_LENGTH: usize = 64;

    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PageId {
    type Err = InvalidPageId;

    fn from_str(text: &str) -> Result<Self, InvalidPageId> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_valid = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_valid { Ok(Self(text.into())) } else { Err(InvalidPageId) }
    }
}

/// Shows only the beginning, because a client with the id can take the page over.
impl fmt::Debug for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageId({:.4}…)", self.0)
    }
}

/// The error of an invalid page id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("A page id has 1 to 64 characters: letters, digits, _ and -.")]
pub struct InvalidPageId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_1_to_64_safe_characters() {
        for good in ["a", "6f1c0e9a-2b7d-4c3e-9f00-aB_z", &"x".repeat(64)] {
            assert!(good.parse::<PageId>().is_ok(), "{good}");
        }
        for bad in
            ["", "a b", "é", "a/b", "a.b", "~a", "a%20", &"x".repeat(65), &"x".repeat(10_000)]
        {
            assert_eq!(bad.parse::<PageId>(), Err(InvalidPageId), "{bad}");
        }
        let id: PageId = "0123456789abcdef".parse().unwrap();
        assert_eq!(format!("{id:?}"), "PageId(0123…)");
    }
}
