//! A server of blocking threads with channels, presence and client events, and with one fault.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use clarim_protocol::auth::AppKey;
use serde_json::{Value, json};

use crate::servers::floor::{Request, message, respond, upgrade};
use crate::servers::server::Target;

/// A fault. It affects the tenth delivery, unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The delivery is lost.
    Lose,
    /// The delivery is duplicated.
    Double,
    /// A client that has not subscribed receives it, too.
    Misdirect,
    /// It is swapped with the client's next one.
    Swap,
    /// Everything is delayed by 5 ms.
    Delay,
    /// A member list lacks a member.
    ShortList,
    /// A join is not announced.
    NoAdded,
    /// A leave is not announced.
    NoRemoved,
    /// A leave is announced twice.
    RemovedTwice,
    /// A batch is refused.
    Refuse,
    /// New subscribers receive an event from before their subscription.
    Past,
    /// New subscribers miss the first event after their subscription.
    Gap,
}

/// Number of the delivery, join, leave or request that is affected.
const AFFECTED: usize = 10;

#[derive(Default)]
struct State {
    connections: HashMap<usize, TcpStream>,
    channels: HashMap<String, Vec<(usize, Option<Value>)>>,
    delivered: usize,
    joined: usize,
    left: usize,
    requests: usize,
    held: Option<(usize, Vec<u8>)>,
    last: HashMap<String, Vec<u8>>,
    /// Deliveries that a new subscriber still misses.
    denied: HashMap<usize, usize>,
}

/// Starts it on a free port. It runs until the tests end.
pub(super) fn start(fault: Fault) -> Target {
    let state = Arc::<Mutex<State>>::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (id, stream) in listener.incoming().enumerate() {
            let state = state.clone();
            thread::spawn(move || {
                // An error means that the client has disconnected.
                let _ = serve(stream.unwrap(), id, fault, &state);
                state.lock().unwrap().leave(id, fault);
            });
        }
    });
    let key = AppKey::new("bench-key", "bench-secret");
    let scrape = "/up".to_owned();
    Target {
        port,
        app_id: "bench".to_owned(),
        key,
        deflate: false,
        pages: false,
        scrape,
        tls: None,
    }
}

fn serve(
    mut stream: TcpStream,
    id: usize,
    fault: Fault,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    let mut buffer = [0; 4096];
    let mut is_websocket = false;
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        unread.extend_from_slice(&buffer[..n]);
        while let Some((opcode, text, length)) = message(&unread).filter(|_| is_websocket) {
            if opcode == 8 {
                return Ok(());
            }
            state.lock().unwrap().handle_message(id, &serde_json::from_slice(text).unwrap(), fault);
            unread.drain(..length);
        }
        while let Some(request) = Request::parse(&unread).filter(|_| !is_websocket) {
            if let Some(key) = request.websocket_key {
                let mut answer = Vec::new();
                upgrade(&mut answer, key);
                state.lock().unwrap().connections.insert(id, stream.try_clone()?);
                stream.write_all(&answer)?;
                is_websocket = true;
            } else if state.lock().unwrap().post(request.body, fault) {
                respond(&mut stream, "{}")?;
            } else {
                stream.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\n{}")?;
            }
            let length = request.length;
            unread.drain(..length);
        }
    }
}

impl State {
    fn handle_message(&mut self, id: usize, message: &Value, fault: Fault) {
        let data = &message["data"];
        match message["event"].as_str().unwrap() {
            "pusher:subscribe" => {
                let channel = data["channel"].as_str().unwrap().to_owned();
                let member =
                    data["channel_data"].as_str().map(|text| serde_json::from_str(text).unwrap());
                self.join(id, &channel, member.as_ref(), fault);
            }
            "client-bench" => {
                let channel = message["channel"].as_str().unwrap();
                self.send(channel, message.to_string().as_bytes(), Some(id), fault);
            }
            _ => {}
        }
    }

