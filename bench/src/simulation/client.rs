//! A simulated client with several channels, on a non-blocking socket.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use clarim_protocol::SocketId;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::servers::server::Target;
use crate::simulation::account::{Account, Stream};
use crate::simulation::members::{Members, User, channel_data};
use crate::wire::frames::{Arrival, Frame, arrival, first};
use crate::wire::websocket::{begin_to_connect, handshake, masked};

/// A message that a client has received.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Received {
    /// The connection is established.
    Connected,
    /// The subscription to this one of its channels has succeeded.
    Joined(usize),
    Event(Arrival),
    /// A member event.
    Member,
    /// The server has closed the connection, with or without a close code.
    Closed(Option<u16>),
}

/// A position in a channel's history.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Position {
    epoch: String,
    offset: u64,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: String,
    user: Option<User>,
    /// The position that the client names.
    since: Option<Position>,
    /// The position at which the subscription succeeded, if the channel has a history.
    pub(crate) position: Option<Position>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) joined: bool,
    pub(crate) members: Members,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    target: Target,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    upgraded: bool,
    socket_id: Option<SocketId>,
    /// Offset of the mark in the last event.
    mark: usize,
    pub(crate) channels: Vec<Channel>,
    pub(crate) accounts: HashMap<Stream, Account>,
    /// Whether it has stopped reading.
    pub(crate) stalled: bool,
    pub(crate) closed: Option<Option<u16>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Greeting {
    socket_id: SocketId,
}

