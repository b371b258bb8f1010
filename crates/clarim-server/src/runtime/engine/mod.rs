//! The engine of a worker: owns its sockets, reads client messages and writes the hub's frames.
//!
//! One turn moves the inbox into send queues, reads the readable sockets, and then writes: each socket that
//! got something with one system call, however much is queued. Turns are short, so that the HTTP connections
//! of the same thread get theirs in between. Events published there join the send queues that are not
//! written yet.

pub(crate) mod handover;
mod protocol;

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::{ConnectionId, End, Sockets, Worker};
use clarim_protocol::Code;
use clarim_protocol::websocket::{Decoder, Inflater, Message};
use mio::{Events, Poll};

use super::accept::Adopted;
use super::counters::Counters;
use super::inbox::Inbox;
use super::inbox_reader::InboxReader;
use super::observer::{Closing, Ended, Observer};
use super::query::WorkerQuery;
use super::settings::EngineSettings;
use super::sink::Sink;
use super::sockets::{Pongs, SocketTable};
use crate::sync::Drain;
pub(crate) use protocol::{Protocol, Pusher};

/// Maximum number of reads of one connection in one turn.
const READS_PER_TURN: usize = 8;

/// Size of the read buffer, which all connections of a worker share.
const READ_BUFFER: usize = 64 << 10;

/// Maximum number of sockets written in one turn, which takes about a millisecond.
const FLUSH_BUDGET: usize = 256;

/// Time between two sweeps. A sweep covers a tenth of the connections, so each is swept once a second.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
const SWEEPS_PER_ROUND: usize = 10;

/// The engine of one worker.
#[derive(Debug)]
pub(crate) struct Engine<P> {
    hub: Worker<Sink>,
    sockets: SocketTable,
    inbox: InboxReader,
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    /// For all connections; present if compression may be negotiated.
    inflater: Option<Inflater>,
    /// Connections that had more to read than one turn takes.
    unread: Vec<ConnectionId>,
    /// Input that was read with a message after which the connection, or the whole worker, has to write
    /// first.
    unhandled: HashMap<ConnectionId, Vec<u8>>,
    /// There were more readiness events than one turn takes.
    unpolled: bool,
    started: Instant,
    next_sweep: Duration,
    sweep: usize,
    connections: usize,
    counters: Arc<Counters>,
    /// When the last connections are closed, and with which code, if the engine drains.
    drain: Option<(Duration, Code)>,
    /// Nothing is read, since the connections are about to be handed over.
    is_stopped: bool,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Engine<P> {
    pub(crate) fn new(
        hub: Worker<Sink>,
        inbox: Arc<Inbox>,
        settings: EngineSettings,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let EngineSettings { started, queue, compression } = settings;
        Ok(Self {
            hub,
            sockets: SocketTable::new(queue, compression, counters.clone()),
            inbox: InboxReader::new(inbox),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; READ_BUFFER].into(),
            inflater: compression.then(Inflater::default),
            unread: Vec::new(),
            unhandled: HashMap::new(),
            unpolled: false,
            started,
            next_sweep: Duration::ZERO,
            sweep: 0,
            connections: 0,
            counters,
            drain: None,
            is_stopped: false,
            protocol: PhantomData,
        })
    }

