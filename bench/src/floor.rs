//! The floor: what the kernel alone costs. One thread; one shared frame; one write for each
//! subscriber. It checks nothing and queues nothing; a write that would block is a loss, which it counts.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;

use anyhow::Result;
use base64::Engine;
use clarim_protocol::Frame;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use sha1::{Digest, Sha1};

const LISTENER: Token = Token(usize::MAX);
/// Longest request that is collected when it comes in pieces.
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
    Subscriber,
}

struct Floor {
    poll: mio::Registry,
    /// An array of file descriptors: what a publish walks over.
    streams: Vec<Option<TcpStream>>,
    kinds: Vec<Kind>,
    free: Vec<usize>,
    /// Requests that have not come whole.
    partial: HashMap<usize, Vec<u8>>,
    lost: u64,
}

impl Floor {
    fn new(poll: mio::Registry) -> Self {
        let (streams, kinds, free) = (Vec::new(), Vec::new(), Vec::new());
        Self { poll, streams, kinds, free, partial: HashMap::new(), lost: 0 }
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // A client that has gone again is no reason to end.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or(self.streams.len());
            self.poll.register(&mut stream, Token(place), Interest::READABLE)?;
            if place == self.streams.len() {
                self.streams.push(None);
                self.kinds.push(Kind::Http);
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
                    // A short read has emptied the socket, but may have left the end to be read.
                    let more = n == buffer.len() || event.is_read_closed();
                    let result = match self.kinds[place] {
                        Kind::Http => self.collect(place, &buffer[..n]),
                        Kind::WebSocket | Kind::Subscriber => self.websocket(place, &buffer[..n]),
                    };
                    if result.is_err() {
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
    }

    /// Any message with "subscribe" in it subscribes, to everything.
    fn websocket(&mut self, place: usize, bytes: &[u8]) -> std::io::Result<()> {
        let Some(Some(stream)) = self.streams.get_mut(place) else { return Ok(()) };
        if bytes.windows(9).any(|window| window == b"subscribe") {
            let text = concat!(
                r#"{"event":"pusher_internal:subscription_succeeded","#,
                r#""channel":"bench","data":"{}"}"#
            );
            stream.write_all(Frame::text(text.as_bytes()).bytes())?;
            self.kinds[place] = Kind::Subscriber;
        }
        Ok(())
    }

    /// Requests are answered where they were read, but for those that come in pieces.
    fn collect(&mut self, place: usize, bytes: &[u8]) -> std::io::Result<()> {
        let Some(mut partial) = self.partial.remove(&place) else {
            let used = self.http(place, bytes)?;
            if used < bytes.len() {
                self.partial.insert(place, bytes[used..].to_vec());
            }
            return Ok(());
        };
        partial.extend_from_slice(bytes);
        let used = self.http(place, &partial)?;
        partial.drain(..used);
        if partial.len() > MAX_REQUEST {
            return Err(ErrorKind::InvalidData.into());
        }
        if !partial.is_empty() {
            self.partial.insert(place, partial);
        }
        Ok(())
    }

    /// Answers all whole requests. How many bytes they were.
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

    fn publish(&mut self, body: &[u8]) {
        let mark = br#""data":""#;
        let Some(at) = body.windows(mark.len()).position(|window| window == mark) else { return };
        let text = [br#"{"event":"bench","channel":"bench","#, &body[at..]].concat();
        let frame = Frame::text(&text);
        let bytes: &[u8] = frame.bytes();
        for (stream, kind) in self.streams.iter_mut().zip(&self.kinds) {
            let (Some(stream), Kind::Subscriber) = (stream, kind) else { continue };
            let whole = stream.write(bytes).is_ok_and(|n| n == bytes.len());
            self.lost += u64::from(!whole);
        }
    }
}

/// A whole HTTP request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) websocket_key: Option<&'a [u8]>,
    /// Bytes of head and body.
    pub(crate) length: usize,
}

impl<'a> Request<'a> {
    /// The first request, when it is whole.
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

/// Writes an answer with a body.
pub(crate) fn respond(to: &mut impl Write, body: &str) -> std::io::Result<()> {
    write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Writes the answer to a handshake, and the first frame.
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