impl Client {
    /// Starts to connect, as client `n` of this process.
    pub(crate) fn open(
        target: &Target,
        registry: &Registry,
        token: Token,
        n: usize,
        receive: Option<usize>,
    ) -> Result<Self> {
        let mut stream = TcpStream::from_std(begin_to_connect(n, target.port, receive)?);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            target: target.clone(),
            unsent: handshake(target, n).into_bytes(),
            unread: Vec::new(),
            upgraded: false,
            socket_id: None,
            mark: 0,
            channels: Vec::new(),
            accounts: HashMap::new(),
            stalled: false,
            closed: None,
        })
    }

    /// Subscribes, now or as soon as the connection is established. It receives `streams` there.
    pub(crate) fn join(
        &mut self,
        name: String,
        user: Option<User>,
        since: Option<Position>,
        streams: Vec<Stream>,
    ) -> Result<()> {
        let members = Members::default();
        let joined = false;
        let position = None;
        self.channels.push(Channel { name, user, since, position, streams, joined, members });
        if self.socket_id.is_some() {
            self.subscribe(self.channels.len() - 1)?;
        }
        Ok(())
    }

    fn subscribe(&mut self, place: usize) -> Result<()> {
        let Channel { name, user, since, .. } = &self.channels[place];
        let id = self.socket_id.context("the client is not connected yet")?;
        let mut data = serde_json::json!({ "channel": name });
        let user_data = user.map(channel_data);
        if user.is_some() || name.starts_with("private-") {
            data["auth"] = self.target.key.sign_channel(id, name, user_data.as_deref()).into();
        }
        if let Some(user_data) = user_data {
            data["channel_data"] = user_data.into();
        }
        if let Some(since) = since {
            data["since"] = serde_json::to_value(since)?;
        }
        let text = serde_json::json!({ "event": "pusher:subscribe", "data": data });
        self.send_frame(1, text.to_string().as_bytes())
    }

    /// Sends a client event whose data needs no escaping.
    pub(crate) fn whisper(&mut self, channel: &str, data: &str) -> Result<()> {
        let text = format!(r#"{{"event":"client-bench","channel":"{channel}","data":"{data}"}}"#);
        self.send_frame(1, text.as_bytes())
    }

    /// Sends a close frame, so that the server reads everything sent before.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.send_frame(8, &1000u16.to_be_bytes())
    }

    fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.unsent.extend_from_slice(&masked(opcode, payload)?);
        self.send();
        Ok(())
    }

    /// Sends what could not be sent before. Errors show when the socket is read.
    pub(crate) fn send(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(_) => return,
            }
        }
    }

    /// Reads everything that the socket has. `ended`: whether the end of the stream was reported, too.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        ended: bool,
        received: &mut Vec<Received>,
    ) -> Result<()> {
        while self.closed.is_none() {
            match self.stream.read(buffer) {
                Ok(0) => self.end(None, received),
                Ok(n) => {
                    self.handle_bytes(&buffer[..n], received)?;
                    // A short read has emptied the socket, and the next bytes wake the loop again.
                    if n < buffer.len() && !ended {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    self.end(None, received)
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn end(&mut self, code: Option<u16>, received: &mut Vec<Received>) {
        if self.closed.is_none() {
            self.closed = Some(code);
            received.push(Received::Closed(code));
        }
    }

    fn handle_bytes(&mut self, bytes: &[u8], received: &mut Vec<Received>) -> Result<()> {
        if self.unread.is_empty() && self.upgraded {
            let used = self.handle_frames(bytes, received)?;
            self.unread.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let mut used = 0;
        let head = unread.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = head.filter(|_| !self.upgraded) {
            let head = String::from_utf8_lossy(&unread[..end]);
            ensure!(head.starts_with("HTTP/1.1 101"), "the server refused the handshake: {head}");
            self.upgraded = true;
            used = end + 4;
        }
        if self.upgraded {
            used += self.handle_frames(&unread[used..], received)?;
        }
        unread.drain(..used);
        self.unread = unread;
        Ok(())
    }

    /// Handles the complete frames at the start of `bytes`, and returns their length.
    fn handle_frames(&mut self, bytes: &[u8], received: &mut Vec<Received>) -> Result<usize> {
        let mut used = 0;
        while let Some(frame) = first(&bytes[used..])? {
            used += frame.length;
            match frame.opcode {
                8 => {
                    let code = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    self.end(code, received);
                }
                9 => self.send_frame(10, frame.payload)?,
                1 => self.handle_text(frame, received)?,
                _ => {}
            }
        }
        Ok(used)
    }

    fn handle_text(&mut self, frame: Frame<'_>, received: &mut Vec<Received>) -> Result<()> {
        if let Some(arrival) = arrival(frame.payload, &mut self.mark) {
            received.push(Received::Event(arrival));
            return Ok(());
        }
        let message: Message<'_> = serde_json::from_slice(frame.payload).with_context(|| {
            format!("invalid measurement: {}", String::from_utf8_lossy(frame.payload))
        })?;
        let data = text_of(message.data)?;
        match message.event.as_ref() {
            "pusher:connection_established" => {
                let Greeting { socket_id } = serde_json::from_str(&data)?;
                self.socket_id = Some(socket_id);
                received.push(Received::Connected);
                for place in 0..self.channels.len() {
                    self.subscribe(place)?;
                }
            }
            "pusher_internal:subscription_succeeded" => {
                let (place, channel) = self.channel(message.channel.as_deref())?;
                ensure!(!channel.joined, "invalid measurement: a subscription succeeded twice");
                channel.joined = true;
                channel.position = serde_json::from_str(&data).ok();
                if channel.user.is_some() {
                    channel.members.take_list(&data)?;
                }
                received.push(Received::Joined(place));
            }
            event @ ("pusher_internal:member_added" | "pusher_internal:member_removed") => {
                let (_, channel) = self.channel(message.channel.as_deref())?;
                ensure!(
                    channel.joined,
                    "invalid measurement: a member event before the member list"
                );
                channel.members.take_change(&data, event.ends_with("added"))?;
                received.push(Received::Member);
            }
            "pusher:ping" => self.send_frame(1, br#"{"event":"pusher:pong","data":{}}"#)?,
            event if event.ends_with("error") => {
                bail!(
                    "invalid measurement: the server responded with an error: {}",
                    String::from_utf8_lossy(frame.payload)
                )
            }
            _ => {}
        }
        Ok(())
    }

    fn channel(&mut self, name: Option<&str>) -> Result<(usize, &mut Channel)> {
        let found =
            self.channels.iter_mut().enumerate().find(|(_, c)| Some(c.name.as_str()) == name);
        found.with_context(|| format!("invalid measurement: a message of the channel {name:?}, which the client has not subscribed to"))
    }
}

/// The text of a JSON string, or the JSON itself where a server does not encode it as a string.
fn text_of(data: Option<&RawValue>) -> Result<Cow<'_, str>> {
    match data.map(RawValue::get) {
        None => Ok(Cow::Borrowed("{}")),
        Some(raw) if raw.starts_with('"') => Ok(serde_json::from_str(raw)?),
        Some(raw) => Ok(Cow::Borrowed(raw)),
    }
}