    fn join(&mut self, id: usize, channel: &str, member: Option<&Value>, fault: Fault) {
        let is_affected = self.joined == AFFECTED;
        self.joined += 1;
        if let Some(member) = member.filter(|member| !self.is_member(channel, member)) {
            let untold = fault == Fault::NoAdded && is_affected;
            self.announce(channel, "member_added", member, usize::from(!untold));
        }
        let members = self.channels.entry(channel.to_owned()).or_default();
        members.push((id, member.cloned()));
        let mut hash = serde_json::Map::new();
        for (_, member) in members.iter() {
            let Some(member) = member else { continue };
            hash.insert(member["user_id"].as_str().unwrap().to_owned(), Value::Null);
        }
        if fault == Fault::ShortList && is_affected {
            // Any member, because connections join in any order.
            let one = hash.keys().next().unwrap().clone();
            hash.remove(&one);
        }
        let ids: Vec<&String> = hash.keys().collect();
        let presence = json!({ "presence": { "count": ids.len(), "ids": ids, "hash": hash } });
        let text = json!({
            "event": "pusher_internal:subscription_succeeded",
            "channel": channel,
            "data": if member.is_some() { presence.to_string() } else { "{}".to_owned() },
        });
        self.write(id, &frame(text.to_string().as_bytes()));
        match fault {
            Fault::Past if self.joined > AFFECTED => {
                let last = self.last.get(channel).cloned();
                last.iter().for_each(|last| self.write(id, last));
            }
            Fault::Gap => drop(self.denied.insert(id, 1)),
            _ => {}
        }
    }

    fn leave(&mut self, id: usize, fault: Fault) {
        self.connections.remove(&id);
        let mut gone = Vec::new();
        for (channel, members) in &mut self.channels {
            let Some(at) = members.iter().position(|(other, _)| *other == id) else { continue };
            if let (_, Some(member)) = members.remove(at) {
                gone.push((channel.clone(), member));
            }
        }
        gone.retain(|(channel, member)| !self.is_member(channel, member));
        for (channel, member) in gone {
            let is_affected = self.left == AFFECTED;
            self.left += 1;
            let times = match fault {
                Fault::NoRemoved if is_affected => 0,
                Fault::RemovedTwice if is_affected => 2,
                _ => 1,
            };
            self.announce(&channel, "member_removed", &member, times);
        }
    }

    /// Whether the user has a connection on the channel.
    fn is_member(&self, channel: &str, member: &Value) -> bool {
        let mut members = self.channels.get(channel).into_iter().flatten();
        members.any(|(_, other)| other.as_ref() == Some(member))
    }

    fn announce(&mut self, channel: &str, what: &str, member: &Value, times: usize) {
        let data = member.to_string();
        let text =
            json!({ "event": format!("pusher_internal:{what}"), "channel": channel, "data": data });
        let frame = frame(text.to_string().as_bytes());
        for id in self.subscribers(channel) {
            (0..times).for_each(|_| self.write(id, &frame));
        }
    }

    /// Handles a publish, and returns whether it is accepted.
    fn post(&mut self, body: &[u8], fault: Fault) -> bool {
        self.requests += 1;
        if fault == Fault::Refuse && self.requests == AFFECTED {
            return false;
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return true };
        let one = vec![body.clone()];
        for event in body["batch"].as_array().unwrap_or(&one) {
            let channel = event["channel"].as_str().unwrap();
            let data = &event["data"];
            let text = json!({ "event": "bench", "channel": channel, "data": data });
            self.send(channel, text.to_string().as_bytes(), None, fault);
        }
        true
    }

    fn subscribers(&self, channel: &str) -> Vec<usize> {
        self.channels.get(channel).into_iter().flatten().map(|(id, _)| *id).collect()
    }

    fn send(&mut self, channel: &str, text: &[u8], but: Option<usize>, fault: Fault) {
        if fault == Fault::Delay {
            thread::sleep(Duration::from_millis(5));
        }
        let whole = frame(text);
        self.last.insert(channel.to_owned(), whole.clone());
        for id in self.subscribers(channel).into_iter().filter(|id| Some(*id) != but) {
            if let Some(left) = self.denied.get_mut(&id).filter(|left| **left > 0) {
                *left -= 1;
                continue;
            }
            self.delivered += 1;
            let is_affected = self.delivered == AFFECTED;
            match fault {
                Fault::Lose if is_affected => {}
                Fault::Double if is_affected => self.write(id, &whole.repeat(2)),
                Fault::Misdirect if is_affected => {
                    self.write(id, &whole);
                    let others = self.subscribers(channel);
                    let stranger = self.connections.keys().copied().find(|n| !others.contains(n));
                    stranger.iter().for_each(|stranger| self.write(*stranger, &whole));
                }
                Fault::Swap if is_affected => self.held = Some((id, whole.clone())),
                _ => {
                    self.write(id, &whole);
                    if let Some((_, held)) = self.held.take_if(|(held, _)| *held == id) {
                        self.write(id, &held);
                    }
                }
            }
        }
    }

    /// Blocks everything when a client's socket is full.
    fn write(&mut self, id: usize, bytes: &[u8]) {
        // It may have disconnected.
        let Some(stream) = self.connections.get_mut(&id) else { return };
        let _ = stream.write_all(bytes);
    }
}

fn frame(text: &[u8]) -> Vec<u8> {
    clarim_protocol::Frame::text(text).bytes().to_vec()
}
