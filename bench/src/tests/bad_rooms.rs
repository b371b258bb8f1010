//! A server of blocking threads with channels, members and client events, that does one thing wrong.

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

/// What is done wrong; where it says "one", to the tenth delivery of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Nothing,
    /// One delivery is forgotten.
    Lose,
    /// One comes twice.
    Double,
    /// One comes to somebody else, who has not subscribed.
    Misdirect,
    /// Two change places: it comes with the next to the same client.
    Swap,
    /// Everything waits for 5 ms.
    Delay,
    /// A member list lacks somebody.
    ShortList,
    /// Nobody is told of one who joins.
    NoAdded,
    /// Nobody is told of one who leaves.
    NoRemoved,
    /// One who leaves is told twice.
    RemovedTwice,
    /// One batch is refused.
    Refuse,
    /// A newcomer gets an event from before.
    Past,
    /// What is published while somebody joins does not reach the newcomer.
    Gap,
}

/// The delivery, the join, the leave or the request to which it is done.
const UNLUCKY: usize = 10;

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
    /// Deliveries that a newcomer is denied.
    denied: HashMap<usize, usize>,
}

/// Starts it on a free port. It ends with the tests.
pub(super) fn start(wrong: Wrong) -> Target {
    let state = Arc::<Mutex<State>>::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (id, stream) in listener.incoming().enumerate() {
            let state = state.clone();
            thread::spawn(move || {
                // The client has gone: nothing else ends a connection here.
                let _ = serve(stream.unwrap(), id, wrong, &state);
                state.lock().unwrap().leave(id, wrong);
            });
        }
    });
    let key = AppKey::new("bench-key", "bench-secret");
    Target { port, app_id: "bench".to_owned(), key, deflate: false, scrape: "/up".to_owned() }
}

