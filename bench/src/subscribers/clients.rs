//! Thousands of subscribers that one thread reads as cheaply as possible.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::servers::server::Target;
use crate::wire::connection::Connection;
use crate::wire::deliveries::{Ledger, Verdict};
use crate::wire::frames::{Arrival, Frame, Inflater, arrival, first};
use crate::wire::websocket::{contains, masked, subscribe};

/// Timeout until all subscribers are connected.
const CONNECT_LIMIT: Duration = Duration::from_secs(300);
/// One subscriber.
#[derive(Debug)]
struct Client {
    stream: Connection,
    /// An incomplete frame.
    partial: Vec<u8>,
    ledger: Ledger,
    /// Offset of the mark in the last event.
    mark: usize,
}

/// All subscribers. A subscriber's token is its index.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    buffer: Vec<u8>,
    shared: Shared,
}

/// State that all clients share while they are read.
#[derive(Debug, Default)]
struct Shared {
    inflater: Inflater,
    /// Bytes of frames with events.
    wire: u64,
}

impl Clients {
    /// Connects and subscribes `count` clients, client `n` to `channel(n)`.
    pub(crate) fn connect(
        target: &Target,
        registry: &Registry,
        count: usize,
        channel: impl Fn(usize) -> String,
    ) -> Result<Self> {
        let deadline = Instant::now() + CONNECT_LIMIT;
        let mut clients = Self::none(count);
        for n in 0..count {
            ensure!(
                Instant::now() < deadline,
                "only {n} of {count} clients connected within {CONNECT_LIMIT:?}"
            );
            clients.add(target, registry, n, &channel(n))?;
        }
        Ok(clients)
    }

    /// No clients yet, with room for `count`.
    pub(crate) fn none(count: usize) -> Self {
        let clients = Vec::with_capacity(count);
        Self { clients, buffer: vec![0; 256 << 10], shared: Shared::default() }
    }

    /// Connects and subscribes client `n` of this process.
    pub(crate) fn add(
        &mut self,
        target: &Target,
        registry: &Registry,
        n: usize,
        channel: &str,
    ) -> Result<()> {
        let (stream, partial) =
            subscribe(target, n, channel).with_context(|| format!("client {n}"))?;
        stream.set_nonblocking()?;
        let token = Token(self.clients.len());
        registry.register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE)?;
        self.clients.push(Client { stream, partial, ledger: Ledger::default(), mark: 0 });
        Ok(())
    }

    /// Reads everything that a client's socket has, and calls `on` with each event.
    pub(crate) fn receive(
        &mut self,
        event: &mio::event::Event,
        mut on: impl FnMut(Arrival),
    ) -> Result<()> {
        let Token(place) = event.token();
        let Some(client) = self.clients.get_mut(place) else { return Ok(()) };
        loop {
            match client.stream.read(&mut self.buffer) {
                Ok(0) => bail!("invalid measurement: the server closed client {place}"),
                Ok(n) => {
                    client.take(&self.buffer[..n], &mut self.shared, &mut on)?;
                    // The next bytes wake the loop again. The end of the stream does not, if it was
                    // reported together with these bytes.
                    if client.stream.is_emptied() && !event.is_read_closed() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Bytes of all received frames with events.
    pub(crate) fn wire_bytes(&self) -> u64 {
        self.shared.wire
    }

    /// Compares with `published` events.
    pub(crate) fn verdict(&self, published: u64) -> Verdict {
        let mut verdict = Verdict::default();
        for client in &self.clients {
            verdict.add(client.ledger.verdict(published));
        }
        verdict
    }
}

impl Client {
    fn take(
        &mut self,
        bytes: &[u8],
        shared: &mut Shared,
        on: &mut impl FnMut(Arrival),
    ) -> Result<()> {
        if self.partial.is_empty() {
            let used = self.take_frames(bytes, shared, on)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let used = self.take_frames(&partial, shared, on)?;
        self.partial.extend_from_slice(&partial[used..]);
        Ok(())
    }

    /// Handles the complete frames at the start of `bytes`, and returns their length.
    fn take_frames(
        &mut self,
        bytes: &[u8],
        shared: &mut Shared,
        on: &mut impl FnMut(Arrival),
    ) -> Result<usize> {
        let mut used = 0;
        while let Some(frame) = first(&bytes[used..])? {
            used += frame.length;
            let arrival = if frame.compressed {
                Some(shared.inflater.arrival(frame.payload)?)
            } else {
                arrival(frame.payload, &mut self.mark)
            };
            match arrival {
                Some(arrival) => {
                    shared.wire += frame.length as u64;
                    self.ledger.note(arrival.sequence);
                    on(arrival);
                }
                None => self.take_other(frame)?,
            }
        }
        Ok(used)
    }

    /// Handles a frame without an event: answers a ping, or fails if the server closes the connection.
    fn take_other(&mut self, frame: Frame<'_>) -> Result<()> {
        match frame.opcode {
            8 => bail!("invalid measurement: the server sent a close frame"),
            9 => self.stream.write_all(&masked(10, frame.payload)?)?,
            _ if contains(frame.payload, b"\"pusher:ping\"") => {
                self.stream.write_all(&masked(1, br#"{"event":"pusher:pong","data":{}}"#)?)?;
            }
            _ => {}
        }
        Ok(())
    }
}
