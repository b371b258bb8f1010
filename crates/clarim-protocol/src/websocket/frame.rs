//! Frames of the server.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::builder::{FrameBuilder, Opcode};
use super::deflate::{Deflater, MIN_PAYLOAD};
use crate::code::Code;

/// A finished frame of the server. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Bytes,
    /// Room for the compressed form, which all clones share. It is filled in when it is first needed, with
    /// `None` if the compressed form is not smaller.
    deflated: Option<Arc<OnceLock<Option<Bytes>>>>,
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Frame {}

impl Frame {
    /// Returns the frame with these [`bytes`](Self::bytes).
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { bytes, deflated: None }
    }

    /// Returns the bytes for the socket: header and payload.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the frame with room for its compressed form, if it is worth compressing. Clones of the
    /// result are compressed at most once altogether.
    #[must_use]
    pub fn compressible(&self) -> Self {
        let place = (self.payload().len() >= MIN_PAYLOAD).then(Arc::default);
        Self { bytes: self.bytes.clone(), deflated: self.deflated.clone().or(place) }
    }

    /// Whether the frame has room for its compressed form.
    #[must_use]
    pub fn is_compressible(&self) -> bool {
        self.deflated.is_some()
    }

    /// Returns the compressed form, for a connection that negotiated compression; `None` if the frame is
    /// to be sent as it is.
    #[must_use]
    pub fn deflated(&self, deflater: &mut Deflater) -> Option<Self> {
        match &self.deflated {
            Some(place) => {
                let deflated = place.get_or_init(|| self.deflate(deflater));
                deflated.clone().map(Self::from_bytes)
            }
            None => self.deflate(deflater).map(Self::from_bytes),
        }
    }

    fn deflate(&self, deflater: &mut Deflater) -> Option<Bytes> {
        let opcode = self.bytes.first().and_then(|first| Opcode::parse(first & 0x0f))?;
        let deflated = deflater.deflate(opcode, self.payload())?;
        (deflated.len() < self.bytes.len()).then_some(deflated)
    }

    /// Returns the payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let header = match self.bytes.get(1) {
            Some(126) => 4,
            Some(127) => 10,
            _ => 2,
        };
        self.bytes.get(header..).unwrap_or_default()
    }

    /// Makes a text message.
    #[must_use]
    pub fn text(payload: &[u8]) -> Self {
        let mut builder = FrameBuilder::with_capacity(payload.len());
        builder.payload().extend_from_slice(payload);
        Self::from_bytes(builder.finish(Opcode::Text))
    }

    /// Makes a binary message.
    #[must_use]
    pub fn binary(payload: &[u8]) -> Self {
        let mut builder = FrameBuilder::with_capacity(payload.len());
        builder.payload().extend_from_slice(payload);
        Self::from_bytes(builder.finish(Opcode::Binary))
    }

    /// Makes a ping control frame. The pong that replies to it has the same payload, of 125 bytes at most.
    #[must_use]
    pub fn control_ping(payload: &[u8]) -> Self {
        let mut builder = FrameBuilder::with_capacity(payload.len());
        builder.payload().extend_from_slice(payload);
        Self::from_bytes(builder.finish(Opcode::Ping))
    }

    /// Makes the reply to a ping control frame. `payload` is that of the ping, which has 125 bytes at most.
    #[must_use]
    pub fn control_pong(payload: &[u8]) -> Self {
        let mut builder = FrameBuilder::with_capacity(payload.len());
        builder.payload().extend_from_slice(payload);
        Self::from_bytes(builder.finish(Opcode::Pong))
    }

    /// Makes a close frame. The reason is cut at a character boundary to the 123 bytes that the standard
    /// allows.
    #[must_use]
    pub fn close(code: Code, reason: &str) -> Self {
        let mut builder = FrameBuilder::with_capacity(125);
        builder.payload().extend_from_slice(&code.get().to_be_bytes());
        let room = reason.floor_char_boundary(123);
        builder.payload().extend_from_slice(&reason.as_bytes()[..room]);
        Self::from_bytes(builder.finish(Opcode::Close))
    }

    /// Makes a close frame without a code, which replies to one without a code.
    #[must_use]
    pub fn close_without_code() -> Self {
        Self::from_bytes(FrameBuilder::with_capacity(0).finish(Opcode::Close))
    }

    pub(crate) fn json(capacity: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut builder = FrameBuilder::with_capacity(capacity);
        write(builder.payload());
        Self::from_bytes(builder.finish(Opcode::Text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let frame = Frame::close(Code::GENERIC, &"é".repeat(100));
        assert_eq!(frame.payload().len(), 2 + 122);
        assert!(std::str::from_utf8(&frame.payload()[2..]).is_ok());
    }

    proptest! {
        #[test]
        fn the_payload_is_found_behind_every_header(length in prop_oneof![0usize..300, 65_500usize..65_600]) {
            let payload = vec![b'x'; length];
            let frame = Frame::text(&payload);
            prop_assert_eq!(frame.payload(), &payload[..]);
        }
    }
}
