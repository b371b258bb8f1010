//! Errors of signed requests.

/// A request may be this much older or newer than the server's clock says, in seconds.
pub const TIMESTAMP_TOLERANCE: u64 = 600;

/// Why a request to the HTTP API was refused (status 401).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// A parameter of the signature is missing.
    #[error("The query parameter {0} is missing; every request must be signed")]
    Missing(&'static str),
    /// A name occurs twice.
    #[error("The query parameter {0} is given twice")]
    Doubled(String),
    /// The query isn't URL encoding.
    #[error("The query string is not valid URL encoding")]
    Encoding,
    /// Another app's key.
    #[error("auth_key is not the key of this app: is the app id in the path the right one?")]
    Key,
    /// Not 1.0.
    #[error("auth_version must be 1.0")]
    Version,
    /// Not a number.
    #[error("auth_timestamp must be the time in seconds since 1970")]
    TimestampForm,
    /// Signed too long ago, or in the future.
    #[error(
        "Timestamp expired: Given timestamp ({timestamp}) not within {TIMESTAMP_TOLERANCE}s of server time ({now}); check the clocks of both machines"
    )]
    Expired {
        /// What the request says.
        timestamp: u64,
        /// What the server's clock says.
        now: u64,
    },
    /// The body was changed, or another one was signed.
    #[error("body_md5 is not the MD5 of the body that arrived")]
    BodyMd5,
    /// Another secret, or other text, was signed.
    #[error(
        "Invalid signature: you should have sent HmacSHA256Hex(\"{expected}\", your_secret_key)"
    )]
    Wrong {
        /// The text that should have been signed.
        expected: String,
    },
}
