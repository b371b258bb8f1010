//! The sockets of one worker: reading, and writing what the hub has queued.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use clarim_hub::{ConnectionId, Rejected, Sockets};
use clarim_protocol::websocket::Decoder;
use clarim_protocol::websocket::Deflater;
use clarim_protocol::{Code, Frame};
use mio::{Interest, Registry, Token};

use crate::accept::Guest;
use crate::inspector::OriginId;
use crate::metrics::Counters;
use crate::outbox::{OVERHEAD, Outbox, Shared, Written};
use crate::transport::Transport;

/// How long a socket that is being closed may take to send the rest and to hear the client's farewell.
const FAREWELL: Duration = Duration::from_secs(5);

/// One connection's socket. Kept small: most of them are idle.
#[derive(Debug)]
pub(crate) struct Socket {
    transport: Transport,
    pub(crate) decoder: Decoder,
    outbox: Outbox,
    state: State,
    /// Waiting in `SocketTable::unsent`.
    queued: bool,
    /// The kernel takes no more; the socket waits until it is writable.
    blocked: bool,
    /// The client takes compressed messages, and may send such.
    pub(crate) deflate: bool,
    /// Waiting in the engine's list of those that have more to read.
    pub(crate) unread: bool,
    /// What comes in is not looked at any more: it can't be understood.
    pub(crate) deaf: bool,
    origin: OriginId,
    _guest: Guest,
}

/// Where a socket is in its life. Times are the node's, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A close frame is queued; the client has yet to answer it.
    Closing {
        until: u32,
    },
    /// Both sides have said farewell: the socket goes when everything is sent.
    Done {
        until: u32,
    },
}

/// Why a connection ended, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The outbox was full: the client reads too slowly, or not at all.
    Slow,
    /// Closed by the server, with a code.
    Closed(Code),
    /// The client has said farewell.
    Left,
}

/// All sockets of a worker, at the places that the hub gave the connections.
#[derive(Debug)]
pub(crate) struct SocketTable {
    sockets: Vec<Option<Socket>>,
    /// Sockets with something to write which aren't blocked, in the order in which they got it.
    unsent: VecDeque<ConnectionId>,
    /// How many have left that list so far.
    written: u64,
    /// Sockets that began to close since the engine last looked.
    pub(crate) closing: Vec<(ConnectionId, End)>,
    /// Sockets that have failed or are done, to be removed by the engine.
    pub(crate) gone: Vec<ConnectionId>,
    outbox_bytes: usize,
    pub(crate) counters: Arc<Counters>,
    /// In outboxes, of the places that this round of sweeps has come by.
    weighed: usize,
    /// There if connections may agree on compression.
    deflater: Option<Deflater>,
    pub(crate) now: Duration,
}

impl SocketTable {
    pub(crate) fn new(outbox_bytes: usize, compression: bool, counters: Arc<Counters>) -> Self {
        Self {
            sockets: Vec::new(),
            unsent: VecDeque::new(),
            written: 0,
            closing: Vec::new(),
            gone: Vec::new(),
            outbox_bytes,
            counters,
            weighed: 0,
            deflater: compression.then(Deflater::default),
            now: Duration::ZERO,
        }
    }

    pub(crate) fn insert(
        &mut self,
        id: ConnectionId,
        mut transport: Transport,
        (deflate, origin): (bool, OriginId),
        guest: Guest,
        registry: &Registry,
    ) -> io::Result<()> {
        let place = id.0 as usize;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(transport.stream(), Token(place), interest)?;
        if self.sockets.len() <= place {
            self.sockets.resize_with(place + 1, || None);
        }
        self.sockets[place] = Some(Socket {
            transport,
            decoder: Decoder::default(),
            outbox: Outbox::default(),
            state: State::Open,
            queued: false,
            blocked: false,
            deflate,
            unread: false,
            deaf: false,
            origin,
            _guest: guest,
        });
        Ok(())
    }

