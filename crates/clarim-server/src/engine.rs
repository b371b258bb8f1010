//! A worker's loop: it owns its sockets, reads what clients say, and writes what the hub answers.
//!
//! One turn drains the inbox into outboxes, reads the sockets that have something, and then writes: each
//! socket that got something with one system call, however much has piled up. Turns are short, so that
//! the HTTP connections of the same thread get theirs between them; what they publish meanwhile joins the
//! outboxes that have not been written yet.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::{ConnectionId, Node, Sockets, Worker, WorkerId, WorkerMessage};
use clarim_protocol::deflate::Inflater;
use clarim_protocol::frame::{Decoder, Message};
use clarim_protocol::{Code, Frame, SocketId};
use mio::{Events, Poll};

use crate::accept::Guest;
use crate::config::ServerConfig;
use crate::events::Ended;
use crate::http::Agreed;
use crate::inbox::{Inbox, Inboxes};
use crate::inspector::{Ask, PAGE, Page, Row, Which};
use crate::lag::Lag;
use crate::metrics::Counters;
use crate::sockets::{End, SocketTable};
use crate::traffic;
use crate::transport::Transport;

/// One read takes at most this much. All connections of a worker share the buffer.
const READ_BUFFER: usize = 64 << 10;

/// Reads of one connection in one turn, however fast it sends.
const READS_PER_TURN: usize = 8;

/// Sockets written in one turn, before HTTP connections get theirs: about a millisecond.
const FLUSH_BUDGET: usize = 256;

/// Time between two sweeps. Each looks at a tenth of the connections, so each comes up once a second.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
const SWEEPS_PER_ROUND: usize = 10;

/// One worker.
#[derive(Debug)]
pub(crate) struct Engine {
    hub: Worker<Inboxes>,
    sockets: SocketTable,
    inbox: Arc<Inbox>,
    /// Entries being processed; kept for its memory.
    entries: Vec<WorkerMessage>,
    lag: Lag,
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    /// For all connections; there if they may agree on compression.
    inflater: Option<Inflater>,
    /// Connections that had more to read than one turn takes.
    unread: Vec<ConnectionId>,
    /// There were more events than one turn takes.
    unpolled: bool,
    started: Instant,
    next_sweep: Duration,
    sweep: usize,
    connections: usize,
    counters: Arc<Counters>,
    /// When the last connections are sent away, once the end has begun.
    drain: Option<Duration>,
}

/// A connection that becomes the engine's.
#[derive(Debug)]
pub(crate) struct Adopted<'a> {
    pub(crate) agreed: Agreed,
    pub(crate) transport: Transport,
    /// The answer to its handshake, which is still to be sent.
    pub(crate) answer: &'a [u8],
    /// What the client sent right behind its handshake.
    pub(crate) early: &'a [u8],
}

