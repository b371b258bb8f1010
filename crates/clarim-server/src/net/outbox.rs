//! The send queue of one connection.

use std::io::{self, IoSlice};
use std::rc::Rc;

use clarim_protocol::Frame;
use smallvec::SmallVec;

use super::Transport;

/// Bytes counted for a frame besides its own. Without it, a client that reads nothing could fill a mebibyte
/// with half a million empty pongs.
pub(crate) const OVERHEAD: usize = 64;

/// Maximum number of frames in one system call.
const MAX_SLICES: usize = 64;

/// Maximum number of system calls in a row, so that a long queue does not keep other sockets waiting.
const MAX_CALLS: usize = 16;

/// A frame shared by the send queues of one worker. A worker is one thread, so the count needs no atomics.
pub(crate) type Shared = Rc<Frame>;

/// Frames to send, in order. After [`shrink`](Self::shrink), an empty one owns no memory.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: SmallVec<[Shared; 2]>,
    /// Bytes of all frames.
    bytes: usize,
    /// Bytes of the first frame that are sent.
    sent: usize,
}

/// The result of a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything is sent.
    All,
    /// The rest waits for another turn of the worker.
    Partly,
    /// The rest waits until the socket is writable.
    Blocked,
}

impl Outbox {
    pub(crate) fn push(&mut self, frame: &Shared) {
        self.bytes += frame.bytes().len();
        self.frames.push(frame.clone());
    }

    /// The frames that are not sent completely.
    pub(crate) fn queued(&self) -> &[Shared] {
        &self.frames
    }

    /// Bytes of the first frame that are sent.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// Takes note that bytes of the first frame are sent.
    pub(crate) fn skip(&mut self, sent: usize) {
        self.advance(sent);
    }

    /// Number of frames that are not sent completely.
    pub(crate) fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Bytes that are not sent.
    pub(crate) fn unsent(&self) -> usize {
        self.bytes - self.sent
    }

    /// Memory that the unsent frames count for, in bytes. Zero once everything is sent.
    pub(crate) fn weight(&self) -> usize {
        self.unsent() + self.frames.len() * OVERHEAD
    }

    /// Memory of the frames, as if no other queue had them. A frame that is sent in part counts whole.
    pub(crate) fn memory(&self) -> usize {
        self.bytes + self.frames.len() * OVERHEAD
    }

    /// This queue's share of the memory of its frames, which other queues of the worker hold too.
    pub(crate) fn share(&self) -> usize {
        // The queue's own entry is not shared.
        let share = |frame: &Shared| {
            size_of::<Shared>() + (frame.bytes().len() + OVERHEAD) / Rc::strong_count(frame)
        };
        self.frames.iter().map(share).sum()
    }

    /// Drops all frames except one that is sent in part: without its rest, everything after it would be
    /// garbage.
    pub(crate) fn abandon(&mut self) {
        self.frames.truncate(usize::from(self.sent > 0));
        self.bytes = self.frames.iter().map(|frame| frame.bytes().len()).sum();
    }

    /// Gives back the heap memory of a long queue, if it is empty. Not done as soon as it is empty, since
    /// under load the next queue is as long.
    pub(crate) fn shrink(&mut self) {
        if self.frames.is_empty() && self.frames.spilled() {
            self.frames = SmallVec::new();
        }
    }

    /// Writes as much as the socket takes, in as few system calls as possible.
    pub(crate) fn write_to(&mut self, transport: &mut Transport) -> io::Result<Written> {
        let mut calls = 0;
        while !self.frames.is_empty() {
            if calls == MAX_CALLS {
                return Ok(Written::Partly);
            }
            calls += 1;
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
            self.bytes = 0;
            self.sent = 0;
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
        assert_eq!((outbox.unsent(), outbox.frames(), outbox.sent), (7, 2, 2));
        outbox.advance(4);
        assert_eq!((outbox.unsent(), outbox.frames(), outbox.sent), (3, 1, 0));
        outbox.advance(3);
        assert_eq!((outbox.weight(), outbox.frames()), (0, 0));
    }

    #[test]
    fn queues_share_the_memory_of_a_frame() {
        let frame = shared(&"x".repeat(10_000));
        let queues = [(); 10].map(|()| {
            let mut outbox = Outbox::default();
            outbox.push(&frame);
            outbox
        });
        let shares: usize = queues.iter().map(Outbox::share).sum();
        assert!((8_000..12_000).contains(&shares), "{shares}");
    }

    #[test]
    fn abandon_keeps_a_frame_that_is_sent_in_part() {
        let mut begun = outbox(&["abc", "def"]);
        begun.advance(1);
        begun.abandon();
        assert_eq!((begun.unsent(), begun.frames()), (4, 1));
        let mut whole = outbox(&["abc", "def"]);
        whole.abandon();
        assert_eq!((whole.weight(), whole.frames()), (0, 0));
    }
}
