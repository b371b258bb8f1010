//! A client of several channels, that has members, whispers and leaves. Nothing it does waits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use clarim_protocol::SocketId;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::servers::server::Target;
use crate::simulation::account::{Account, Stream};
use crate::simulation::members::{Members, User, channel_data};
use crate::wire::frames::{Arrival, Frame, arrival, first};
use crate::wire::websocket::{begin_to_connect, handshake, masked};

/// What has come, of which the session itself does not know what it means.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard {
    /// It may subscribe now.
    Connected,
    /// It has been let into this one of its channels.
    Joined(usize),
    Event(Arrival),
    /// Somebody has joined or left.
    Member,
    /// The server has closed it: with a code, or without a word.
    Closed(Option<u16>),
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: String,
    user: Option<User>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) joined: bool,
    pub(crate) members: Members,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    stream: TcpStream,
    target: Target,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    upgraded: bool,
    socket_id: Option<SocketId>,
    /// Where the mark stood in the last event.
    mark: usize,
    pub(crate) channels: Vec<Channel>,
    pub(crate) accounts: HashMap<Stream, Account>,
    /// It does not read.
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

impl Session {
    /// Begins to connect, as client `n` of all that this process has.
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
            unsent: handshake(target).into_bytes(),
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

    /// Subscribes, at once or as soon as it is connected. The streams are those that it will hear.
    pub(crate) fn join(
        &mut self,
        name: String,
        user: Option<User>,
        streams: Vec<Stream>,
    ) -> Result<()> {
        let members = Members::default();
        self.channels.push(Channel { name, user, streams, joined: false, members });
        if self.socket_id.is_some() {
            self.subscribe(self.channels.len() - 1)?;
        }
        Ok(())
    }

    fn subscribe(&mut self, place: usize) -> Result<()> {
        let Channel { name, user, .. } = &self.channels[place];
        let id = self.socket_id.context("it is not connected yet")?;
        let mut data = serde_json::json!({ "channel": name });
        let user_data = user.map(channel_data);
        if user.is_some() || name.starts_with("private-") {
            data["auth"] = self.target.key.sign_channel(id, name, user_data.as_deref()).into();
        }
        if let Some(user_data) = user_data {
            data["channel_data"] = user_data.into();
        }
        let text = serde_json::json!({ "event": "pusher:subscribe", "data": data });
        self.say(1, text.to_string().as_bytes())
    }

    /// Sends a client event whose data needs no escaping.
    pub(crate) fn whisper(&mut self, channel: &str, data: &str) -> Result<()> {
        let text = format!(r#"{{"event":"client-bench","channel":"{channel}","data":"{data}"}}"#);
        self.say(1, text.as_bytes())
    }

    /// Closes politely: the server reads all that was sent before.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.say(8, &1000u16.to_be_bytes())
    }

    fn say(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.unsent.extend_from_slice(&masked(opcode, payload)?);
        self.send();
        Ok(())
    }

    /// Sends what could not be sent before. What is wrong with the connection is told when it is read.
    pub(crate) fn send(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(_) => return,
            }
        }
    }

    /// Reads all there is. `ended`: the end was told, too.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        ended: bool,
        heard: &mut Vec<Heard>,
    ) -> Result<()> {
        while self.closed.is_none() {
            match self.stream.read(buffer) {
                Ok(0) => self.end(None, heard),
                Ok(n) => {
                    self.take(&buffer[..n], heard)?;
                    // Less than asked for: the socket is empty, and the next bytes wake us again.
                    if n < buffer.len() && !ended {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.end(None, heard),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn end(&mut self, code: Option<u16>, heard: &mut Vec<Heard>) {
        if self.closed.is_none() {
            self.closed = Some(code);
            heard.push(Heard::Closed(code));
        }
    }

    fn take(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Result<()> {
        if self.unread.is_empty() && self.upgraded {
            let used = self.take_frames(bytes, heard)?;
            self.unread.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let mut used = 0;
        let head = unread.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = head.filter(|_| !self.upgraded) {
            let head = String::from_utf8_lossy(&unread[..end]);
            ensure!(head.starts_with("HTTP/1.1 101"), "the server refuses: {head}");
            self.upgraded = true;
            used = end + 4;
        }
        if self.upgraded {
            used += self.take_frames(&unread[used..], heard)?;
        }
        unread.drain(..used);
        self.unread = unread;
        Ok(())
    }

    /// Takes the whole frames at the front of `bytes`. How much of it they are.
    fn take_frames(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Result<usize> {
        let mut used = 0;
        while let Some(frame) = first(&bytes[used..])? {
            used += frame.length;
            match frame.opcode {
                8 => {
                    let code = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    self.end(code, heard);
                }
                9 => self.say(10, frame.payload)?,
                1 => self.take_text(frame, heard)?,
                _ => {}
            }
        }
        Ok(used)
    }

    fn take_text(&mut self, frame: Frame<'_>, heard: &mut Vec<Heard>) -> Result<()> {
        if let Some(arrival) = arrival(frame.payload, &mut self.mark) {
            heard.push(Heard::Event(arrival));
            return Ok(());
        }
        let message: Message<'_> = serde_json::from_slice(frame.payload)
            .with_context(|| format!("not a result: {}", String::from_utf8_lossy(frame.payload)))?;
        let data = text_of(message.data)?;
        match message.event.as_ref() {
            "pusher:connection_established" => {
                let Greeting { socket_id } = serde_json::from_str(&data)?;
                self.socket_id = Some(socket_id);
                heard.push(Heard::Connected);
                for place in 0..self.channels.len() {
                    self.subscribe(place)?;
                }
            }
            "pusher_internal:subscription_succeeded" => {
                let (place, channel) = self.channel(message.channel.as_deref())?;
                ensure!(!channel.joined, "not a result: a subscription succeeded twice");
                channel.joined = true;
                if channel.user.is_some() {
                    channel.members.take_list(&data)?;
                }
                heard.push(Heard::Joined(place));
            }
            event @ ("pusher_internal:member_added" | "pusher_internal:member_removed") => {
                let (_, channel) = self.channel(message.channel.as_deref())?;
                ensure!(channel.joined, "not a result: a member was told before the list was");
                channel.members.take_change(&data, event.ends_with("added"))?;
                heard.push(Heard::Member);
            }
            "pusher:ping" => self.say(1, br#"{"event":"pusher:pong","data":{}}"#)?,
            event if event.ends_with("error") => {
                bail!(
                    "not a result: the server refuses: {}",
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
        found.with_context(|| format!("not a result: nobody has subscribed to {name:?}"))
    }
}

/// The text of a string, or of what should be one.
fn text_of(data: Option<&RawValue>) -> Result<Cow<'_, str>> {
    match data.map(RawValue::get) {
        None => Ok(Cow::Borrowed("{}")),
        Some(raw) if raw.starts_with('"') => Ok(serde_json::from_str(raw)?),
        Some(raw) => Ok(Cow::Borrowed(raw)),
    }
}
