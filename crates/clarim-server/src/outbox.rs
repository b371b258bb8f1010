//! What a connection has still to be sent.

use std::io::{self, IoSlice};
use std::rc::Rc;

use clarim_protocol::Frame;
use smallvec::SmallVec;

use crate::transport::Transport;

/// What a frame costs beside its bytes, at least. Without it, a client that reads nothing could make
/// half a million empty pongs of a mebibyte.
pub(crate) const OVERHEAD: usize = 64;

/// Frames that leave in one system call at most.
const MAX_SLICES: usize = 64;

/// A frame shared by the outboxes of one worker, which is one thread: the count needs no atomics.
pub(crate) type Shared = Rc<Frame>;

/// Frames in order. At [rest](Self::rest) it owns no memory.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: SmallVec<[Shared; 2]>,
    /// Bytes of all frames.
    bytes: usize,
    /// How much of the first frame has left.
    sent: usize,
}

/// How far a write came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything has left.
    All,
    /// The rest must wait until the socket is writable.
    Blocked,
}

impl Outbox {
    pub(crate) fn push(&mut self, frame: &Shared) {
        self.bytes += frame.bytes().len();
        self.frames.push(frame.clone());
    }

    /// Frames, and bytes of them, that have not left.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.frames.len(), self.bytes - self.sent)
    }

    /// What it holds back, in bytes. Nothing: everything has left.
    pub(crate) fn weight(&self) -> usize {
        self.bytes - self.sent + self.frames.len() * OVERHEAD
    }

    /// Drops all but a frame which has left in part: its rest must follow, or what comes after is garbage.
    pub(crate) fn abandon(&mut self) {
        self.frames.truncate(usize::from(self.sent > 0));
        self.bytes = self.frames.iter().map(|frame| frame.bytes().len()).sum();
    }

    /// While empty: gives back what a long queue has put on the heap. Not done as soon as it is empty, for
    /// under load the next queue is as long.
    pub(crate) fn rest(&mut self) {
        if self.frames.is_empty() && self.frames.spilled() {
            self.frames = SmallVec::new();
        }
    }

    /// Writes as much as the socket takes, all that has piled up in as few calls as can be.
    pub(crate) fn write_to(&mut self, transport: &mut Transport) -> io::Result<Written> {
        while !self.frames.is_empty() {
            match self.write_once(transport) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.advance(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match transport.flush() {
            Ok(()) => Ok(Written::All),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Written::Blocked),
            Err(error) => Err(error),
        }
    }

    fn write_once(&self, transport: &mut Transport) -> io::Result<usize> {
        if let [only] = &self.frames[..] {
            return transport.write(&[IoSlice::new(&only.bytes()[self.sent..])]);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = self.frames.len().min(MAX_SLICES);
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame.bytes());
        }
        slices[0] = IoSlice::new(&self.frames[0].bytes()[self.sent..]);
        transport.write(&slices[..count])
    }

    fn advance(&mut self, written: usize) {
        self.sent += written;
        if self.sent == self.bytes {
            self.frames.clear();
            (self.bytes, self.sent) = (0, 0);
            return;
        }
        let mut whole = 0;
        while let Some(frame) = self.frames.get(whole)
            && frame.bytes().len() <= self.sent
        {
            self.sent -= frame.bytes().len();
            self.bytes -= frame.bytes().len();
            whole += 1;
        }
        self.frames.drain(..whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(text: &str) -> Shared {
        Rc::new(Frame::text(text.as_bytes()))
    }

    fn outbox(texts: &[&str]) -> Outbox {
        let mut outbox = Outbox::default();
        texts.iter().for_each(|text| outbox.push(&shared(text)));
        outbox
    }

    #[test]
    fn bytes_are_counted_down_across_frames() {
        let mut outbox = outbox(&["abc", "defg", "h"]);
        assert_eq!(outbox.weight(), 5 + 6 + 3 + 3 * OVERHEAD);
        outbox.advance(7);
        assert_eq!((outbox.bytes - outbox.sent, outbox.frames.len(), outbox.sent), (7, 2, 2));
        outbox.advance(4);
        assert_eq!((outbox.bytes - outbox.sent, outbox.frames.len(), outbox.sent), (3, 1, 0));
        outbox.advance(3);
        assert_eq!((outbox.weight(), outbox.frames.len()), (0, 0));
    }

    #[test]
    fn abandoning_keeps_a_frame_that_has_left_in_part() {
        let mut begun = outbox(&["abc", "def"]);
        begun.advance(1);
        begun.abandon();
        assert_eq!((begun.bytes - begun.sent, begun.frames.len()), (4, 1));
        let mut whole = outbox(&["abc", "def"]);
        whole.abandon();
        assert_eq!((whole.weight(), whole.frames.len()), (0, 0));
    }
}