    /// The descriptor that becomes readable when a socket of this engine needs a turn.
    pub(crate) fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Takes over a connection that its app has admitted.
    pub(crate) fn adopt(&mut self, adopted: Adopted<'_>) {
        self.update_time();
        let Adopted { params, mut transport, answer, early, permit } = adopted;
        let nonce = fastrand::u64(1..10_u64.pow(13));
        let (id, greeting) =
            self.hub.open(params.app, params.page.as_ref(), nonce, self.sockets.now);
        // Data may be waiting inside the TLS session, of which the kernel knows nothing.
        let read_now = !transport.short_read_is_empty();
        let greeting = if P::HAS_GREETING { &greeting.bytes()[..] } else { &[] };
        let greeted = transport.write_whole(&[IoSlice::new(answer), IoSlice::new(greeting)]);
        let registry = self.poll.registry();
        let waker = || self.inbox.waker_of(id);
        if let Err(error) = greeted
            .and_then(|()| self.sockets.insert(id, transport, &params, permit, registry, waker))
        {
            tracing::debug!(%error, "connection lost right after its handshake");
            return self.hub.close(id, self.sockets.now);
        }
        self.connections += 1;
        self.counters.opened.add(1);
        if let Some((app, socket_id)) = self.hub.describe(id) {
            self.observe(|observer| observer.connected(app, socket_id));
        }
        let is_taken = early.is_empty() || self.take(id, &mut early.to_vec());
        if read_now || !is_taken {
            self.read_again(id);
        }
    }

    fn observe(&self, notify: impl Fn(&dyn Observer)) {
        self.hub.node().sink().observers.notify(notify);
    }

    /// Does the work that is due, within limits. Returns whether there is more.
    pub(crate) fn turn(&mut self) -> io::Result<bool> {
        self.update_time();
        if !self.sockets.is_catching_up() {
            self.inbox.process(&mut self.hub, &mut self.sockets);
        }
        if !self.is_behind() && !self.is_stopped {
            self.read_sockets()?;
        }
        if !self.is_stopped {
            self.hub.ask_pages(self.sockets.now, &mut self.sockets);
        }
        if self.sockets.now >= self.next_sweep && !self.is_stopped {
            self.next_sweep = self.sockets.now + SWEEP_INTERVAL;
            self.sweep();
        }
        self.remove_closed();
        self.sockets.flush(FLUSH_BUDGET);
        self.inbox.record_latency(&self.sockets);
        self.remove_closed();
        if self.is_stopped {
            return Ok(self.sockets.has_unsent() || self.is_behind());
        }
        Ok(self.sockets.has_work() || !self.unread.is_empty() || self.unpolled || self.is_behind())
    }

    /// Whether the worker writes before it takes more of any client: the input of one may be a message to
    /// many.
    fn is_behind(&self) -> bool {
        self.sockets.is_catching_up() || self.inbox.has_rest()
    }

    /// Answers a question about the connections.
    pub(crate) fn answer(&mut self, query: WorkerQuery) {
        self.update_time();
        query.answer(&self.hub, &mut self.sockets);
        self.remove_closed();
    }

    /// Begins to close all connections, spread over the time of the drain.
    pub(crate) fn drain(&mut self, Drain { time, code, .. }: Drain) {
        self.update_time();
        self.drain = Some((self.sockets.now + time, code));
    }

    /// Whether all connections are gone after [`drain`](Self::drain).
    pub(crate) fn is_drained(&self) -> bool {
        self.drain.is_some() && self.connections == 0
    }

    fn update_time(&mut self) {
        self.sockets.now = self.started.elapsed();
    }

