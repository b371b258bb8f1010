//! Records of TLS (RFC 8446, section 5).

use std::io;

/// Bytes before a record's content.
pub(super) const HEADER: usize = 5;

/// Maximum size of the content of a record.
pub(super) const MAX_CONTENT: usize = 16 << 10;

/// Maximum size of a record after its header. TLS 1.2 allows the most.
const MAX_SEALED: usize = MAX_CONTENT + 2048;

/// The type of a record's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ContentType {
    Alert = 21,
    Handshake = 22,
    ApplicationData = 23,
}

impl ContentType {
    pub(super) fn new(byte: u8) -> Option<Self> {
        [Self::Alert, Self::Handshake, Self::ApplicationData]
            .into_iter()
            .find(|it| *it as u8 == byte)
    }
}

/// An error that ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the keys of the TLS session cannot be used")]
    Keys,
    #[error("a TLS record does not belong to the session, or was changed")]
    BadRecord,
    #[error("a TLS record is too large")]
    RecordOverflow,
    #[error("an unexpected TLS message")]
    UnexpectedMessage,
    #[error("the client has ended the TLS session with alert {0}")]
    Alert(u8),
}

impl TlsError {
    /// The alert that tells the client.
    pub(super) fn alert(self) -> Option<u8> {
        match self {
            Self::Keys => Some(80),
            Self::BadRecord => Some(20),
            Self::RecordOverflow => Some(22),
            Self::UnexpectedMessage => Some(10),
            Self::Alert(_) => None,
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Returns the size of the record at the beginning of `bytes`, with its header, if it is known.
///
/// # Errors
/// No record begins like that, or it is larger than any may be.
pub(super) fn record_len(bytes: &[u8]) -> Result<Option<usize>, TlsError> {
    // Types of records are 20 to 24. Plain HTTP, for example, begins with a letter.
    if bytes.first().is_some_and(|first| !(20..=24).contains(first)) {
        return Err(TlsError::UnexpectedMessage);
    }
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    match usize::from(u16::from_be_bytes([high, low])) {
        sealed if sealed > MAX_SEALED => Err(TlsError::RecordOverflow),
        sealed => Ok(Some(HEADER + sealed)),
    }
}
