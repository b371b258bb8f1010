//! The names of subjects and logs as NATS tokens: dots, spaces and wildcards have a meaning there.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// Characters that are escaped in a subject.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Maximum length of a subject. A server accepts lines of 4 096 bytes, with two subjects in a request, and
/// closes the connection after a longer one.
const MAX_SUBJECT_BYTES: usize = 1024;

/// A subject as one token. A long subject becomes its hash after `sha256.`: no other escaped subject has a
/// dot.
pub(super) fn escape(subject: &str) -> String {
    short(subject, "sha256.")
}

/// Any text as exactly one token. A long text becomes its hash after `sha256%x`: no other token has that.
pub(super) fn token(text: &str) -> String {
    short(text, "sha256%x")
}

fn short(text: &str, hash_mark: &str) -> String {
    let escaped = utf8_percent_encode(text, ESCAPED).to_string();
    if escaped.len() <= MAX_SUBJECT_BYTES {
        return escaped;
    }
    format!("{hash_mark}{}", hex::encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_subjects_are_hashed() {
        let longest = "x".repeat(MAX_SUBJECT_BYTES);
        assert_eq!(escape(&longest), longest);
        for subject in [format!("{longest}x"), ".".repeat(MAX_SUBJECT_BYTES / 3 + 1)] {
            let escaped = escape(&subject);
            assert!(escaped.starts_with("sha256.") && escaped.len() == 71, "{escaped}");
            assert!(token(&subject).starts_with("sha256%x") && !token(&subject).contains('.'));
        }
    }
}