fn serve(
    mut stream: TcpStream,
    id: usize,
    wrong: Wrong,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut unread, mut buffer, mut is_websocket) = (Vec::new(), [0; 4096], false);
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
            state.lock().unwrap().hear(id, &serde_json::from_slice(text).unwrap(), wrong);
            unread.drain(..length);
        }
        while let Some(request) = Request::parse(&unread).filter(|_| !is_websocket) {
            if let Some(key) = request.websocket_key {
                let mut answer = Vec::new();
                upgrade(&mut answer, key);
                state.lock().unwrap().connections.insert(id, stream.try_clone()?);
                stream.write_all(&answer)?;
                is_websocket = true;
            } else if state.lock().unwrap().post(request.body, wrong) {
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
    fn hear(&mut self, id: usize, message: &Value, wrong: Wrong) {
        let data = &message["data"];
        match message["event"].as_str().unwrap() {
            "pusher:subscribe" => {
                let channel = data["channel"].as_str().unwrap().to_owned();
                let member =
                    data["channel_data"].as_str().map(|text| serde_json::from_str(text).unwrap());
                self.join(id, &channel, member.as_ref(), wrong);
            }
            "client-bench" => {
                let channel = message["channel"].as_str().unwrap();
                self.send(channel, message.to_string().as_bytes(), Some(id), wrong);
            }
            _ => {}
        }
    }

    fn join(&mut self, id: usize, channel: &str, member: Option<&Value>, wrong: Wrong) {
        let unlucky = self.joined == UNLUCKY;
        self.joined += 1;
        if let Some(member) = member.filter(|member| !self.is_there(channel, member)) {
            let untold = wrong == Wrong::NoAdded && unlucky;
            self.tell(channel, "member_added", member, usize::from(!untold));
        }
        let there = self.channels.entry(channel.to_owned()).or_default();
        there.push((id, member.cloned()));
        let mut hash = serde_json::Map::new();
        for (_, member) in there.iter() {
            let Some(member) = member else { continue };
            hash.insert(member["user_id"].as_str().unwrap().to_owned(), Value::Null);
        }
        if wrong == Wrong::ShortList && unlucky {
            // Whoever it is: connections join in any order.
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
        match wrong {
            Wrong::Past if self.joined > UNLUCKY => {
                let last = self.last.get(channel).cloned();
                last.iter().for_each(|last| self.write(id, last));
            }
            Wrong::Gap => drop(self.denied.insert(id, 1)),
            _ => {}
        }
    }

    fn leave(&mut self, id: usize, wrong: Wrong) {
        self.connections.remove(&id);
        let mut gone = Vec::new();
        for (channel, there) in &mut self.channels {
            let Some(at) = there.iter().position(|(other, _)| *other == id) else { continue };
            if let (_, Some(member)) = there.remove(at) {
                gone.push((channel.clone(), member));
            }
        }
        gone.retain(|(channel, member)| !self.is_there(channel, member));
        for (channel, member) in gone {
            let unlucky = self.left == UNLUCKY;
            self.left += 1;
            let times = match wrong {
                Wrong::NoRemoved if unlucky => 0,
                Wrong::RemovedTwice if unlucky => 2,
                _ => 1,
            };
            self.tell(&channel, "member_removed", &member, times);
        }
    }

    /// Whether the user has a connection there.
    fn is_there(&self, channel: &str, member: &Value) -> bool {
        let mut there = self.channels.get(channel).into_iter().flatten();
        there.any(|(_, other)| other.as_ref() == Some(member))
    }

    fn tell(&mut self, channel: &str, what: &str, member: &Value, times: usize) {
        let data = member.to_string();
        let text =
            json!({ "event": format!("pusher_internal:{what}"), "channel": channel, "data": data });
        let frame = frame(text.to_string().as_bytes());
        for id in self.subscribers(channel) {
            (0..times).for_each(|_| self.write(id, &frame));
        }
    }

    /// Whether it is accepted.
    fn post(&mut self, body: &[u8], wrong: Wrong) -> bool {
        self.requests += 1;
        if wrong == Wrong::Refuse && self.requests == UNLUCKY {
            return false;
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return true };
        let one = vec![body.clone()];
        for event in body["batch"].as_array().unwrap_or(&one) {
            let (channel, data) = (event["channel"].as_str().unwrap(), &event["data"]);
            let text = json!({ "event": "bench", "channel": channel, "data": data });
            self.send(channel, text.to_string().as_bytes(), None, wrong);
        }
        true
    }

    fn subscribers(&self, channel: &str) -> Vec<usize> {
        self.channels.get(channel).into_iter().flatten().map(|(id, _)| *id).collect()
    }

    fn send(&mut self, channel: &str, text: &[u8], but: Option<usize>, wrong: Wrong) {
        if wrong == Wrong::Delay {
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
            let unlucky = self.delivered == UNLUCKY;
            match wrong {
                Wrong::Lose if unlucky => {}
                Wrong::Double if unlucky => self.write(id, &whole.repeat(2)),
                Wrong::Misdirect if unlucky => {
                    self.write(id, &whole);
                    let others = self.subscribers(channel);
                    let stranger = self.connections.keys().copied().find(|n| !others.contains(n));
                    stranger.iter().for_each(|stranger| self.write(*stranger, &whole));
                }
                Wrong::Swap if unlucky => self.held = Some((id, whole.clone())),
                _ => {
                    self.write(id, &whole);
                    if let Some((_, held)) = self.held.take_if(|(held, _)| *held == id) {
                        self.write(id, &held);
                    }
                }
            }
        }
    }

    /// One that does not read holds up everybody, once enough has been written to it.
    fn write(&mut self, id: usize, bytes: &[u8]) {
        // It may have gone.
        let Some(stream) = self.connections.get_mut(&id) else { return };
        let _ = stream.write_all(bytes);
    }
}

fn frame(text: &[u8]) -> Vec<u8> {
    clarim_protocol::Frame::text(text).bytes().to_vec()
}
