//! The sockets of one worker: reads, and writes of the frames that the hub has queued.

mod backlog;
mod pongs;
pub(crate) mod saved;
mod socket;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use clarim_hub::{AppIndex, ConnectionId, Rejected, Sockets};
use clarim_protocol::websocket::Deflater;
use clarim_protocol::{Code, Frame, server};
use mio::{Registry, Token};

use super::accept::{ClientPermit, HandshakeParams};
use super::counters::Counters;
use super::observer::Closing;
use crate::net::{Shared, Transport, Written};
use backlog::Backlogs;
pub(crate) use backlog::QueueLimits;
pub(crate) use pongs::Pongs;
pub(crate) use saved::{RestoredSocket, SavedSocket};
pub(crate) use socket::Socket;
use socket::{State, Writing};

/// Time for a closing socket to send the rest and to receive the client's close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// All sockets of a worker, indexed by the ids that the hub gave the connections.
#[derive(Debug)]
pub(crate) struct SocketTable {
    sockets: Vec<Option<Socket>>,
    /// Writable sockets with queued frames, in the order in which they got the first of them.
    unsent: VecDeque<ConnectionId>,
    /// Number of sockets that have left that list so far.
    written: u64,
    /// The value of `written` up to which the worker only writes: some send queue has exceeded its limit
    /// without having been offered to the kernel.
    catching_up: u64,
    backlogs: Backlogs,
    /// Sockets whose send queues are within the limit again, for the engine to read.
    pub(crate) resumed: Vec<ConnectionId>,
    /// Sockets that began to close since the engine last took them.
    pub(crate) closing: Vec<(ConnectionId, Closing)>,
    /// Sockets that have failed or are done, for the engine to remove.
    pub(crate) gone: Vec<ConnectionId>,
    limits: QueueLimits,
    pub(crate) counters: Arc<Counters>,
    /// Bytes in the send queues that this round of sweeps has seen.
    weighed: usize,
    /// Present if compression may be negotiated.
    deflater: Option<Deflater>,
    pub(crate) now: Duration,
}

impl SocketTable {
    pub(crate) fn new(limits: QueueLimits, compression: bool, counters: Arc<Counters>) -> Self {
        Self {
            sockets: Vec::new(),
            unsent: VecDeque::new(),
            written: 0,
            catching_up: 0,
            backlogs: Backlogs::default(),
            resumed: Vec::new(),
            closing: Vec::new(),
            gone: Vec::new(),
            limits,
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
        params: &HandshakeParams,
        permit: ClientPermit,
        registry: &Registry,
        waker: impl FnOnce() -> Waker,
    ) -> io::Result<()> {
        transport.register(registry, Token(id.0 as usize), waker)?;
        self.put(id, Socket::new(transport, params.deflate, params.origin, permit));
        Ok(())
    }

    fn put(&mut self, id: ConnectionId, socket: Socket) {
        let place = id.0 as usize;
        if self.sockets.len() <= place {
            self.sockets.resize_with(place + 1, || None);
        }
        self.sockets[place] = Some(socket);
    }

    /// Closes the file descriptor, which also ends its registration.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> bool {
        self.backlogs.remove(id);
        self.sockets.get_mut(id.0 as usize).and_then(Option::take).is_some()
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        self.sockets.get_mut(id.0 as usize)?.as_mut()
    }

    pub(crate) fn is_open(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|socket| socket.state == State::Open)
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Socket> {
        self.sockets.get(id.0 as usize)?.as_ref()
    }

    /// Upper bound of the ids in use.
    pub(crate) fn places(&self) -> usize {
        self.sockets.len()
    }

    /// Whether sockets wait to be written, or to be read again.
    pub(crate) fn has_work(&self) -> bool {
        !self.unsent.is_empty() || !self.resumed.is_empty()
    }

    /// Whether sockets wait to be written.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Number of sockets written to so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Number of sockets written to once all that are queued now have had their turn.
    pub(crate) fn to_be_written(&self) -> u64 {
        self.written + self.unsent.len() as u64
    }

