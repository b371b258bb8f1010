//! Errors of signed requests.

/// Maximum difference between a request's timestamp and the server's clock, in seconds.
pub const TIMESTAMP_TOLERANCE: u64 = 600;

/// The error of a request with an invalid signature (status 401).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// A parameter of the signature is missing.
    #[error("The query parameter {0} is missing; every request must be signed")]
    Missing(&'static str),
    /// A parameter occurs twice.
    #[error("The query parameter {0} is given twice")]
    Doubled(String),
    /// The query is not valid URL encoding.
    #[error("The query string is not valid URL encoding")]
    Encoding,
    /// The key belongs to another app.
    #[error("auth_key is not the key of this app: is the app id in the path the right one?")]
    Key,
    /// `auth_version` is not 1.0.
    #[error("auth_version must be 1.0")]
    Version,
    /// `auth_timestamp` is not a number.
    #[error("auth_timestamp must be the time in seconds since 1970")]
    TimestampForm,
    /// The request was signed too long ago, or in the future.
    #[error(
        "Timestamp expired: Given timestamp ({timestamp}) not within {TIMESTAMP_TOLERANCE}s of server time ({now}); check the clocks of both machines"
    )]
    Expired {
        /// The request's timestamp.
        timestamp: u64,
        /// The server's clock.
        now: u64,
    },
    /// The body differs from the signed one.
    #[error("body_md5 is not the MD5 of the body that arrived")]
    BodyMd5,
    /// The signature is of another secret or other text.
    #[error(
        "Invalid signature: you should have sent HmacSHA256Hex(\"{expected}\", your_secret_key)"
    )]
    Wrong {
        /// The text that should have been signed.
        expected: String,
    },
}

impl SignatureError {
    /// Returns a stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "signature_parameter_missing",
            Self::Doubled(_) => "signature_parameter_doubled",
            Self::Encoding => "signature_query_encoding",
            Self::Key => "signature_key",
            Self::Version => "signature_version",
            Self::TimestampForm => "signature_timestamp",
            Self::Expired { .. } => "signature_expired",
            Self::BodyMd5 => "signature_body_md5",
            Self::Wrong { .. } => "signature_wrong",
        }
    }
}