impl Engine {
    /// `started` is the node's zero of time, the same for all its workers.
    pub(crate) fn new(
        id: WorkerId,
        node: &Arc<Node<Inboxes>>,
        started: Instant,
        settings: &ServerConfig,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let compression = settings.compression;
        Ok(Self {
            hub: Worker::new(id, node.clone()),
            sockets: SocketTable::new(settings.outbox_bytes, compression, counters.clone()),
            inbox: node.post().of(id),
            entries: Vec::new(),
            lag: Lag::default(),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; READ_BUFFER].into(),
            inflater: compression.then(Inflater::default),
            unread: Vec::new(),
            unpolled: false,
            started,
            next_sweep: Duration::ZERO,
            sweep: 0,
            connections: 0,
            counters,
            drain: None,
        })
    }

    /// What becomes readable when a socket of this engine needs a turn.
    pub(crate) fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Takes over a connection that its app has admitted.
    pub(crate) fn adopt(&mut self, adopted: Adopted<'_>, guest: Guest) {
        self.tell_time();
        let Adopted { agreed, mut transport, answer, early } = adopted;
        let Agreed { app, deflate, origin } = agreed;
        let nonce = fastrand::u64(1..10_u64.pow(13));
        let (id, greeting) = self.hub.open(app, nonce, self.sockets.now);
        // The echo server for Autobahn's test suite speaks plain WebSocket.
        let greeting: &[u8] =
            if cfg!(feature = "autobahn") { &[] } else { greeting.bytes().as_ref() };
        // Data may be waiting inside the TLS session, of which the kernel knows nothing.
        let look_again = !transport.short_read_is_empty();
        let begun = transport.write_whole(&[IoSlice::new(answer), IoSlice::new(greeting)]);
        let registry = self.poll.registry();
        if let Err(error) = begun
            .and_then(|()| self.sockets.insert(id, transport, (deflate, origin), guest, registry))
        {
            tracing::debug!(%error, "a connection ended as soon as it had begun");
            return self.hub.close(id, self.sockets.now);
        }
        self.connections += 1;
        self.counters.opened.add(1);
        if let Some((app, socket_id)) = self.hub.describe(id) {
            traffic::connected(app, socket_id);
            self.hub.node().post().tap.connection("connected", &app.id, socket_id);
            if let Some(audience) = &self.hub.node().post().audience {
                audience.connected(app, socket_id);
            }
        }
        if !early.is_empty() {
            self.take(id, &mut early.to_vec());
        }
        if look_again {
            self.read_again(id);
        }
    }

    /// Does what there is to do, within limits. `true`: there is more.
    pub(crate) fn turn(&mut self) -> io::Result<bool> {
        self.tell_time();
        self.process_inbox();
        self.read_sockets()?;
        if self.sockets.now >= self.next_sweep {
            self.next_sweep = self.sockets.now + SWEEP_INTERVAL;
            self.sweep();
        }
        self.remove_closed();
        self.sockets.flush(FLUSH_BUDGET);
        self.lag.written(self.sockets.written(), &self.counters.delivered);
        self.remove_closed();
        Ok(self.sockets.has_unsent() || !self.unread.is_empty() || self.unpolled)
    }

    /// Answers what the inspector asks.
    pub(crate) fn inspect(&mut self, ask: Ask) {
        self.tell_time();
        match ask {
            Ask::Connections { which, answer } => {
                // Who has asked may have gone.
                let _ = answer.send(self.page_of(&which));
            }
            Ask::Close { socket_id, answer } => {
                let found = self.hub.find(socket_id).filter(|id| self.sockets.is_open(*id));
                if let Some(id) = found {
                    self.sockets.close(id, Code::GENERIC, "Closed by an operator");
                    self.remove_closed();
                }
                let _ = answer.send(found.is_some());
            }
        }
    }

    fn page_of(&self, which: &Which) -> Page {
        let mut page = Page::default();
        let now = self.sockets.now;
        let mut show = |id| {
            if let (Some(seen), Some(load)) = (self.hub.look_at(id, now), self.sockets.load(id)) {
                page.rows.push(Row::new(&seen, load));
            }
        };
        match which {
            Which::One(socket_id) => self.hub.find(*socket_id).into_iter().for_each(&mut show),
            Which::On(channel) => {
                let subscribers = self.hub.subscribers(channel);
                subscribers.iter().take(PAGE).copied().for_each(&mut show);
                page.more = (subscribers.len() > PAGE).then_some(0);
            }
            Which::From(first, most) => {
                let all = *first as usize..self.sockets.places();
                let mut ids =
                    all.map(|n| ConnectionId(n as u32)).filter(|id| self.sockets.is_open(*id));
                ids.by_ref().take(*most).for_each(&mut show);
                page.more = ids.next().map(|id| id.0);
            }
        }
        page
    }

    /// Begins to send all connections away, spread over `time`.
    pub(crate) fn drain(&mut self, time: Duration) {
        self.tell_time();
        self.drain = Some(self.sockets.now + time);
    }

    /// Whether nothing is left to do after [`drain`](Self::drain).
    pub(crate) fn is_drained(&self) -> bool {
        self.drain.is_some() && self.connections == 0
    }

    fn tell_time(&mut self) {
        self.sockets.now = self.started.elapsed();
    }

    /// Does what is in the inbox now. What other threads put there meanwhile waits for its turn: they could
    /// go on for ever.
    fn process_inbox(&mut self) {
        let since = self.inbox.take(&mut self.entries);
        let now = self.sockets.now;
        for entry in self.entries.drain(..) {
            self.hub.process(entry, now, &mut self.sockets);
        }
        if self.entries.capacity() > 4096 {
            self.entries = Vec::new();
        }
        if let Some(since) = since {
            self.lag.begin(since, self.sockets.to_be_written());
        }
    }

    fn read_sockets(&mut self) -> io::Result<()> {
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
            // Those that had more than one turn takes have had their turn.
            let is_due = self.sockets.get_mut(id).is_some_and(|socket| !socket.unread);
            if is_due && (event.is_readable() || ended) {
                self.read(id, ended);
            }
        }
        self.unpolled = count == events.capacity();
        Ok(())
    }

    /// Reads once, or to the end if a short read does not mean that there is no more.
    fn read(&mut self, id: ConnectionId, to_the_end: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if self.read_into(id, &mut buffer, to_the_end) {
            self.read_again(id);
        }
        self.buffer = buffer;
    }

    /// In the next turn, once, however often it is asked for.
    fn read_again(&mut self, id: ConnectionId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && !std::mem::replace(&mut socket.unread, true)
        {
            self.unread.push(id);
        }
    }

    /// Whether there may be more to read.
    fn read_into(&mut self, id: ConnectionId, buffer: &mut [u8], to_the_end: bool) -> bool {
        for _ in 0..READS_PER_TURN {
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
                    self.take(id, &mut buffer[..n]);
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
        // Others get their turn before this connection goes on.
        true
    }

    /// Takes bytes of a client.
    fn take(&mut self, id: ConnectionId, mut input: &mut [u8]) {
        let Some((app, socket_id)) = self.hub.describe(id) else {
            return;
        };
        let max = app.limits.message_bytes;
        let Some(socket) = self.sockets.get_mut(id).filter(|socket| !socket.deaf) else {
            return;
        };
        // Taken out while messages that borrow from them are handled.
        let mut decoder = std::mem::take(&mut socket.decoder);
        let mut inflater = if socket.deflate { self.inflater.take() } else { None };
        loop {
            match decoder.next(&mut input, max, inflater.as_mut()) {
                Ok(Some(message)) => self.take_message(id, socket_id, &message),
                Ok(None) => break,
                Err(violation) => {
                    let reason = violation.to_string();
                    self.sockets.close(id, violation.code(), &reason);
                    decoder = Decoder::default();
                    // Where the next frame begins is not known any more.
                    if let Some(socket) = self.sockets.get_mut(id) {
                        socket.deaf = true;
                    }
                    break;
                }
            }
        }
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.decoder = decoder;
        }
        if let Some(mut inflater) = inflater {
            inflater.rest();
            self.inflater = Some(inflater);
        }
    }

    fn take_message(&mut self, id: ConnectionId, socket_id: SocketId, message: &Message<'_>) {
        if let Message::Close(code) = message {
            return self.sockets.farewell(id, *code);
        }
        // What comes behind the close frame of either side is not listened to.
        if !self.sockets.is_open(id) {
            return;
        }
        let now = self.sockets.now;
        #[cfg(feature = "autobahn")]
        match message {
            Message::Text(text) => return self.sockets.send(id, Frame::text(text.as_bytes())),
            Message::Binary(bytes) => return self.sockets.send(id, Frame::binary(bytes)),
            _ => {}
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => text,
                Err(_) => return self.sockets.close(id, Code::INVALID_TEXT, "not UTF-8"),
            },
            Message::Ping(payload) => {
                self.sockets.send(id, Frame::control_pong(payload));
                return self.hub.control_frame(id, now);
            }
            Message::Pong => return self.hub.control_frame(id, now),
            Message::Close(_) => return,
        };
        self.counters.messages_received.add(1);
        traffic::received(socket_id, text);
        if self.hub.node().post().tap.is_on()
            && let Some((app, _)) = self.hub.describe(id)
        {
            self.hub.node().post().tap.received(&app.id, socket_id, text);
        }
        self.hub.receive(id, text, now, &mut self.sockets);
        traffic::handled(socket_id);
        // A subscription takes effect by an entry in this worker's own inbox.
        self.process_inbox();
    }

    fn sweep(&mut self) {
        let size = self.sockets.places().div_ceil(SWEEPS_PER_ROUND);
        let places = self.sweep * size..(self.sweep + 1) * size;
        self.hub.sweep(places.clone(), self.sockets.now, &mut self.sockets);
        self.sockets.sweep(places);
        self.sweep = (self.sweep + 1) % SWEEPS_PER_ROUND;
        if self.sweep == 0 {
            self.sockets.end_round();
            self.hub.shrink();
        }
        self.send_away();
    }

    /// While draining: closes whom it falls on, so that chance spreads their return over the whole time.
    fn send_away(&mut self) {
        let Some(until) = self.drain else { return };
        let left = until.saturating_sub(self.sockets.now);
        let sweeps = left.as_millis() / SWEEP_INTERVAL.as_millis() + 1;
        for place in 0..self.sockets.places() {
            let id = ConnectionId(place as u32);
            if self.sockets.is_open(id) && fastrand::u128(..sweeps) == 0 {
                self.sockets.close(id, Code::GENERIC, "The server is shutting down");
            }
        }
    }

    /// Takes connections that are closing off their channels, and forgets those that have gone. The former
    /// first, each time: a place that is free may be taken by another connection.
    fn remove_closed(&mut self) {
        loop {
            if let Some((id, end)) = self.sockets.closing.pop() {
                self.take_off(id, end);
            } else if let Some(id) = self.sockets.gone.pop() {
                self.forget(id);
            } else {
                return;
            }
        }
    }

    fn take_off(&mut self, id: ConnectionId, end: End) {
        let by = match end {
            End::Slow => Ended::Slow,
            End::Closed(_) => Ended::ByServer,
            End::Left => Ended::ByClient,
        };
        self.counters.ended(by);
        if let Some((app, socket_id)) = self.hub.describe(id) {
            traffic::closing(app, socket_id, end);
        }
        self.hub.depart(id, self.sockets.now);
        self.tell_end(id, by);
        self.process_inbox();
    }

    /// Of a connection that has left its channels.
    fn tell_end(&self, id: ConnectionId, by: Ended) {
        if let Some(audience) = &self.hub.node().post().audience
            && let Some((app, socket_id)) = self.hub.describe(id)
        {
            audience.disconnected(app, socket_id, by);
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        let lost = self.sockets.is_open(id);
        if !self.sockets.remove(id) {
            return;
        }
        if lost {
            self.counters.ended(Ended::Lost);
            self.hub.depart(id, self.sockets.now);
            self.tell_end(id, Ended::Lost);
        }
        if let Some((app, socket_id)) = self.hub.describe(id) {
            traffic::closed(app, socket_id);
            self.hub.node().post().tap.connection("closed", &app.id, socket_id);
        }
        self.connections -= 1;
        self.hub.close(id, self.sockets.now);
        self.process_inbox();
    }
}
