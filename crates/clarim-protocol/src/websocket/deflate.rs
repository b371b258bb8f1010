//! Compressed messages (permessage-deflate, RFC 7692), without context takeover in either direction.
//!
//! Each message is compressed by itself. So one compressed frame serves all clients, and a connection
//! keeps nothing between messages: a worker has one [`Inflater`] and one [`Deflater`] for all of its own.

use std::fmt;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::builder::{FrameBuilder, Opcode};
use super::violation::Violation;

/// The end of a flush, which the standard leaves out of messages.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Shorter payloads are not compressed: they would save little compared with a packet's headers.
pub const MIN_PAYLOAD: usize = 256;

/// Compression level. On events of JSON rows, level 1 results in a third more bytes, and levels from 6 on
/// save next to nothing.
const LEVEL: u32 = 5;

/// Smallest growth of an [`Inflater`]'s output.
const GROWTH: usize = 4 << 10;

/// Largest output buffer that an [`Inflater`] keeps between messages.
const KEPT: usize = 64 << 10;

/// Returns the longest accepted compressed form of a message of `max` bytes: incompressible data gets a
/// little longer.
pub(crate) fn longest_deflated(max: usize) -> usize {
    max.saturating_add(max / 1024 + 64)
}

/// A compressor for frames.
pub struct Deflater(Compress);

impl Default for Deflater {
    fn default() -> Self {
        Self(Compress::new(Compression::new(LEVEL), false))
    }
}

impl Deflater {
    /// Returns the message in a compressed frame; `None` if the payload would not shrink or is too short.
    pub(crate) fn deflate(&mut self, opcode: Opcode, payload: &[u8]) -> Option<Bytes> {
        if opcode.is_control() || payload.len() < MIN_PAYLOAD {
            return None;
        }
        self.0.reset();
        // The buffer has the payload's size, so data that does not shrink does not fit.
        let mut builder = FrameBuilder::with_capacity(payload.len());
        let output = builder.payload();
        self.0.compress_vec(payload, output, FlushCompress::Sync).ok()?;
        if self.0.total_in() < payload.len() as u64 || output.len() == output.capacity() {
            return None;
        }
        output.truncate(output.len().checked_sub(TAIL.len())?);
        // It may stay in send queues for long.
        output.shrink_to_fit();
        Some(builder.finish_compressed(opcode))
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deflater")
    }
}

/// A decompressor for messages of clients.
pub struct Inflater {
    state: Decompress,
    output: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { state: Decompress::new(false), output: Vec::new() }
    }
}

impl Inflater {
    /// Decompresses a message of at most `max` bytes. No more than that is ever decompressed.
    pub(crate) fn inflate(&mut self, payload: &[u8], max: usize) -> Result<&[u8], Violation> {
        self.state.reset(false);
        self.output.clear();
        match self.feed(payload, max)? {
            Fed::All => {
                self.feed(&TAIL, max)?;
            }
            // The sender marked its last block as final, so the tail isn't needed. A zero byte may follow:
            // with the tail it would be an empty block (RFC 7692, section 7.2.3.4).
            Fed::End([] | [0]) => {}
            Fed::End(_) => return Err(INVALID),
        }
        Ok(&self.output)
    }

    fn feed<'a>(&mut self, mut input: &'a [u8], max: usize) -> Result<Fed<'a>, Violation> {
        loop {
            if self.output.len() == self.output.capacity() {
                let most = max.saturating_add(1) - self.output.len();
                self.output.reserve_exact(self.output.len().max(GROWTH).min(most));
            }
            let before = (self.state.total_in(), self.output.len());
            let status = self.state.decompress_vec(input, &mut self.output, FlushDecompress::Sync);
            let used = (self.state.total_in() - before.0) as usize;
            input = &input[used..];
            if self.output.len() > max {
                return Err(Violation::TooBig);
            }
            match status {
                Err(_) => return Err(INVALID),
                Ok(Status::StreamEnd) => return Ok(Fed::End(input)),
                Ok(_) if self.output.len() == self.output.capacity() => {}
                Ok(_) if input.is_empty() => return Ok(Fed::All),
                Ok(_) if used == 0 && self.output.len() == before.1 => return Err(INVALID),
                Ok(_) => {}
            }
        }
    }

    /// Gives back the memory that a large message needed. Call it when no message is in use.
    pub fn rest(&mut self) {
        if self.output.capacity() > KEPT {
            self.output = Vec::new();
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflater")
    }
}

const INVALID: Violation = Violation::Protocol("the compressed data is invalid");

/// The result of feeding input.
enum Fed<'a> {
    /// All input was used, and more could follow.
    All,
    /// The compressed data ends before this rest.
    End(&'a [u8]),
}

#[cfg(test)]
mod tests;
