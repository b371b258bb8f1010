//! The floor: what the kernel alone costs. One thread; one shared frame; one write for each subscriber.
//! It checks nothing and queues nothing; a write that would block is a loss, which it reports.

use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use clarim_protocol::Frame;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use sha1::{Digest, Sha1};

const LISTENER: Token = Token(usize::MAX);

/// Serves until killed.
pub(crate) fn run(port: u16) -> Result<()> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let mut floor = Floor {
        listener: TcpListener::from_std(listener),
        poll: Poll::new()?,
        peers: Vec::new(),
        subscribers: Vec::new(),
        free: Vec::new(),
        lost: 0,
    };
    floor.poll.registry().register(&mut floor.listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    loop {
        floor.poll.poll(&mut events, Some(Duration::from_secs(1)))?;
        for event in &events {
            if event.token() == LISTENER { floor.accept()? } else { floor.read(event.token().0)? }
        }
    }
}

struct Floor {
    listener: TcpListener,
    poll: Poll,
    peers: Vec<Option<Peer>>,
    /// Places of those who have subscribed.
    subscribers: Vec<usize>,
    free: Vec<usize>,
    lost: u64,
}

struct Peer {
    stream: TcpStream,
    is_websocket: bool,
    /// A request that has not come whole.
    partial: Vec<u8>,
}

impl Floor {
    fn accept(&mut self) -> Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or(self.peers.len());
            self.poll.registry().register(&mut stream, Token(place), Interest::READABLE)?;
            let peer = Peer { stream, is_websocket: false, partial: Vec::new() };
            match self.peers.get_mut(place) {
                Some(slot) => *slot = Some(peer),
                None => self.peers.push(Some(peer)),
            }
        }
    }

    fn read(&mut self, place: usize) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            let Some(Some(peer)) = self.peers.get_mut(place) else { return Ok(()) };
            match peer.stream.read(&mut buffer) {
                Ok(0) => self.remove(place),
                Ok(n) if peer.is_websocket => self.websocket(place, &buffer[..n])?,
                Ok(n) => {
                    peer.partial.extend_from_slice(&buffer[..n]);
                    self.http(place)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => self.remove(place),
            }
        }
    }

    fn remove(&mut self, place: usize) {
        self.peers[place] = None;
        self.free.push(place);
        self.subscribers.retain(|subscriber| *subscriber != place);
    }

    /// Any message with "subscribe" in it subscribes, to everything. Messages are read as far as needed.
    fn websocket(&mut self, place: usize, bytes: &[u8]) -> Result<()> {
        let is_subscribe = bytes.windows(9).any(|window| window == b"subscribe");
        let Some(Some(peer)) = self.peers.get_mut(place) else { return Ok(()) };
        if is_subscribe {
            let text = br#"{"event":"pusher_internal:subscription_succeeded","channel":"bench","data":"{}"}"#;
            peer.stream.write_all(Frame::text(text).bytes())?;
            self.subscribers.push(place);
        }
        Ok(())
    }

    fn http(&mut self, place: usize) -> Result<()> {
        loop {
            let Some(Some(peer)) = self.peers.get_mut(place) else { return Ok(()) };
            let Some(request) = request(&peer.partial) else { return Ok(()) };
            let body: Vec<u8> = peer.partial[request.head..request.head + request.body].to_vec();
            peer.partial.drain(..request.head + request.body);
            if let Some(key) = request.websocket_key {
                peer.is_websocket = true;
                upgrade(&mut peer.stream, &key)?;
                peer.partial = Vec::new();
                return Ok(());
            }
            let answer = if request.path.starts_with("/losses") {
                self.lost.to_string()
            } else {
                self.publish(&body);
                "{}".to_owned()
            };
            let Some(Some(peer)) = self.peers.get_mut(place) else { return Ok(()) };
            let length = answer.len();
            write!(peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}")?;
        }
    }

    fn publish(&mut self, body: &[u8]) {
        let mark = br#""data":""#;
        let Some(at) = body.windows(mark.len()).position(|window| window == mark) else { return };
        let text = [br#"{"event":"bench","channel":"bench","#, &body[at..]].concat();
        let frame = Frame::text(&text);
        for &place in &self.subscribers {
            let Some(Some(peer)) = self.peers.get_mut(place) else { continue };
            let whole = peer.stream.write(frame.bytes()).is_ok_and(|n| n == frame.bytes().len());
            self.lost += u64::from(!whole);
        }
    }
}

struct Request {
    head: usize,
    body: usize,
    path: String,
    websocket_key: Option<Vec<u8>>,
}

/// The first request, when it is whole.
fn request(bytes: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = request.parse(bytes) else { return None };
    let header = |name: &str| {
        request.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    };
    let body = header("content-length").and_then(|v| std::str::from_utf8(v).ok()?.parse().ok());
    let body = body.unwrap_or(0);
    let websocket_key = header("sec-websocket-key").map(<[u8]>::to_vec);
    let path = request.path.unwrap_or_default().to_owned();
    (bytes.len() >= head + body).then_some(Request { head, body, path, websocket_key })
}

fn upgrade(stream: &mut TcpStream, key: &[u8]) -> Result<()> {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let greeting = br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\",\"activity_timeout\":120}"}"#;
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), Frame::text(greeting).bytes()].concat())?;
    Ok(())
}
