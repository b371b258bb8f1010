//! Encrypted channels.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clarim_protocol::ChannelName;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use serde::Deserialize;

use crate::authorizer::Authorization;
use crate::error::Error;

/// The key of an encrypted channel.
pub(super) fn secret(channel: &str, answer: &Authorization) -> Result<Option<[u8; 32]>, Error> {
    let name = ChannelName::parse(channel, usize::MAX);
    if !name.is_ok_and(|name| name.kind().is_encrypted()) {
        return Ok(None);
    }
    let key = answer.shared_secret.as_deref().and_then(|text| STANDARD.decode(text).ok());
    let key = key.and_then(|bytes| bytes.try_into().ok());
    key.map(Some).ok_or_else(|| {
        Error::authorization(channel, "the answer has no shared_secret of 32 bytes in base64")
    })
}

/// Decrypts with NaCl's secretbox. <https://pusher.com/docs/channels/using_channels/encrypted-channels/>
pub(super) fn open(key: &[u8; 32], data: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Sealed {
        nonce: String,
        ciphertext: String,
    }
    let Sealed { nonce, ciphertext } = serde_json::from_str(data).ok()?;
    let nonce: [u8; 24] = STANDARD.decode(nonce).ok()?.try_into().ok()?;
    let ciphertext = STANDARD.decode(ciphertext).ok()?;
    let cipher = XSalsa20Poly1305::new(key.into());
    String::from_utf8(cipher.decrypt(&nonce.into(), ciphertext.as_slice()).ok()?).ok()
}
