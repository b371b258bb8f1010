//! The floor server, which shows what the kernel alone costs: one thread, one shared frame, one write per
//! subscriber. It checks nothing and queues nothing. A write that would block is lost, and counted. It has
//! channels and client events, but no presence.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;

use anyhow::Result;
use base64::Engine;
use clarim_protocol::Frame;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use sha1::{Digest, Sha1};

const LISTENER: Token = Token(usize::MAX);
/// Maximum length of a request that arrives in pieces.
const MAX_REQUEST: usize = 1 << 20;

/// Serves until killed.
pub(crate) fn run(port: u16) -> Result<()> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut floor = Floor::new(poll.registry().try_clone()?);
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                floor.accept(&listener)?;
            } else {
                floor.read(event, &mut buffer);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    WebSocket,
}

struct Floor {
    poll: mio::Registry,
    streams: Vec<Option<TcpStream>>,
    kinds: Vec<Kind>,
    free: Vec<usize>,
    /// Indexes of the subscribers of each channel.
    channels: HashMap<String, Vec<usize>>,
    /// Channels of each connection.
    subscriptions: Vec<Vec<String>>,
    /// Incomplete requests and frames.
    partial: HashMap<usize, Vec<u8>>,
    lost: u64,
}

impl Floor {
    fn new(poll: mio::Registry) -> Self {
        let streams = Vec::new();
        let kinds = Vec::new();
        let free = Vec::new();
        let channels = HashMap::new();
        let subscriptions = Vec::new();
        let partial = HashMap::new();
        Self { poll, streams, kinds, free, channels, subscriptions, partial, lost: 0 }
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client has closed the connection already.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or(self.streams.len());
            self.poll.register(&mut stream, Token(place), Interest::READABLE)?;
            if place == self.streams.len() {
                self.streams.push(None);
                self.kinds.push(Kind::Http);
                self.subscriptions.push(Vec::new());
            }
            self.streams[place] = Some(stream);
            self.kinds[place] = Kind::Http;
        }
    }

    fn read(&mut self, event: &mio::event::Event, buffer: &mut [u8]) {
        let Token(place) = event.token();
        loop {
            let Some(Some(stream)) = self.streams.get_mut(place) else { return };
            match stream.read(buffer) {
                Ok(n) if n > 0 => {
                    // A short read has emptied the socket, but the end of the stream may follow.
                    let more = n == buffer.len() || event.is_read_closed();
                    if self.collect(place, &buffer[..n]).is_err() {
                        return self.remove(place);
                    }
                    if !more {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => return self.remove(place),
            }
        }
    }

    fn remove(&mut self, place: usize) {
        self.streams[place] = None;
        self.kinds[place] = Kind::Http;
        self.partial.remove(&place);
        self.free.push(place);
        for channel in std::mem::take(&mut self.subscriptions[place]) {
            let Entry::Occupied(mut entry) = self.channels.entry(channel) else { continue };
            if let Some(at) = entry.get().iter().position(|subscriber| *subscriber == place) {
                entry.get_mut().swap_remove(at);
            }
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    /// Handles all complete frames, and returns their length.
    fn websocket(&mut self, place: usize, bytes: &[u8]) -> std::io::Result<usize> {
        let mut used = 0;
        while let Some((opcode, text, length)) = message(&bytes[used..]) {
            used += length;
            if opcode == 8 {
                return Err(ErrorKind::ConnectionReset.into());
            }
            let Some(channel) = field(text, br#""channel":""#) else { continue };
            if contains(text, b"client-") {
                self.send(&channel, text, Some(place));
            } else if contains(text, b"subscribe") {
                self.subscribe(place, channel)?;
            }
        }
        Ok(used)
    }

    fn subscribe(&mut self, place: usize, channel: String) -> std::io::Result<()> {
        let Some(Some(stream)) = self.streams.get_mut(place) else { return Ok(()) };
        let text = format!(
            r#"{{"event":"pusher_internal:subscription_succeeded","channel":"{channel}","data":"{{}}"}}"#
        );
        stream.write_all(Frame::text(text.as_bytes()).bytes())?;
        self.subscriptions[place].push(channel.clone());
        self.channels.entry(channel).or_default().push(place);
        Ok(())
    }

    /// Handles bytes where they were read, unless they are a part of something.
    fn collect(&mut self, place: usize, bytes: &[u8]) -> std::io::Result<()> {
        let take = match self.kinds[place] {
            Kind::Http => Self::http,
            Kind::WebSocket => Self::websocket,
        };
        let Some(mut partial) = self.partial.remove(&place) else {
            let used = take(self, place, bytes)?;
            if used < bytes.len() {
                self.partial.insert(place, bytes[used..].to_vec());
            }
            return Ok(());
        };
        partial.extend_from_slice(bytes);
        let used = take(self, place, &partial)?;
        partial.drain(..used);
        if partial.len() > MAX_REQUEST {
            return Err(ErrorKind::InvalidData.into());
        }
        if !partial.is_empty() {
            self.partial.insert(place, partial);
        }
        Ok(())
    }

    /// Responds to all complete requests, and returns their length.
    fn http(&mut self, place: usize, bytes: &[u8]) -> std::io::Result<usize> {
        let mut used = 0;
        while let Some(request) = Request::parse(&bytes[used..]) {
            used += request.length;
            let mut answer = Vec::with_capacity(256);
            if let Some(key) = request.websocket_key {
                self.kinds[place] = Kind::WebSocket;
                upgrade(&mut answer, key);
            } else if request.path.starts_with("/losses") {
                respond(&mut answer, &self.lost.to_string())?;
            } else {
                self.publish(request.body);
                respond(&mut answer, "{}")?;
            }
            let Some(Some(stream)) = self.streams.get_mut(place) else { break };
            stream.write_all(&answer)?;
        }
        Ok(used)
    }

    /// Publishes an event. Of a batch, only the first one: batches are measured without subscribers.
    fn publish(&mut self, body: &[u8]) {
        let mark = br#""data":""#;
        let Some(at) = body.windows(mark.len()).position(|window| window == mark) else { return };
        let Some(channel) = field(body, br#""channel":""#) else { return };
        let text = [br#"{"event":"bench","channel":""#, channel.as_bytes(), br#"","#, &body[at..]]
            .concat();
        self.send(&channel, &text, None);
    }

    fn send(&mut self, channel: &str, text: &[u8], but: Option<usize>) {
        let frame = Frame::text(text);
        let bytes: &[u8] = frame.bytes();
        for place in self.channels.get(channel).into_iter().flatten() {
            let Some(stream) = self.streams[*place].as_mut().filter(|_| but != Some(*place)) else {
                continue;
            };
            let whole = stream.write(bytes).is_ok_and(|n| n == bytes.len());
            self.lost += u64::from(!whole);
        }
    }
}

/// The opcode, payload and total length of a client's first frame, if it is complete. The load generator
/// masks with zeros, which changes nothing.
pub(crate) fn message(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (header, length) = match bytes.get(1)? & 0x7f {
        126 => (8, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        short => (6, usize::from(short)),
    };
    Some((bytes[0] & 0x0f, bytes.get(header..header + length)?, header + length))
}

/// The text after `name`, up to the next quotation mark.
fn field(text: &[u8], name: &[u8]) -> Option<String> {
    let at = text.windows(name.len()).position(|window| window == name)? + name.len();
    let length = text[at..].iter().position(|byte| *byte == b'"')?;
    Some(String::from_utf8_lossy(&text[at..at + length]).into_owned())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A complete HTTP request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) websocket_key: Option<&'a [u8]>,
    /// Bytes of headers and body.
    pub(crate) length: usize,
}

impl<'a> Request<'a> {
    /// The first request, if it is complete.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = request.parse(bytes) else { return None };
        let header = |name: &str| {
            request.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
        };
        let body = header("content-length").and_then(|v| std::str::from_utf8(v).ok()?.parse().ok());
        let length = head.checked_add(body.unwrap_or(0))?;
        let websocket_key = header("sec-websocket-key");
        let body = bytes.get(head..length)?;
        Some(Self { path: request.path?, body, websocket_key, length })
    }
}

/// Writes a response with a body.
pub(crate) fn respond(to: &mut impl Write, body: &str) -> std::io::Result<()> {
    write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Writes the response to a handshake, and the first frame.
pub(crate) fn upgrade(to: &mut Vec<u8>, key: &[u8]) {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    let greeting = concat!(
        r#"{"event":"pusher:connection_established","#,
        r#""data":"{\"socket_id\":\"1.1\",\"activity_timeout\":120}"}"#
    );
    to.extend_from_slice(head.as_bytes());
    to.extend_from_slice(Frame::text(greeting.as_bytes()).bytes());
}
