//! Signatures of subscriptions, sign-ins and HTTP API requests.
//!
//! All are HMAC-SHA256 digests in lower-case hex, made with the app's secret. Comparisons take constant time.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::socket_id::SocketId;

/// An app's public key and its secret.
///
/// Only the keyed state of the HMAC is stored, not the secret itself: it cannot end up in a log, and
/// signing needs no key setup.
#[derive(Clone)]
pub struct AppKey {
    key: String,
    keyed: Hmac<Sha256>,
}

/// Compares keys and secrets. Secrets are equal if their signatures are.
impl PartialEq for AppKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.sign(&[]) == other.sign(&[])
    }
}

impl AppKey {
    /// Makes the pair that the app's backend uses.
    #[must_use]
    pub fn new(key: impl Into<String>, secret: impl AsRef<str>) -> Self {
        let keyed = Hmac::new_from_slice(secret.as_ref().as_bytes())
            .expect("HMAC takes a key of any length");
        Self { key: key.into(), keyed }
    }

    /// Returns the public key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Signs the concatenation of `parts`.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> String {
        hex::encode(self.mac(parts).finalize().into_bytes())
    }

    /// Whether `signature` (hex) is valid for the concatenation of `parts`. Takes constant time.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], signature: &str) -> bool {
        let mut bytes = [0; 32];
        hex::decode_to_slice(signature, &mut bytes).is_ok()
            && self.mac(parts).verify_slice(&bytes).is_ok()
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }

    /// Returns the `auth` that authorizes `socket_id` to subscribe to a private or presence channel.
    ///
    /// ```
    /// use clarim_protocol::{SocketId, auth::AppKey};
    ///
    /// // The example of Pusher's documentation.
    /// let app = AppKey::new("278d425bdf160c739803", "7ad3773142a6692b25b8");
    /// let socket_id: SocketId = "1234.1234".parse().unwrap();
    /// assert_eq!(
    ///     app.sign_channel(socket_id, "private-foobar", None),
    ///     "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
    /// );
    /// ```
    #[must_use]
    pub fn sign_channel(
        &self,
        socket_id: SocketId,
        channel: &str,
        channel_data: Option<&str>,
    ) -> String {
        with_channel(socket_id, channel, channel_data, |parts| {
            format!("{}:{}", self.key, self.sign(parts))
        })
    }

    /// Verifies the `auth` of a subscription. If there is `channel_data`, it is part of the signature,
    /// also on private channels.
    ///
    /// # Errors
    /// If a part of `auth` is wrong. The error says which part.
    pub fn verify_channel(
        &self,
        auth: &str,
        socket_id: SocketId,
        channel: &str,
        channel_data: Option<&str>,
    ) -> Result<(), AuthError> {
        let signature = self.own_signature(auth)?;
        let signed =
            with_channel(socket_id, channel, channel_data, |parts| self.verify(parts, signature));
        if signed { Ok(()) } else { Err(AuthError::Signature) }
    }

    /// Returns the `auth` that signs `socket_id` in as the user of `user_data`.
    #[must_use]
    pub fn sign_user(&self, socket_id: SocketId, user_data: &str) -> String {
        let signature =
            self.sign(&[socket_id.to_string().as_bytes(), b"::user::", user_data.as_bytes()]);
        format!("{}:{signature}", self.key)
    }

    /// Verifies the `auth` of a sign-in.
    ///
    /// # Errors
    /// If a part of `auth` is wrong. The error says which part.
    pub fn verify_user(
        &self,
        auth: &str,
        socket_id: SocketId,
        user_data: &str,
    ) -> Result<(), AuthError> {
        let signature = self.own_signature(auth)?;
        let id = socket_id.to_string();
        if self.verify(&[id.as_bytes(), b"::user::", user_data.as_bytes()], signature) {
            Ok(())
        } else {
            Err(AuthError::Signature)
        }
    }

    /// Returns the signature of `key:signature`, if the key is this app's.
    fn own_signature<'a>(&self, auth: &'a str) -> Result<&'a str, AuthError> {
        let (key, signature) = auth.split_once(':').ok_or(AuthError::Form)?;
        if key == self.key { Ok(signature) } else { Err(AuthError::Key) }
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppKey").field("key", &self.key).finish_non_exhaustive()
    }
}

