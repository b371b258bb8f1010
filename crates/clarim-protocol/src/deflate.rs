//! Compressed messages (permessage-deflate, RFC 7692), without context takeover in either direction.
//!
//! Each message is compressed by itself. So one compressed frame serves all who take it, and a connection
//! keeps nothing between messages: a worker has one [`Inflater`] and one [`Deflater`] for all of its own.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::Frame;
use crate::frame::{FrameBuilder, Violation};

/// What a flush ends with; the standard leaves it out of a message.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Shorter payloads are sent as they are: what they would shrink by is little beside the headers of a packet.
pub const MIN_PAYLOAD: usize = 256;

/// On events of JSON rows, level 1 makes a third more bytes, and 6 and more save next to none.
const LEVEL: u32 = 5;

/// Least that the output of an [`Inflater`] grows by.
const GROWTH: usize = 4 << 10;

/// An [`Inflater`] at rest keeps no more than this for its output.
const KEPT: usize = 64 << 10;

/// Longest compressed form of a message of `max` bytes that is taken: data that cannot be compressed gets a
/// little longer.
pub(crate) fn longest_deflated(max: usize) -> usize {
    max.saturating_add(max / 1024 + 64)
}

/// Compresses frames.
pub struct Deflater(Compress);

impl Default for Deflater {
    fn default() -> Self {
        Self(Compress::new(Compression::new(LEVEL), false))
    }
}

impl Deflater {
    /// The same message in a compressed frame; `None` if that would be no smaller, or is not worth trying.
    #[must_use]
    pub fn deflate(&mut self, frame: &Frame) -> Option<Frame> {
        let payload = frame.payload();
        let opcode = frame.opcode().filter(|opcode| !opcode.is_control())?;
        if payload.len() < MIN_PAYLOAD {
            return None;
        }
        self.0.reset();
        // With no more room than the payload has, what does not get smaller does not fit.
        let mut builder = FrameBuilder::with_capacity(payload.len());
        let output = builder.payload();
        self.0.compress_vec(payload, output, FlushCompress::Sync).ok()?;
        if self.0.total_in() < payload.len() as u64 || output.len() == output.capacity() {
            return None;
        }
        output.truncate(output.len().checked_sub(TAIL.len())?);
        // It may wait in outboxes for long.
        output.shrink_to_fit();
        let deflated = builder.finish_compressed(opcode);
        (deflated.len() < frame.bytes().len()).then(|| Frame::from_bytes(deflated))
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deflater")
    }
}

/// Gives compressed messages of clients back as they were.
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
    /// The message in `payload`, which is at most `max` bytes: no more than that is ever inflated.
    pub(crate) fn inflate(&mut self, payload: &[u8], max: usize) -> Result<&[u8], Violation> {
        self.state.reset(false);
        self.output.clear();
        match self.feed(payload, max)? {
            Fed::All => {
                self.feed(&TAIL, max)?;
            }
            // The sender's last block said that it is the last, and one byte makes of the tail, which isn't
            // needed here, an empty block (RFC 7692, section 7.2.3.4).
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

    /// Gives back what a large message has needed. To be called when no message is looked at any more.
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

/// How far the input went.
enum Fed<'a> {
    /// All of it was used, and more could follow.
    All,
    /// The data has said that it ends before this rest.
    End(&'a [u8]),
}

#[cfg(test)]
mod tests;
