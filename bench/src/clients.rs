//! The subscribers: thousands of sockets read by one thread, as cheaply as can be.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::frames::{Arrival, Frame, Inflater, Ledger, Verdict, arrival, first};
use crate::server::Target;

/// How long a server may take for one step of a handshake.
const STEP_LIMIT: Duration = Duration::from_secs(30);
/// How long all subscribers may take together.
const CONNECT_LIMIT: Duration = Duration::from_secs(300);
/// Longest answer to a handshake, with what follows it.
const MAX_ANSWER: usize = 64 << 10;
/// Loopback addresses to connect from, so that no address runs out of ports.
const SOURCES: usize = 200;

/// Each message is to be compressed by itself, so that all clients get the same bytes.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";

/// One subscriber.
#[derive(Debug)]
struct Client {
    stream: mio::net::TcpStream,
    /// A frame that has not come whole.
    partial: Vec<u8>,
    ledger: Ledger,
    /// Where the mark stood in the last event.
    mark: usize,
}

/// All subscribers. Their tokens are their places.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    buffer: Vec<u8>,
    shared: Shared,
}

/// What reading them needs and leaves, of all clients.
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
            ensure!(Instant::now() < deadline, "only {n} of {count} connected in time");
            clients.add(target, registry, n, &channel(n))?;
        }
        Ok(clients)
    }

    /// Nobody yet, with room for `count`.
    pub(crate) fn none(count: usize) -> Self {
        let clients = Vec::with_capacity(count);
        Self { clients, buffer: vec![0; 256 << 10], shared: Shared::default() }
    }

    /// Connects and subscribes one more, which is client `n` of all that this process has.
    pub(crate) fn add(
        &mut self,
        target: &Target,
        registry: &Registry,
        n: usize,
        channel: &str,
    ) -> Result<()> {
        let (stream, partial) =
            subscribe(target, n, channel).with_context(|| format!("client {n}"))?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        registry.register(&mut stream, Token(self.clients.len()), Interest::READABLE)?;
        self.clients.push(Client { stream, partial, ledger: Ledger::default(), mark: 0 });
        Ok(())
    }

    /// Reads all there is for one client, and tells of each event.
    pub(crate) fn receive(
        &mut self,
        event: &mio::event::Event,
        mut on: impl FnMut(Arrival),
    ) -> Result<()> {
        let Token(place) = event.token();
        let Some(client) = self.clients.get_mut(place) else { return Ok(()) };
        loop {
            match client.stream.read(&mut self.buffer) {
                Ok(0) => bail!("not a result: the server has closed client {place}"),
                Ok(n) => {
                    client.take(&self.buffer[..n], &mut self.shared, &mut on)?;
                    // Less than asked for: the socket is empty, and the next bytes wake us again.
                    // Not so the end, when it was told together with these.
                    if n < self.buffer.len() && !event.is_read_closed() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Bytes of all frames with events that have come.
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

    /// Takes the whole frames at the front of `bytes`. How much of it they are.
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

    /// What is no event: a ping wants its answer, or the server closes the connection.
    fn take_other(&mut self, frame: Frame<'_>) -> Result<()> {
        match frame.opcode {
            8 => bail!("not a result: the server has sent a close frame"),
            9 => self.stream.write_all(&masked(10, frame.payload)?)?,
            _ if contains(frame.payload, b"\"pusher:ping\"") => {
                self.stream.write_all(&masked(1, br#"{"event":"pusher:pong","data":{}}"#)?)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Connects client `n` and waits until it is subscribed. Also what came after that.
pub(crate) fn subscribe(target: &Target, n: usize, channel: &str) -> Result<(TcpStream, Vec<u8>)> {
    let mut stream = connect_from(n, target.port)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STEP_LIMIT))?;
    stream.write_all(handshake(target).as_bytes())?;
    let mut unread = Vec::new();
    wait_for_upgrade(&mut stream, &mut unread, target.deflate)?;
    wait_for(&mut stream, &mut unread, b"pusher:connection_established")?;
    let text = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#);
    stream.write_all(&masked(1, text.as_bytes())?)?;
    wait_for(&mut stream, &mut unread, b"pusher_internal:subscription_succeeded")?;
    Ok((stream, unread))
}

/// The request that makes a connection a WebSocket.
pub(crate) fn handshake(target: &Target) -> String {
    format!(
        "GET /app/{}?protocol=7&client=bench&version=1.0 HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        target.key.key(),
        target.port,
        if target.deflate { OFFER } else { "" }
    )
}

fn connect_from(n: usize, port: u16) -> Result<TcpStream> {
    let socket = socket_of(n, SocketFlags::CLOEXEC)?;
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    Ok(socket.into())
}

/// Begins to connect client `n`, without waiting. The kernel keeps `receive` bytes for it at most.
pub(crate) fn begin_to_connect(n: usize, port: u16, receive: Option<usize>) -> Result<TcpStream> {
    let socket = socket_of(n, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    if let Some(bytes) = receive {
        set_socket_recv_buffer_size(&socket, bytes)?;
    }
    match connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn socket_of(n: usize, flags: SocketFlags) -> Result<OwnedFd> {
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(1 + n % SOURCES)?);
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrV4::new(source, 0))?;
    Ok(socket)
}

fn wait_for_upgrade(stream: &mut TcpStream, unread: &mut Vec<u8>, deflate: bool) -> Result<()> {
    loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]);
            ensure!(head.starts_with("HTTP/1.1 101"), "the server refuses: {head}");
            let agreed = head.contains("permessage-deflate");
            ensure!(
                agreed == deflate,
                "compression was {}asked for: {head}",
                if deflate { "" } else { "not " }
            );
            unread.drain(..end + 4);
            return Ok(());
        }
        read_more(stream, unread)?;
    }
}

/// Takes frames until one has `text` in it; what follows stays in `unread`.
fn wait_for(stream: &mut TcpStream, unread: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    loop {
        while let Some(Frame { opcode, payload, length, .. }) = first(unread)? {
            let found = contains(payload, text);
            let refused = opcode == 8 || contains(payload, b"\"pusher:error\"");
            ensure!(!refused, "the server refuses: {}", String::from_utf8_lossy(payload));
            unread.drain(..length);
            if found {
                return Ok(());
            }
        }
        read_more(stream, unread)?;
    }
}

fn read_more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Result<()> {
    let mut buffer = [0; 2048];
    let n = stream.read(&mut buffer)?;
    ensure!(n > 0, "the server has closed the connection during the handshake");
    unread.extend_from_slice(&buffer[..n]);
    ensure!(unread.len() < MAX_ANSWER, "the server's answer to the handshake has no end");
    Ok(())
}

/// A client's frame. A mask of zeros leaves the payload as it is.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(payload.len()).context("too long")?;
    let mut frame = Vec::with_capacity(payload.len() + 8);
    frame.push(0x80 | opcode);
    match u8::try_from(length) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    Ok(frame)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
