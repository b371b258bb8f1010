//! Opcodes, and the building of a server's frames.

use bytes::Bytes;

/// The opcode of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0,
    /// A text message.
    Text = 1,
    /// A binary message.
    Binary = 2,
    /// A close frame.
    Close = 8,
    /// A ping.
    Ping = 9,
    /// A pong.
    Pong = 10,
}

impl Opcode {
    pub(crate) fn parse(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The bit of a frame's first byte that marks a compressed message (RSV1).
pub(super) const COMPRESSED: u8 = 0x40;

/// Longest header of a server's frame, which has no mask.
const MAX_HEADER: usize = 10;

/// Builds a server's frame in one buffer: the payload is written after room for the longest header, and the
/// header is then put right in front of it.
#[derive(Debug)]
pub struct FrameBuilder(Vec<u8>);

impl FrameBuilder {
    /// Makes a builder with room for a payload of `payload` bytes.
    #[must_use]
    pub fn with_capacity(payload: usize) -> Self {
        let mut buffer = Vec::with_capacity(MAX_HEADER + payload);
        buffer.resize(MAX_HEADER, 0);
        Self(buffer)
    }

    /// Returns the buffer to which the payload is appended.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Returns the finished frame, which is a whole message.
    #[must_use]
    pub fn finish(self, opcode: Opcode) -> Bytes {
        self.seal(0x80 | opcode as u8)
    }

    /// As [`finish`](Self::finish), for a compressed payload.
    pub(crate) fn finish_compressed(self, opcode: Opcode) -> Bytes {
        self.seal(0x80 | COMPRESSED | opcode as u8)
    }

    fn seal(self, first: u8) -> Bytes {
        let mut buffer = self.0;
        let length = buffer.len() - MAX_HEADER;
        let start = match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..=125), _) => {
                buffer[8..10].copy_from_slice(&[first, short]);
                8
            }
            (_, Ok(medium)) => {
                buffer[6..8].copy_from_slice(&[first, 126]);
                buffer[8..10].copy_from_slice(&medium.to_be_bytes());
                6
            }
            _ => {
                buffer[..2].copy_from_slice(&[first, 127]);
                buffer[2..10].copy_from_slice(&(length as u64).to_be_bytes());
                0
            }
        };
        Bytes::from(buffer).slice(start..)
    }
}