    /// Closes the file descriptor, which also ends its registration.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> bool {
        self.sockets.get_mut(id.0 as usize).and_then(Option::take).is_some()
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        self.sockets.get_mut(id.0 as usize)?.as_mut()
    }

    pub(crate) fn is_open(&self, id: ConnectionId) -> bool {
        let socket = self.sockets.get(id.0 as usize).and_then(Option::as_ref);
        socket.is_some_and(|socket| socket.state == State::Open)
    }

    /// Bytes that a socket has still to be sent, and the page that it was opened by.
    pub(crate) fn load(&self, id: ConnectionId) -> Option<(usize, OriginId)> {
        let socket = self.sockets.get(id.0 as usize)?.as_ref()?;
        Some((socket.outbox.load().1, socket.origin))
    }

    /// Places in use are all below this.
    pub(crate) fn places(&self) -> usize {
        self.sockets.len()
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// How many sockets have been written to so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// How many will have been when all that have something now have been written to.
    pub(crate) fn to_be_written(&self) -> u64 {
        self.written + self.unsent.len() as u64
    }

    /// The kernel has said that the socket takes more.
    pub(crate) fn writable(&mut self, id: ConnectionId) {
        let Some(socket) = self.get_mut(id) else {
            return;
        };
        if std::mem::take(&mut socket.blocked) && !std::mem::replace(&mut socket.queued, true) {
            self.unsent.push_back(id);
        }
    }

    /// Writes for at most `budget` sockets, those that have waited longest first.
    pub(crate) fn flush(&mut self, budget: usize) {
        let (mut frames, mut bytes, mut writes) = (0, 0, 0);
        for _ in 0..budget {
            let Some(id) = self.unsent.pop_front() else {
                break;
            };
            self.written += 1;
            let Some(socket) = self.get_mut(id) else {
                continue;
            };
            socket.queued = false;
            let before = socket.outbox.load();
            let written = socket.outbox.write_to(&mut socket.transport);
            let left = if written.is_ok() { socket.outbox.load() } else { before };
            frames += before.0 - left.0;
            bytes += before.1 - left.1;
            writes += 1;
            match written {
                Ok(Written::All) if matches!(socket.state, State::Done { .. }) => {
                    self.gone.push(id)
                }
                Ok(Written::All) => {}
                Ok(Written::Blocked) => socket.blocked = true,
                Err(_) => self.gone.push(id),
            }
        }
        if writes > 0 {
            self.counters.frames_sent.add(frames as u64);
            self.counters.bytes_sent.add(bytes as u64);
            self.counters.writes.add(writes);
        }
    }

    /// The client has sent a close frame: it is answered with its own code, unless it answers ours.
    pub(crate) fn farewell(&mut self, id: ConnectionId, code: Option<Code>) {
        let until = self.deadline();
        let Some(socket) = self.get_mut(id) else {
            return;
        };
        match socket.state {
            State::Open => {
                let answer = match code {
                    Some(code) => Frame::close(code, ""),
                    None => Frame::close_without_code(),
                };
                self.enqueue(id, &Shared::new(answer));
                self.set_state(id, State::Done { until });
                self.closing.push((id, End::Left));
            }
            State::Closing { .. } if socket.outbox.weight() == 0 => self.gone.push(id),
            State::Closing { .. } => self.set_state(id, State::Done { until }),
            State::Done { .. } => {}
        }
    }

    /// Gives up on sockets in `places` that have been closing for too long, and takes unused memory from the
    /// others.
    pub(crate) fn sweep(&mut self, places: std::ops::Range<usize>) {
        let now = seconds(self.now);
        let end = places.end.min(self.sockets.len());
        for place in places.start..end {
            let Some(socket) = &mut self.sockets[place] else {
                continue;
            };
            socket.outbox.rest();
            self.weighed += socket.outbox.weight();
            if let State::Closing { until } | State::Done { until } = socket.state
                && until <= now
            {
                self.gone.push(ConnectionId(place as u32));
            }
        }
    }

    /// After a round of sweeps: tells what all outboxes hold, and gives memory back that more sockets had
    /// needed.
    pub(crate) fn end_round(&mut self) {
        self.counters.outbox_bytes.set(std::mem::take(&mut self.weighed) as u64);
        while self.sockets.last().is_some_and(Option::is_none) {
            self.sockets.pop();
        }
        if self.sockets.len() < self.sockets.capacity() / 4 {
            self.sockets.shrink_to_fit();
        }
        if self.unsent.len() < self.unsent.capacity() / 4 {
            self.unsent.shrink_to_fit();
        }
    }

    fn enqueue(&mut self, id: ConnectionId, frame: &Shared) {
        let limit = self.outbox_bytes;
        let Some(Some(socket)) = self.sockets.get_mut(id.0 as usize) else {
            return;
        };
        if socket.state != State::Open {
            return;
        }
        // The list of a large presence channel may be longer than the limit: alone, it is let through.
        let (kept, more) = (socket.outbox.weight(), frame.bytes().len() + OVERHEAD);
        if kept > 0 && kept + more > limit {
            return self.overflow(id);
        }
        socket.outbox.push(frame);
        if !socket.blocked && !std::mem::replace(&mut socket.queued, true) {
            self.unsent.push_back(id);
        }
    }

    /// The compressed form of a frame, if the connection takes it and it is worth it.
    fn deflated_for(&mut self, id: ConnectionId, frame: &Frame) -> Option<Frame> {
        let deflater = self.deflater.as_mut()?;
        let socket = self.sockets.get(id.0 as usize)?.as_ref()?;
        if socket.deflate { frame.deflated(deflater) } else { None }
    }

    /// One frame for connections of which some take it compressed. It is compressed when the first of them
    /// is met, unless another worker has done so already.
    fn send_to_mixed(
        &mut self,
        connections: &[ConnectionId],
        except: Option<ConnectionId>,
        frame: Frame,
    ) {
        let plain = Shared::new(frame);
        let mut deflated = None;
        for &connection in connections {
            if Some(connection) == except {
                continue;
            }
            if !self.get_mut(connection).is_some_and(|socket| socket.deflate) {
                self.enqueue(connection, &plain);
                continue;
            }
            if deflated.is_none() {
                let frame = self.deflated_for(connection, &plain);
                deflated = Some(frame.map_or_else(|| plain.clone(), Shared::new));
            }
            self.enqueue(connection, deflated.as_ref().unwrap_or(&plain));
        }
    }

    /// A gap would be silent corruption: the connection is closed instead, with a code that brings the
    /// client back after a pause. What it had not been sent yet is dropped.
    #[cold]
    fn overflow(&mut self, id: ConnectionId) {
        if let Some(socket) = self.get_mut(id) {
            socket.outbox.abandon();
            self.begin_close(id, Code::OVER_CAPACITY, "Reading too slowly", End::Slow);
        }
    }

    fn begin_close(&mut self, id: ConnectionId, code: Code, reason: &str, end: End) {
        let until = self.deadline();
        let Some(socket) = self.get_mut(id) else {
            return;
        };
        if socket.state != State::Open {
            return;
        }
        socket.state = State::Closing { until };
        socket.outbox.push(&Shared::new(Frame::close(code, reason)));
        if !socket.blocked && !std::mem::replace(&mut socket.queued, true) {
            self.unsent.push_back(id);
        }
        self.closing.push((id, end));
    }

    fn set_state(&mut self, id: ConnectionId, state: State) {
        if let Some(socket) = self.get_mut(id) {
            socket.state = state;
        }
    }

    fn deadline(&self) -> u32 {
        seconds(self.now + FAREWELL)
    }
}

impl Socket {
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.transport.read(buffer)
    }

    pub(crate) fn short_read_is_empty(&self) -> bool {
        self.transport.short_read_is_empty()
    }
}

impl Sockets for SocketTable {
    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        let frame = self.deflated_for(connection, &frame).unwrap_or(frame);
        self.enqueue(connection, &Shared::new(frame));
    }

    fn send_to_all(
        &mut self,
        connections: &[ConnectionId],
        except: Option<ConnectionId>,
        frame: Frame,
    ) {
        if frame.is_compressible() {
            return self.send_to_mixed(connections, except, frame);
        }
        let frame = Shared::new(frame);
        for &connection in connections {
            if Some(connection) != except {
                self.enqueue(connection, &frame);
            }
        }
    }

    fn close(&mut self, connection: ConnectionId, code: Code, reason: &str) {
        self.begin_close(connection, code, reason, End::Closed(code));
    }

    fn rejected(&mut self, why: Rejected) {
        self.counters.rejected[why as usize].add(1);
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compression_needs_fits_in_what_a_socket_had() {
        let without = size_of::<(Transport, Decoder, Outbox, State, [bool; 2], Guest)>();
        assert_eq!(size_of::<Option<Socket>>(), without);
    }
}