fn with_channel<R>(
    socket_id: SocketId,
    channel: &str,
    channel_data: Option<&str>,
    then: impl FnOnce(&[&[u8]]) -> R,
) -> R {
    let id = socket_id.to_string();
    match channel_data {
        Some(data) => then(&[id.as_bytes(), b":", channel.as_bytes(), b":", data.as_bytes()]),
        None => then(&[id.as_bytes(), b":", channel.as_bytes()]),
    }
}

/// The error of an invalid `auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// It does not have the form `key:signature`.
    #[error("auth is missing or not of the form \"key:signature\"")]
    Form,
    /// It was signed for another app.
    #[error("the key in auth is not the key of this app")]
    Key,
    /// The signature is of another secret, socket id, channel or `channel_data`.
    #[error(
        "the signature in auth does not match: it must be the HMAC-SHA256 hex digest, under this app's secret, of what this socket asked for"
    )]
    Signature,
}

impl AuthError {
    /// Returns a stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Form => "auth_form",
            Self::Key => "auth_key",
            Self::Signature => "auth_signature",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> AppKey {
        AppKey::new("278d425bdf160c739803", "7ad3773142a6692b25b8")
    }

    #[test]
    fn channel_data_is_always_part_of_the_signature() {
        let id: SocketId = "1234.1234".parse().unwrap();
        let data = r#"{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#;
        let auth = app().sign_channel(id, "presence-foobar", Some(data));
        assert_eq!(
            auth,
            "278d425bdf160c739803:afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
            "the example of Pusher's documentation"
        );
        assert_eq!(app().verify_channel(&auth, id, "presence-foobar", Some(data)), Ok(()));
        let swapped = data.replace("10", "11");
        assert_eq!(
            app().verify_channel(&auth, id, "presence-foobar", Some(&swapped)),
            Err(AuthError::Signature)
        );
        assert_eq!(
            app().verify_channel(&auth, id, "presence-foobar", None),
            Err(AuthError::Signature)
        );
    }

    #[test]
    fn errors_say_which_part_is_wrong() {
        let id: SocketId = "1.2".parse().unwrap();
        let other = AppKey::new("other", "secret").sign_channel(id, "private-x", None);
        assert_eq!(app().verify_channel(&other, id, "private-x", None), Err(AuthError::Key));
        for form in ["", "278d425bdf160c739803"] {
            assert_eq!(app().verify_channel(form, id, "private-x", None), Err(AuthError::Form));
        }
        for signature in ["", "00", "zz", &"0".repeat(64), &"0".repeat(66)] {
            let auth = format!("278d425bdf160c739803:{signature}");
            assert_eq!(
                app().verify_channel(&auth, id, "private-x", None),
                Err(AuthError::Signature)
            );
        }
    }

    #[test]
    fn a_user_signature_is_not_valid_for_a_channel() {
        let id: SocketId = "1.2".parse().unwrap();
        let auth = app().sign_user(id, r#"{"id":"7"}"#);
        assert_eq!(app().verify_user(&auth, id, r#"{"id":"7"}"#), Ok(()));
        assert_eq!(app().verify_user(&auth, id, r#"{"id":"8"}"#), Err(AuthError::Signature));
        assert_eq!(
            app().verify_user(&auth, "1.3".parse().unwrap(), r#"{"id":"7"}"#),
            Err(AuthError::Signature)
        );
    }

    #[test]
    fn the_secret_is_not_in_the_debug_output() {
        assert!(!format!("{:?}", app()).contains("7ad3773142a6692b25b8"));
    }
}
