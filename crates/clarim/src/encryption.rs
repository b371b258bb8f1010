//! Encryption of channels: NaCl's secretbox, with one key per channel.
//! <https://pusher.com/docs/channels/using_channels/encrypted-channels/>

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::Error;

/// The application's master key, from which the key of each encrypted channel is derived. Its debug output
/// hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// A key from its bytes.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Reads a key in base64, as printed by `openssl rand -base64 32`. Returns `None` if it is not 32 bytes.
    ///
    /// ```
    /// use clarim::MasterKey;
    ///
    /// assert!(MasterKey::from_base64("Y2xhcmltY2xhcmltY2xhcmltY2xhcmltY2xhcmltY2w=").is_some());
    /// assert!(MasterKey::from_base64("c2hvcnQ=").is_none());
    /// ```
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }

    fn channel_key(&self, channel: &str) -> [u8; 32] {
        Sha256::new().chain_update(channel).chain_update(self.0).finalize().into()
    }

    /// The channel's key in base64, as authorized subscribers get it.
    pub(crate) fn shared_secret(&self, channel: &str) -> String {
        STANDARD.encode(self.channel_key(channel))
    }

    /// Encrypts an event's data, as `{"nonce":…,"ciphertext":…}`.
    pub(crate) fn encrypt(&self, channel: &str, data: &str) -> Result<String, Error> {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce)
            .map_err(|error| Error::Encryption { source: Box::new(error) })?;
        let cipher = XSalsa20Poly1305::new(&self.channel_key(channel).into());
        let ciphertext = cipher
            .encrypt(&nonce.into(), data.as_bytes())
            .map_err(|error| Error::Encryption { source: error.to_string().into() })?;
        let nonce = STANDARD.encode(nonce);
        let ciphertext = STANDARD.encode(ciphertext);
        Ok(json!({ "nonce": nonce, "ciphertext": ciphertext }).to_string())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_own_key() {
        let key = MasterKey::new([7; 32]);
        let digest = Sha256::digest([b"private-encrypted-a".as_slice(), &[7; 32]].concat());
        assert_eq!(key.shared_secret("private-encrypted-a"), STANDARD.encode(digest));
        assert_ne!(
            key.shared_secret("private-encrypted-a"),
            key.shared_secret("private-encrypted-b")
        );
    }

    #[test]
    fn the_debug_output_hides_the_key() {
        assert_eq!(format!("{:?}", MasterKey::new([b'k'; 32])), "MasterKey(…)");
    }
}