    /// Whether writing comes before everything else, since the send queues grow faster than they are offered
    /// to the kernel. Until they have been, publishers wait.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.written < self.catching_up
    }

    /// Pauses the reading of a client whose send queue exceeds the limit, since it asks for more than it
    /// reads. Returns whether it is paused.
    pub(crate) fn pause_if_full(&mut self, id: ConnectionId) -> bool {
        let limit = self.limits.bytes;
        let Some(socket) = self.get_mut(id) else {
            return false;
        };
        // Only `resume` ends a pause: earlier input may still wait in the engine.
        socket.is_paused |= socket.outbox.weight() > limit && socket.state == State::Open;
        socket.is_paused
    }

    /// Lets the engine read a paused client again, if its send queue is within the limit.
    fn resume(&mut self, id: ConnectionId) {
        let limit = self.limits.bytes;
        let Some(socket) = self.get_mut(id) else {
            return;
        };
        let is_full = socket.outbox.weight() > limit && socket.state == State::Open;
        if socket.is_paused && !is_full {
            socket.is_paused = false;
            self.resumed.push(id);
        }
    }

    /// Queues a socket again that the kernel reports as writable.
    pub(crate) fn writable(&mut self, id: ConnectionId) {
        let Some(socket) = self.get_mut(id) else {
            return;
        };
        if socket.writing == Writing::Blocked {
            socket.writing = Writing::Resumed;
            self.unsent.push_back(id);
        }
    }

    /// Writes to at most `budget` sockets, those that have waited longest first.
    pub(crate) fn flush(&mut self, budget: usize) {
        let mut frames = 0;
        let mut bytes = 0;
        let mut writes = 0;
        for _ in 0..budget {
            let Some(id) = self.unsent.pop_front() else {
                break;
            };
            self.written += 1;
            let Some(socket) = self.get_mut(id) else {
                continue;
            };
            let outbox = &mut socket.outbox;
            let frames_before = outbox.frames();
            let bytes_before = outbox.unsent();
            let written = outbox.write_to(&mut socket.transport);
            let sent = bytes_before - outbox.unsent();
            if written.is_ok() {
                frames += frames_before - outbox.frames();
                bytes += sent;
            }
            writes += 1;
            match written {
                Ok(Written::All) if socket.is_plainly_queued() => socket.writing = Writing::Idle,
                Ok(Written::All) => self.note_all_sent(id),
                Ok(Written::Partly) => {
                    socket.writing = Writing::Queued;
                    self.unsent.push_back(id);
                    self.backlogs.remove(id);
                    self.resume(id);
                }
                Ok(Written::Blocked) => self.note_blocked(id, sent),
                Err(_) => self.gone.push(id),
            }
        }
        if writes > 0 {
            self.counters.frames_sent.add(frames as u64);
            self.counters.bytes_sent.add(bytes as u64);
            self.counters.writes.add(writes);
        }
    }

    /// Takes note of a write after which the kernel takes no more.
    fn note_blocked(&mut self, id: ConnectionId, sent: usize) {
        let now = self.now;
        if let Some(socket) = self.get_mut(id) {
            socket.writing = Writing::Blocked;
            let unsent = socket.outbox.unsent();
            self.backlogs.blocked(id, sent, unsent, now);
            self.resume(id);
        }
    }

    /// Closes the clients that are too slow.
    pub(crate) fn close_slow(&mut self, app_of: impl Fn(ConnectionId) -> Option<AppIndex>) {
        for id in self.backlogs.slow(&self.sockets, self.limits, self.now, app_of) {
            self.close_as_slow(id);
        }
    }

    #[cold]
    fn note_all_sent(&mut self, id: ConnectionId) {
        let Some(socket) = self.get_mut(id) else {
            return;
        };
        socket.writing = Writing::Idle;
        if let State::Done { .. } = socket.state {
            self.gone.push(id);
        }
        self.backlogs.remove(id);
        self.resume(id);
    }

    /// Handles the client's close frame: answers it with the same code, unless it answers ours.
    pub(crate) fn receive_close(&mut self, id: ConnectionId, code: Option<Code>) {
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
                self.closing.push((id, Closing::ByClient(code)));
            }
            State::Closing { .. } if socket.outbox.weight() == 0 => self.gone.push(id),
            State::Closing { .. } => self.set_state(id, State::Done { until }),
            State::Done { .. } => {}
        }
    }

    /// Removes sockets in `places` that have been closing for too long, and frees unused memory of the
    /// others.
    pub(crate) fn sweep(&mut self, places: std::ops::Range<usize>) {
        let now = seconds(self.now);
        let end = places.end.min(self.sockets.len());
        for place in places.start..end {
            let Some(socket) = &mut self.sockets[place] else {
                continue;
            };
            socket.outbox.shrink();
            self.weighed += socket.outbox.weight();
            if let State::Closing { until } | State::Done { until } = socket.state
                && until <= now
            {
                self.gone.push(ConnectionId(place as u32));
            }
        }
    }

    /// Closes a random share of the open sockets: one in `share`.
    pub(crate) fn close_one_in(&mut self, share: u128, code: Code, reason: &str) {
        for place in 0..self.places() {
            let id = ConnectionId(place as u32);
            if self.is_open(id) && fastrand::u128(..share) == 0 {
                self.close(id, code, reason);
            }
        }
    }

    /// Ends a round of sweeps: updates the counter of bytes in send queues, and shrinks the tables.
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
        let Some(Some(socket)) = self.sockets.get_mut(id.0 as usize) else {
            return;
        };
        if socket.state != State::Open {
            return;
        }
        socket.outbox.push(frame);
        match socket.writing {
            Writing::Idle => {
                socket.writing = Writing::Queued;
                self.unsent.push_back(id);
            }
            Writing::Queued | Writing::Resumed => {
                if socket.outbox.weight() > self.limits.bytes {
                    self.catching_up = self.to_be_written();
                }
            }
            Writing::Blocked => {}
        }
    }

    /// The compressed form of a frame, if the connection accepts it and it is worth it.
    fn deflated_for(&mut self, id: ConnectionId, frame: &Frame) -> Option<Frame> {
        let deflater = self.deflater.as_mut()?;
        let socket = self.sockets.get(id.0 as usize)?.as_ref()?;
        if socket.deflate { frame.deflated(deflater) } else { None }
    }

    /// Sends one frame to connections of which some accept compression. It is compressed at the first of
    /// those, unless another worker has done so already.
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

    /// Closes a slow client with a code that makes it reconnect after a pause. A gap in its events would be
    /// silent corruption. Frames that are not sent yet are dropped.
    fn close_as_slow(&mut self, id: ConnectionId) {
        // One that is closing has its close frame in the queue, and only a short time left.
        if let Some(socket) = self.get_mut(id).filter(|socket| socket.state == State::Open) {
            socket.outbox.abandon();
            self.begin_close(id, Code::OVER_CAPACITY, "Reading too slowly", Closing::Slow);
        }
    }

    fn begin_close(&mut self, id: ConnectionId, code: Code, reason: &str, closing: Closing) {
        let until = self.deadline();
        let Some(socket) = self.get_mut(id) else {
            return;
        };
        if socket.state != State::Open {
            return;
        }
        socket.state = State::Closing { until };
        socket.outbox.push(&Shared::new(Frame::close(code, reason)));
        if socket.writing == Writing::Idle {
            socket.writing = Writing::Queued;
            self.unsent.push_back(id);
        }
        self.closing.push((id, closing));
        self.resume(id);
    }

    fn set_state(&mut self, id: ConnectionId, state: State) {
        if let Some(socket) = self.get_mut(id) {
            socket.state = state;
        }
    }

    fn deadline(&self) -> u32 {
        seconds(self.now + CLOSE_TIMEOUT)
    }
}

impl Sockets for SocketTable {
    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        let frame = self.deflated_for(connection, &frame).unwrap_or(frame);
        self.enqueue(connection, &Shared::new(frame));
    }

    fn ping(&mut self, connection: ConnectionId, frame_only: bool) {
        let is_session = self.get(connection).is_some_and(Socket::is_session);
        if is_session || !frame_only {
            self.send(connection, server::ping());
        }
        if !is_session {
            self.send(connection, Frame::control_ping(&[]));
        }
    }

    fn ask(&mut self, connection: ConnectionId, payload: &[u8]) {
        // Nothing else that is sent is binary.
        let ask = if self.is_session(connection) { Frame::binary } else { Frame::control_ping };
        self.send(connection, ask(payload));
    }

    fn is_session(&self, connection: ConnectionId) -> bool {
        self.get(connection).is_some_and(Socket::is_session)
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
        self.begin_close(connection, code, reason, Closing::ByServer(code));
    }

    fn rejected(&mut self, why: Rejected) {
        self.counters.rejected[why as usize].add(1);
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
