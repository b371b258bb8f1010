//! A backend's connection to the HTTP API: signed requests, without waiting for the responses.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use clarim_protocol::rest;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::connection::Connection;
use crate::servers::server::Target;

/// One connection to the HTTP API.
#[derive(Debug)]
pub(crate) struct Publisher {
    stream: Connection,
    registry: Registry,
    token: Token,
    /// Whether the server has closed the connection, so that the next request needs a new one.
    ended: bool,
    target: Target,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    /// Requests without a response yet.
    pub(crate) pending: usize,
}

impl Publisher {
    pub(crate) fn connect(target: &Target, registry: &Registry, token: Token) -> Result<Self> {
        let stream = dial(target, registry, token)?;
        let target = target.clone();
        let registry = registry.try_clone()?;
        let unsent = Vec::new();
        let unread = Vec::new();
        Ok(Self { stream, registry, token, ended: false, target, unsent, unread, pending: 0 })
    }

    /// Publishes an event whose data needs no escaping.
    pub(crate) fn publish(&mut self, channel: &str, data: &str) -> Result<()> {
        self.request("events", &event(channel, data))
    }

    /// Publishes several events with one request.
    pub(crate) fn publish_batch(&mut self, channel: &str, data: &[String]) -> Result<()> {
        if let [data] = data {
            return self.publish(channel, data);
        }
        let events: Vec<String> = data.iter().map(|data| event(channel, data)).collect();
        self.request("batch_events", &format!(r#"{{"batch":[{}]}}"#, events.join(",")))
    }

    fn request(&mut self, endpoint: &str, body: &str) -> Result<()> {
        let Target { app_id, key, port, .. } = &self.target;
        let path = format!("/apps/{app_id}/{endpoint}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let query = rest::sign(key, "POST", &path, &[], body.as_bytes(), now);
        let length = body.len();
        write!(
            self.unsent,
            "POST {path}?{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        self.pending += 1;
        if std::mem::take(&mut self.ended) {
            self.stream = dial(&self.target, &self.registry, self.token)?;
        }
        self.send()
    }

    /// Sends what could not be sent before.
    pub(crate) fn send(&mut self) -> Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Reads responses and returns their number. A status other than 200 is an error.
    pub(crate) fn receive(&mut self) -> Result<u64> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => self.unread.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let mut answers = 0;
        while let Some(length) = answer(&self.unread)? {
            self.ended |= is_last(&self.unread[..length]);
            self.unread.drain(..length);
            self.pending = self.pending.saturating_sub(1);
            answers += 1;
        }
        let is_cut = self.ended && self.pending > 0;
        ensure!(!is_cut, "the server closed the publisher's connection");
        Ok(answers)
    }
}

fn dial(target: &Target, registry: &Registry, token: Token) -> Result<Connection> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, target.port));
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let stream = Connection::new(stream, target.tls.as_ref())?;
    stream.set_nonblocking()?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut SourceFd(&stream.as_raw_fd()), token, interest)?;
    Ok(stream)
}

fn event(channel: &str, data: &str) -> String {
    format!(r#"{{"name":"bench","channel":"{channel}","data":"{data}"}}"#)
}

/// Whether the server closes the connection after this response.
fn is_last(answer: &[u8]) -> bool {
    let head = answer.split(|byte| *byte == b'\n').take_while(|line| line.len() > 1);
    head.into_iter().any(|line| line.trim_ascii().eq_ignore_ascii_case(b"connection: close"))
}

/// Length of the first response, if it is complete.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes)? else { return Ok(None) };
    let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length: usize = match length {
        Some(header) => std::str::from_utf8(header.value)?.parse()?,
        None => bail!("response without Content-Length"),
    };
    if bytes.len() < head + length {
        return Ok(None);
    }
    let body = String::from_utf8_lossy(&bytes[head..head + length]);
    ensure!(response.code == Some(200), "the server responded {:?}: {body}", response.code);
    Ok(Some(head + length))
}
