//! The keys of one direction of a TLS 1.3 session, which encrypt and decrypt records (RFC 8446, sections 5
//! and 7).

use std::fmt;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use rustls::ConnectionTrafficSecrets;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::record::{ContentType, HEADER, TlsError};

/// Bytes that encryption adds to a record.
const TAG: usize = 16;

/// Maximum number of records under one key of AES-GCM.
const MAX_RECORDS: u64 = if cfg!(test) { 100 } else { 1 << 24 };

/// The algorithms of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Suite {
    fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    fn hash(self) -> hkdf::Algorithm {
        match self {
            Self::Aes256Gcm => hkdf::HKDF_SHA384,
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => hkdf::HKDF_SHA256,
        }
    }

    fn secret_len(self) -> usize {
        self.hash().hmac_algorithm().digest_algorithm().output_len()
    }
}

/// The keys of one direction.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TrafficKeys {
    suite: Suite,
    /// The source of key and iv.
    #[serde(with = "serde_bytes")]
    secret: [u8; 48],
    #[serde(with = "serde_bytes")]
    key: [u8; 32],
    #[serde(with = "serde_bytes")]
    iv: [u8; 12],
    /// Number of records so far.
    sequence: u64,
}

impl fmt::Debug for TrafficKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite, sequence, .. } = self;
        f.debug_struct("TrafficKeys").field("suite", suite).field("sequence", sequence).finish()
    }
}

impl Drop for TrafficKeys {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl TrafficKeys {
    /// The keys that rustls has extracted after `sequence` records, which belong to this secret.
    ///
    /// # Errors
    /// They do not belong to it: the client has updated its keys since the handshake.
    pub(super) fn new(
        sequence: u64,
        extracted: &ConnectionTrafficSecrets,
        secret: &[u8],
    ) -> Result<Self, TlsError> {
        let (suite, expected) = match extracted {
            ConnectionTrafficSecrets::Aes128Gcm { key, .. } => (Suite::Aes128Gcm, key),
            ConnectionTrafficSecrets::Aes256Gcm { key, .. } => (Suite::Aes256Gcm, key),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, .. } => {
                (Suite::ChaCha20Poly1305, key)
            }
            _ => return Err(TlsError::Keys),
        };
        let mut keys = Self { suite, secret: [0; 48], key: [0; 32], iv: [0; 12], sequence };
        let kept = keys.secret.get_mut(..secret.len()).ok_or(TlsError::Keys)?;
        kept.copy_from_slice(secret);
        keys.derive()?;
        if &keys.key[..suite.aead().key_len()] != expected.as_ref() {
            return Err(TlsError::Keys);
        }
        Ok(keys)
    }

    /// Derives key and iv from the secret.
    fn derive(&mut self) -> Result<(), TlsError> {
        let secret = self.prk();
        expand(&secret, b"key", &mut self.key[..self.suite.aead().key_len()])?;
        expand(&secret, b"iv", &mut self.iv)
    }

    fn prk(&self) -> hkdf::Prk {
        hkdf::Prk::new_less_safe(self.suite.hash(), &self.secret[..self.suite.secret_len()])
    }

    /// Goes on to the next keys.
    pub(super) fn update(&mut self) -> Result<(), TlsError> {
        let secret = self.prk();
        expand(&secret, b"traffic upd", &mut self.secret[..self.suite.secret_len()])?;
        self.sequence = 0;
        self.derive()
    }

    /// Whether the keys must be updated before the next record.
    pub(super) fn is_used_up(&self) -> bool {
        self.sequence >= MAX_RECORDS && self.suite != Suite::ChaCha20Poly1305
    }

    /// Turns the content at the end of `out`, which begins [`HEADER`] bytes after `start`, into a record.
    pub(super) fn seal(
        &mut self,
        content: ContentType,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), TlsError> {
        out.push(content as u8);
        let [high, low] = u16::try_from(out.len() - start - HEADER + TAG)
            .map_err(|_| TlsError::RecordOverflow)?
            .to_be_bytes();
        let header = [ContentType::ApplicationData as u8, 3, 3, high, low];
        out[start..start + HEADER].copy_from_slice(&header);
        let (key, nonce) = self.next()?;
        let sealed = &mut out[start + HEADER..];
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(header), sealed)
            .map_err(|_| TlsError::Keys)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts a record. Returns the type and the length of its content, which begins after the header.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(ContentType, usize), TlsError> {
        let (header, sealed) =
            record.split_first_chunk_mut::<HEADER>().ok_or(TlsError::UnexpectedMessage)?;
        if header[0] != ContentType::ApplicationData as u8 {
            return Err(TlsError::UnexpectedMessage);
        }
        let (key, nonce) = self.next()?;
        let opened = key
            .open_in_place(nonce, Aad::from(*header), sealed)
            .map_err(|_| TlsError::BadRecord)?;
        // Padding follows the type.
        let end = opened.iter().rposition(|byte| *byte != 0).ok_or(TlsError::UnexpectedMessage)?;
        Ok((ContentType::new(opened[end]).ok_or(TlsError::UnexpectedMessage)?, end))
    }

    /// Returns the key and the nonce for the next record.
    fn next(&mut self) -> Result<(LessSafeKey, Nonce), TlsError> {
        let aead = self.suite.aead();
        let key = UnboundKey::new(aead, &self.key[..aead.key_len()]).map_err(|_| TlsError::Keys)?;
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        self.sequence += 1;
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce)))
    }
}

/// HKDF-Expand-Label without a context.
fn expand(secret: &hkdf::Prk, label: &[u8], out: &mut [u8]) -> Result<(), TlsError> {
    struct Length(usize);

    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }

    const PREFIX: &[u8] = b"tls13 ";
    let length = (out.len() as u16).to_be_bytes();
    let label_len = [(PREFIX.len() + label.len()) as u8];
    let info = [&length[..], &label_len, PREFIX, label, &[0]];
    let expanded = secret.expand(&info, Length(out.len())).map_err(|_| TlsError::Keys)?;
    expanded.fill(out).map_err(|_| TlsError::Keys)
}