    fn read_sockets(&mut self) -> io::Result<()> {
        for id in std::mem::take(&mut self.sockets.resumed) {
            self.read_again(id);
        }
        for id in self.inbox.take_ready() {
            self.sockets.writable(id);
            self.read_again(id);
        }
        for id in std::mem::take(&mut self.unread) {
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.unread = false;
            }
            self.read(id, true);
        }
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let result = self.poll_events(&mut events);
        self.events = events;
        result
    }

    fn poll_events(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => result?,
        }
        let mut count = 0;
        for event in &*events {
            count += 1;
            let id = ConnectionId(event.token().0 as u32);
            if event.is_writable() {
                self.sockets.writable(id);
            }
            let ended = event.is_read_closed() || event.is_error();
            // A socket with unread input had its turn above.
            let is_due = self.sockets.get_mut(id).is_some_and(|socket| !socket.unread);
            if is_due && (event.is_readable() || ended) {
                self.read(id, ended);
            }
        }
        self.unpolled = count == events.capacity();
        Ok(())
    }

    /// Reads once, or until `WouldBlock` if a short read does not mean that there is no more.
    fn read(&mut self, id: ConnectionId, to_the_end: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if self.read_into(id, &mut buffer, to_the_end) {
            self.read_again(id);
        }
        self.buffer = buffer;
    }

    /// Schedules a read in the next turn.
    fn read_again(&mut self, id: ConnectionId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && !std::mem::replace(&mut socket.unread, true)
        {
            self.unread.push(id);
        }
    }

    /// Reads, and returns whether there may be more to read.
    fn read_into(&mut self, id: ConnectionId, buffer: &mut [u8], to_the_end: bool) -> bool {
        for _ in 0..READS_PER_TURN {
            if self.sockets.pause_if_full(id) {
                return false;
            }
            if self.is_behind() {
                return true;
            }
            if !self.unhandled.is_empty()
                && let Some(mut input) = self.unhandled.remove(&id)
            {
                self.take(id, &mut input);
                continue;
            }
            let Some(socket) = self.sockets.get_mut(id) else {
                return false;
            };
            match socket.read(buffer) {
                Ok(0) => {
                    self.sockets.gone.push(id);
                    return false;
                }
                Ok(n) => {
                    self.counters.bytes_received.add(n as u64);
                    let empty = n < buffer.len() && socket.short_read_is_empty() && !to_the_end;
                    if !self.take(id, &mut buffer[..n]) {
                        continue;
                    }
                    if empty {
                        return false;
                    }
                    if n == buffer.len() {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.sockets.gone.push(id);
                    return false;
                }
            }
        }
        // Other connections get their turn first.
        true
    }

    /// Decodes and handles bytes of a client. Returns `false` if some are left in `unhandled`.
    fn take(&mut self, id: ConnectionId, mut input: &mut [u8]) -> bool {
        let Some((app, _)) = self.hub.describe(id) else {
            return true;
        };
        let max = app.limits.message_bytes;
        let Some(socket) = self.sockets.get_mut(id).filter(|socket| !socket.ignores_input) else {
            return true;
        };
        let mut pongs = Pongs::default();
        // Taken out while the messages that borrow from them are handled.
        let mut decoder = std::mem::take(&mut socket.decoder);
        let mut inflater = if socket.deflate { self.inflater.take() } else { None };
        let is_taken = loop {
            if !input.is_empty() && (self.is_behind() || self.sockets.pause_if_full(id)) {
                self.unhandled.insert(id, input.to_vec());
                break false;
            }
            match decoder.next(&mut input, max, inflater.as_mut()) {
                Ok(Some(message)) => self.take_message(id, &message, &mut pongs),
                Ok(None) => break true,
                Err(violation) => {
                    let reason = violation.to_string();
                    self.sockets.close(id, violation.code(), &reason);
                    decoder = Decoder::default();
                    // The start of the next frame is unknown.
                    if let Some(socket) = self.sockets.get_mut(id) {
                        socket.ignores_input = true;
                    }
                    break true;
                }
            }
        };
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.decoder = decoder;
        }
        pongs.finish(id, &mut self.sockets);
        if let Some(mut inflater) = inflater {
            inflater.rest();
            self.inflater = Some(inflater);
        }
        is_taken
    }

    fn take_message(&mut self, id: ConnectionId, message: &Message<'_>, pongs: &mut Pongs) {
        if let Message::Close(code) = message {
            if !self.sockets.is_open(id) {
                self.hub.close_reply(id);
            }
            return self.sockets.receive_close(id, *code);
        }
        // Messages behind the close frame of either side are ignored.
        if !self.sockets.is_open(id) {
            return;
        }
        let now = self.sockets.now;
        match message {
            Message::Text(_) | Message::Binary(_) => P::receive(self, id, message),
            Message::Ping(payload) => {
                if self.hub.ping_frame(id, now, &mut self.sockets) {
                    pongs.reply(id, payload, &mut self.sockets);
                }
            }
            Message::Pong(payload) => self.hub.pong_frame(id, payload, now),
            Message::Close(_) => {}
        }
    }

    fn receive_text(&mut self, id: ConnectionId, text: &str) {
        self.counters.messages_received.add(1);
        let socket_id = self.hub.describe(id).map(|(app, socket_id)| {
            self.observe(|observer| observer.received(app, socket_id, text));
            socket_id
        });
        let now = self.sockets.now;
        let has_room = self.hub.node().sink().has_room();
        self.hub.receive(id, text, now, has_room, &mut self.sockets);
        if let Some(socket_id) = socket_id {
            self.observe(|observer| observer.handled(socket_id));
        }
        // A subscription takes effect by a message in this worker's own inbox.
        self.inbox.process_all(&mut self.hub, &mut self.sockets);
    }

    /// Sends a frame to a client.
    #[cfg(feature = "autobahn")]
    pub(crate) fn send(&mut self, id: ConnectionId, frame: clarim_protocol::Frame) {
        self.sockets.send(id, frame);
    }

    fn sweep(&mut self) {
        let size = self.sockets.places().div_ceil(SWEEPS_PER_ROUND);
        let places = self.sweep * size..(self.sweep + 1) * size;
        self.hub.sweep(places.clone(), self.sockets.now, &mut self.sockets);
        self.sockets.sweep(places);
        self.sweep = (self.sweep + 1) % SWEEPS_PER_ROUND;
        if self.sweep == 0 {
            self.sockets.close_slow(|id| self.hub.app_of(id));
            self.sockets.end_round();
            self.hub.shrink();
        }
        self.close_some();
    }

    /// While draining: closes a random share of the connections, so that their clients' return is spread over
    /// the whole time.
    fn close_some(&mut self) {
        let Some((until, code)) = self.drain else { return };
        let left = until.saturating_sub(self.sockets.now);
        let sweeps = left.as_millis() / SWEEP_INTERVAL.as_millis() + 1;
        self.sockets.close_one_in(sweeps, code, "The server is shutting down");
    }

    /// Removes connections that are closing from their channels, and forgets those that are gone. The former
    /// come first each time: a free id may be given to another connection.
    fn remove_closed(&mut self) {
        loop {
            if let Some((id, closing)) = self.sockets.closing.pop() {
                self.leave_channels(id, closing);
            } else if let Some(id) = self.sockets.gone.pop() {
                self.forget(id);
            } else {
                return;
            }
        }
    }

    fn leave_channels(&mut self, id: ConnectionId, closing: Closing) {
        self.counters.count_end(closing.into());
        if let Some((app, socket_id)) = self.hub.describe(id) {
            if closing == Closing::Slow {
                let app = app.id.as_str();
                tracing::warn!(app, %socket_id, "closing slow client: its messages waited too long (OUTBOX_SIZE, OUTBOX_TIMEOUT)");
            }
            self.observe(|observer| observer.closing(app, socket_id, closing));
        }
        self.hub.leave_all(id, closing.into(), self.sockets.now);
        self.report_end(id, closing.into());
    }

    /// Reports the end of a connection that has left its channels.
    fn report_end(&self, id: ConnectionId, cause: Ended) {
        if let Some((app, socket_id)) = self.hub.describe(id) {
            self.observe(|observer| observer.disconnected(app, socket_id, cause));
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        let is_lost = self.sockets.is_open(id);
        if !self.sockets.remove(id) {
            return;
        }
        self.unhandled.remove(&id);
        if is_lost {
            self.counters.count_end(Ended::Lost);
            self.hub.leave_all(id, End::Lost, self.sockets.now);
            self.report_end(id, Ended::Lost);
        }
        if let Some((app, socket_id)) = self.hub.describe(id) {
            self.observe(|observer| observer.closed(app, socket_id));
        }
        self.connections -= 1;
        self.hub.close(id, self.sockets.now);
    }
}
