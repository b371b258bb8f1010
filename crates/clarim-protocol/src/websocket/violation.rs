//! Violations of the WebSocket standard by clients.

use crate::code::Code;

/// A violation of the standard or of the size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The frame is not allowed by the standard.
    #[error("{0}")]
    Protocol(&'static str),
    /// The text is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// The message, with all its fragments, exceeds the size limit.
    #[error("Maximum message size exceeded")]
    TooBig,
}

impl Violation {
    /// Returns the code to close the connection with.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Protocol(_) => Code::PROTOCOL_ERROR,
            Self::Utf8 => Code::INVALID_TEXT,
            Self::TooBig => Code::TOO_BIG,
        }
    }
}
