//! Transcripts: messages of clients and the backend, and the expected replies, line by line.
//!
//! ```text
//! # App `one` is meant unless another is named. Clients are spread over two workers in turn.
//! ana connects                     # also: `to two`, `on worker 1`; the greeting is checked
//! ana> {"event":"pusher:subscribe","data":{"channel":"private-x","auth":"{auth}"}}
//! ana< {"event":"pusher_internal:subscription_succeeded","channel":"private-x","data":'{}'}
//! backend: event E on private-x data '{"n":1}' except ana
//! 30 s pass                        # also: `30 min pass`; everything is swept each second
//! 200 ms pass                      # unswept, but pages are asked about new events
//! a stall of 200 s                 # swept once; `200 s pass unswept`: not at all
//! ana connects as page p1          # also: `on worker 1`; a swept page may get a `page ping`
//! ana acknowledges                 # its last page ping
//! ana is dead                      # does not reply to a close frame
//! ana is closed 4201 Pong reply not received in time
//! nothing else
//! ```
//!
//! - Every frame must be mentioned before the next thing happens; those of one client in order.
//! - `'…'` is a JSON string that holds `…`. JSON inside strings is compared as JSON.
//! - `"…"` in an expected frame is any string.
//! - `{auth}` is the right signature for the message it is in; `{auth as ben}`: for ben's socket;
//!   `{auth by two}`: of app two; `{socket_id}`, `{socket_id of ben}`.
//! - `ana joins C`, `ana joins C as DATA` and `ana signs in as DATA` send the message with the
//!   right signature and take the confirmation.
//! - After each line all workers run. `workers wait` ends this; then there are `worker 1 runs` and
//!   `worker 1 takes 2`.
//! - `inboxes are full` and `inboxes are free` set whether the node has room for client events.
//! - A line that ends with `,`, `:` or `[` goes on in the next one.
//!
//! At the end all clients hang up, and nothing may be left of them.
//!
//! Each transcript is played twice. The second time, the node is handed over to another one after each line,
//! which nobody may notice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use clarim_hub::app::App;
use clarim_hub::{AppIndex, ConnectionAddr, DeliveryAcks, Refusal};
use clarim_protocol::SocketId;
use clarim_protocol::auth::AppKey;
use serde_json::{Value, json};

use crate::harness::{self, Out, World, handover};

type Step = Result<(), String>;

/// Plays a transcript in an app with the default settings.
pub(crate) fn play(transcript: &str) {
    play_with(|_| {}, transcript);
}

/// Plays a transcript in an app with settings of its own. App `two` has the default settings.
pub(crate) fn play_with(settings: impl FnOnce(&mut App), transcript: &str) {
    let mut one = App::new("one", "key-one", "secret-one");
    settings(&mut one);
    let two = App::new("two", "key-two", "secret-two");
    for hand_overs in [None, Some(0)] {
        let world = World::new(vec![one.clone(), two.clone()], 2);
        let keeps_workers = transcript.contains("workers wait");
        let clients = BTreeMap::new();
        let script = Script { world, clients, automatic: true, hand_overs, keeps_workers };
        play_script(script, transcript);
    }
}

fn play_script(mut script: Script, transcript: &str) {
    let mut line = String::new();
    for (number, part) in transcript.lines().enumerate() {
        line.push_str(part.trim());
        if line.ends_with([',', ':', '[']) {
            continue;
        }
        if !line.is_empty() && !line.starts_with('#') {
            script.step(&line).unwrap_or_else(|error| fail(transcript, number, &error));
        }
        line.clear();
    }
    script.unmentioned().unwrap_or_else(|error| fail(transcript, usize::MAX, &error));
    script.end();
}

fn fail(transcript: &str, number: usize, error: &str) -> ! {
    let mut shown = String::new();
    for (at, line) in transcript.lines().enumerate().take(number.saturating_add(1)) {
        shown.push_str(if at == number { "> " } else { "  " });
        shown.push_str(line.trim());
        shown.push('\n');
    }
    panic!("\n{shown}\n{error}\n");
}

struct Script {
    world: World,
    clients: BTreeMap<String, Client>,
    automatic: bool,
    /// The number of hand-overs so far, if there are any.
    hand_overs: Option<u16>,
    /// Whether the transcript depends on the workers of its clients.
    keeps_workers: bool,
}

/// Where a client connects.
struct Place<'a> {
    app: &'a str,
    worker: Option<u16>,
    page: Option<&'a str>,
}

impl Default for Place<'_> {
    fn default() -> Self {
        Self { app: "one", worker: None, page: None }
    }
}

struct Client {
    app: AppIndex,
    addr: Option<ConnectionAddr>,
    socket_id: SocketId,
    refusal: Option<Refusal>,
    got: VecDeque<Out>,
    /// The payload of the last page ping.
    asked: Vec<u8>,
    /// Whether it replies to a close frame.
    is_alive: bool,
}

impl Script {
    fn step(&mut self, line: &str) -> Step {
        if line == "nothing else" {
            return self.unmentioned();
        }
        if let Some((name, frame)) = said(line, "< ") {
            return self.expect_frame(name, frame);
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [name, "is", "closed", code, ..] => self.expect_close(name, code, &rest(line, 4)),
            [name, "is", "refused", code, ..] => self.expect_refusal(name, code, &rest(line, 4)),
            ["channel", name, "has", ..] => self.expect_channel(name, &rest(line, 3)),
            _ => {
                self.unmentioned()?;
                self.act(line, &words)?;
                if self.automatic {
                    self.world.run_all();
                    self.hand_over();
                }
                self.listen();
                Ok(())
            }
        }
    }

    fn act(&mut self, line: &str, words: &[&str]) -> Step {
        if let Some((name, message)) = said(line, "> ") {
            return self.send(name, &quoted(message));
        }
        match *words {
            [name, "connects"] => self.connect(name, &Place::default()),
            [name, "connects", "to", app] => self.connect(name, &Place { app, ..Place::default() }),
            [name, "connects", "on", "worker", worker] => {
                self.connect(name, &Place { worker: Some(number(worker)?), ..Place::default() })
            }
            [name, "connects", "as", "page", page] => {
                self.connect(name, &Place { page: Some(page), ..Place::default() })
            }
            [name, "connects", "as", "page", page, "on", "worker", worker] => {
                let worker = Some(number(worker)?);
                self.connect(name, &Place { page: Some(page), worker, ..Place::default() })
            }
            [name, "hangs", "up"] => self.hang_up(name),
            [name, "closes", "the", "tab"] => {
                let addr = self.addr(name)?;
                let now = self.world.now;
                self.world.desk(addr).close_tab(addr.connection, now);
                self.client(name)?.addr = None;
                Ok(())
            }
            [name, "sends", "a", "ping", "frame"] => {
                let addr = self.addr(name)?;
                let now = self.world.now;
                self.world.desk(addr).ping_frame(addr.connection, now);
                Ok(())
            }
            [name, "sends", "a", "pong", "frame"] => self.pong(name, b""),
            [name, "sends", "a", "pong", "frame", payload] => self.pong(name, payload.as_bytes()),
            [name, "acknowledges"] => {
                let payload = self.client(name)?.asked.clone();
                self.pong(name, &payload)
            }
            [name, "is", "dead"] => {
                self.client(name)?.is_alive = false;
                Ok(())
            }
            [name, "joins", channel] => self.join(name, channel, None),
            [name, "joins", channel, "as", ..] => self.join(name, channel, Some(&rest(line, 4))),
            [name, "signs", "in", "as", ..] => self.sign_in(name, &rest(line, 4)),
            [time, "s", "pass"] => self.pass(number(time)?),
            [time, "ms", "pass"] => self.pass_shortly(number(time)?),
            [time, "min", "pass"] => self.pass(60 * number::<u64>(time)?),
            ["a", "stall", "of", time, "s"] => {
                self.world.pass(Duration::from_secs(number(time)?));
                Ok(())
            }
            [time, "s", "pass", "unswept"] => {
                self.world.now += Duration::from_secs(number(time)?);
                Ok(())
            }
            ["inboxes", "are", state @ ("full" | "free")] => {
                self.world.node.sink().is_full.store(state == "full", Ordering::Relaxed);
                Ok(())
            }
            ["workers", "wait"] => {
                self.automatic = false;
                Ok(())
            }
            ["worker", worker, "runs"] => self.run(worker, usize::MAX),
            ["worker", worker, "takes", entries] => self.run(worker, number(entries)?),
            ["backend:", ..] => self.backend("one", words, line),
            ["backend", "of", app, ..] => {
                self.backend(app.trim_end_matches(':'), &words[2..], line)
            }
            _ => Err("there is no such line".to_owned()),
        }
    }

    /// Hands the node over, if this transcript has hand-overs. The number of workers changes now and then.
    fn hand_over(&mut self) {
        let Some(count) = &mut self.hand_overs else { return };
        *count += 1;
        // Long transcripts take their time.
        if *count > 50 && *count % 100 != 0 {
            return;
        }
        let workers = if self.keeps_workers { 2 } else { 2 + *count / 2 % 2 };
        let addresses = handover::hand_over(&mut self.world, workers);
        for client in self.clients.values_mut().filter(|client| client.addr.is_some()) {
            client.addr = addresses.get(&client.socket_id).copied();
        }
    }

    fn pong(&mut self, name: &str, payload: &[u8]) -> Step {
        let addr = self.addr(name)?;
        let now = self.world.now;
        self.world.desk(addr).pong_frame(addr.connection, payload, now);
        Ok(())
    }

    fn connect(&mut self, name: &str, place: &Place<'_>) -> Step {
        let app = self.app(place.app)?;
        let worker = place.worker.unwrap_or((self.clients.len() % 2) as u16);
        let page = place.page.map(|page| page.parse().unwrap());
        let mut client = Client {
            app,
            addr: None,
            socket_id: SocketId { nonce: 0, place: 0 },
            refusal: None,
            got: VecDeque::new(),
            asked: Vec::new(),
            is_alive: true,
        };
        match self.world.connect_page(app, worker, page.as_ref()) {
            Err(refusal) => client.refusal = Some(refusal),
            Ok(addr) => {
                client.addr = Some(addr);
                client.socket_id = self.world.desk(addr).socket_id(addr.connection);
            }
        }
        let greeted = client.addr.is_some();
        let timeout = self.world.node.apps().get(app).activity_timeout.as_secs();
        self.clients.insert(name.to_owned(), client);
        self.listen();
        if greeted {
            let data = format!(r#"{{"socket_id":"{{socket_id}}","activity_timeout":{timeout}}}"#);
            let greeting = json!({"event": "pusher:connection_established", "data": data});
            self.expect_frame(name, &greeting.to_string())?;
        }
        Ok(())
    }

    fn hang_up(&mut self, name: &str) -> Step {
        let addr = self.addr(name)?;
        self.world.hang_up(addr);
        self.client(name)?.addr = None;
        Ok(())
    }

    fn join(&mut self, name: &str, channel: &str, channel_data: Option<&str>) -> Step {
        let mut data = json!({"channel": channel});
        if channel.starts_with("private-") || channel.starts_with("presence-") {
            data["auth"] = "{auth}".into();
        }
        if let Some(channel_data) = channel_data {
            data["channel_data"] = channel_data.into();
        }
        self.send(name, &json!({"event": "pusher:subscribe", "data": data}).to_string())?;
        self.listen();
        self.confirmed(name, "pusher_internal:subscription_succeeded")
    }

    fn sign_in(&mut self, name: &str, user_data: &str) -> Step {
        let data = json!({"auth": "{auth}", "user_data": user_data});
        self.send(name, &json!({"event": "pusher:signin", "data": data}).to_string())?;
        self.listen();
        self.confirmed(name, "pusher:signin_success")
    }

    fn confirmed(&mut self, name: &str, event: &str) -> Step {
        match self.client(name)?.got.pop_front() {
            Some(out) if shown(&out).contains(event) => Ok(()),
            out => Err(format!("{name} gets no {event}, but {}", shown_or_nothing(out.as_ref()))),
        }
    }

    fn pass(&mut self, seconds: u64) -> Step {
        for _ in 0..seconds {
            self.world.pass(Duration::from_secs(1));
        }
        Ok(())
    }

    fn pass_shortly(&mut self, millis: u64) -> Step {
        // After a hand-over, each page is asked at its connection's turn.
        if self.hand_overs.is_some() {
            return self.pass(1);
        }
        self.world.pass_shortly(Duration::from_millis(millis));
        Ok(())
    }

    fn run(&mut self, worker: &str, entries: usize) -> Step {
        self.world.run(number(worker)?, entries);
        Ok(())
    }

    fn backend(&mut self, app: &str, words: &[&str], line: &str) -> Step {
        let app = self.app(app)?;
        match *words {
            [_, "terminate", user] => self.world.node.terminate(app, user, None),
            [_, "event", name, "on", channel, "data", ..] => {
                let (_, data) = line.split_once(" data ").ok_or("no data")?;
                let (data, except) = match data.rsplit_once(" except ") {
                    Some((data, client)) => (data, Some(self.client(client)?.socket_id)),
                    None => (data, None),
                };
                let key = harness::key(app, channel);
                let frame = harness::event(name, &key.name, &quoted(data));
                self.world.node.publish(
                    &key,
                    &frame,
                    except,
                    DeliveryAcks::default(),
                    self.world.now,
                );
            }
            _ => return Err("the backend cannot do this".to_owned()),
        }
        Ok(())
    }

    fn send(&mut self, name: &str, message: &str) -> Step {
        let addr = self.addr(name)?;
        let message = self.filled(name, message)?;
        self.world.receive(addr, &message);
        Ok(())
    }

    /// Puts socket ids and signatures into `text`.
    fn filled(&self, name: &str, text: &str) -> Result<String, String> {
        let client = &self.clients[name];
        let mut text = text.replace("{socket_id}", &client.socket_id.to_string());
        for (other, client) in &self.clients {
            let placeholder = format!("{{socket_id of {other}}}");
            text = text.replace(&placeholder, &client.socket_id.to_string());
        }
        let apps = self.world.node.apps();
        let mut signers = vec![("{auth}".to_owned(), client.socket_id, &apps.get(client.app).key)];
        for (other, stranger) in &self.clients {
            let placeholder = format!("{{auth as {other}}}");
            signers.push((placeholder, stranger.socket_id, &apps.get(client.app).key));
        }
        for app in apps.iter() {
            signers.push((format!("{{auth by {}}}", app.id), client.socket_id, &app.key));
        }
        for (placeholder, socket_id, key) in signers {
            if text.contains(&placeholder) {
                text = text.replace(&placeholder, &signature(key, socket_id, &text)?);
            }
        }
        Ok(text)
    }

    /// Collects the clients' frames, and removes closed sockets.
    fn listen(&mut self) {
        for client in self.clients.values_mut() {
            let Some(addr) = client.addr else { continue };
            client.got.extend(self.world.take(addr));
            if matches!(client.got.back(), Some(Out::Close(..))) {
                if client.is_alive {
                    self.world.desk(addr).close_reply(addr.connection);
                }
                self.world.hang_up(addr);
                client.addr = None;
            }
        }
        if self.automatic {
            self.world.run_all();
        }
    }

    /// Some messages come in two forms, since no client understands both.
    fn expect_frame(&mut self, name: &str, expected: &str) -> Step {
        self.expect_one_frame(name, expected)?;
        if expected.starts_with(r#"{"event":"pusher:ping""#) {
            return self.expect_one_frame(name, "ping frame");
        }
        let refused = r#"{"event":"pusher:subscription_error""#;
        if let Some(rest) = expected.strip_prefix(refused) {
            let internal = format!(r#"{{"event":"pusher_internal:subscription_error"{rest}"#);
            return self.expect_one_frame(name, &internal);
        }
        Ok(())
    }

    fn expect_one_frame(&mut self, name: &str, expected: &str) -> Step {
        let got = self.client(name)?.got.pop_front();
        if expected == "page ping"
            && let Some(Out::Frame(frame)) = &got
            && frame.bytes()[..2] == [0x89, 8]
        {
            self.client(name)?.asked = frame.payload().to_vec();
            return Ok(());
        }
        let as_expected = match &got {
            Some(Out::Frame(frame)) => match harness::text(frame) {
                Some(text) => {
                    let expected = self.filled(name, &quoted(expected))?;
                    let expected: Value = serde_json::from_str(&expected)
                        .map_err(|error| format!("the expected frame isn't JSON: {error}"))?;
                    let got: Value = serde_json::from_str(text)
                        .map_err(|error| format!("{name} got invalid JSON, {error}: {text}"))?;
                    agrees(&expected, &got)
                }
                None => expected == "ping frame" && frame.bytes()[..] == [0x89, 0],
            },
            Some(Out::Close(..)) | None => false,
        };
        if as_expected {
            return Ok(());
        }
        Err(format!("{name} got {}", shown_or_nothing(got.as_ref())))
    }

    fn expect_close(&mut self, name: &str, code: &str, reason: &str) -> Step {
        match self.client(name)?.got.pop_front() {
            Some(Out::Close(c, r)) if c.get().to_string() == code && r == reason => Ok(()),
            out => Err(format!("{name} got {}", shown_or_nothing(out.as_ref()))),
        }
    }

    fn expect_refusal(&mut self, name: &str, code: &str, message: &str) -> Step {
        match self.client(name)?.refusal.take() {
            Some(r) if r.code.get().to_string() == code && r.message == message => Ok(()),
            refusal => Err(format!("{name}: {refusal:?}")),
        }
    }

    /// `2 subscriptions`, `3 subscriptions of 2 users: 1 7`, `an event`, `nothing`.
    fn expect_channel(&self, channel: &str, expected: &str) -> Step {
        let key = harness::key(self.app("one")?, channel);
        let state = self.world.node.channel(&key, self.world.now);
        let users: Vec<String> =
            self.world.node.users(&key).iter().map(|id| id.as_str().to_owned()).collect();
        assert_eq!(users.len(), state.users);
        let cached = state.cached.is_some();
        let actual = match (state.subscriptions, users.len()) {
            (0, 0) if cached => "an event".to_owned(),
            (0, 0) => "nothing".to_owned(),
            (n, 0) => format!("{n} subscriptions"),
            (n, m) => format!("{n} subscriptions of {m} users: {}", users.join(" ")),
        };
        if actual == expected { Ok(()) } else { Err(format!("it has {actual}")) }
    }

    fn unmentioned(&self) -> Step {
        for (name, client) in &self.clients {
            if let Some(out) = client.got.front() {
                return Err(format!("nobody mentioned that {name} got {}", shown(out)));
            }
            if let Some(refusal) = &client.refusal {
                return Err(format!("nobody mentioned that {name} was refused: {refusal:?}"));
            }
        }
        Ok(())
    }

    fn end(mut self) {
        for client in self.clients.values() {
            if let Some(addr) = client.addr {
                self.world.hang_up(addr);
            }
        }
        self.world.assert_empty();
    }

    fn app(&self, id: &str) -> Result<AppIndex, String> {
        self.world.node.apps().find_by_id(id).ok_or_else(|| format!("there is no app {id}"))
    }

    fn client(&mut self, name: &str) -> Result<&mut Client, String> {
        self.clients.get_mut(name).ok_or_else(|| format!("who is {name}?"))
    }

    fn addr(&mut self, name: &str) -> Result<ConnectionAddr, String> {
        self.client(name)?.addr.ok_or_else(|| format!("{name} is not connected"))
    }
}

/// `ana> …` → ana and …
fn said<'a>(line: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let (name, what) = line.split_once(mark)?;
    name.bytes().all(|b| b.is_ascii_alphanumeric()).then_some((name, what))
}

/// The line without its first words.
fn rest(line: &str, words: usize) -> String {
    line.splitn(words + 1, ' ').nth(words).unwrap_or_default().to_owned()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

/// Turns `'…'` outside of strings into JSON strings.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    let mut left = text;
    while let Some(at) = left.find(['"', '\'']) {
        out.push_str(&left[..at]);
        let mark = left.as_bytes()[at];
        let mut end = at + 1;
        while end < left.len() && left.as_bytes()[end] != mark {
            end += if mark == b'"' && left.as_bytes()[end] == b'\\' { 2 } else { 1 };
        }
        let inner = &left[at + 1..end.min(left.len())];
        if mark == b'"' {
            out.push_str(&left[at..(end + 1).min(left.len())]);
        } else {
            out.push_str(&Value::from(inner).to_string());
        }
        left = left.get(end + 1..).unwrap_or_default();
    }
    out.push_str(left);
    out
}

/// The signature that the message needs: of a sign-in or of a subscription.
fn signature(key: &AppKey, socket_id: SocketId, message: &str) -> Result<String, String> {
    let message: Value = serde_json::from_str(message).map_err(|error| error.to_string())?;
    let data = match &message["data"] {
        Value::String(inner) => serde_json::from_str(inner).map_err(|error| error.to_string())?,
        data => data.clone(),
    };
    if let Some(user_data) = data["user_data"].as_str() {
        return Ok(key.sign_user(socket_id, user_data));
    }
    let channel = data["channel"].as_str().ok_or("nothing to sign")?;
    Ok(key.sign_channel(socket_id, channel, data["channel_data"].as_str()))
}

fn agrees(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::String(any), Value::String(_)) if any == "…" => true,
        (Value::String(expected), Value::String(got)) => {
            let inside = container(expected).zip(container(got));
            expected == got || inside.is_some_and(|(expected, got)| agrees(&expected, &got))
        }
        (Value::Object(expected), Value::Object(got)) => {
            expected.len() == got.len()
                && expected.iter().all(|(k, e)| got.get(k).is_some_and(|g| agrees(e, g)))
        }
        (Value::Array(expected), Value::Array(got)) => {
            expected.len() == got.len() && expected.iter().zip(got).all(|(e, g)| agrees(e, g))
        }
        (expected, got) => expected == got,
    }
}

/// The object or array that a string holds.
fn container(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(|value: &Value| value.is_object() || value.is_array())
}

fn shown(out: &Out) -> String {
    match out {
        Out::Frame(frame) => match harness::text(frame) {
            Some(text) => text.to_owned(),
            None => format!("control frame {:?}", frame.bytes()),
        },
        Out::Close(code, reason) => format!("closed {code} {reason}"),
    }
}

fn shown_or_nothing(out: Option<&Out>) -> String {
    out.map_or_else(|| "nothing".to_owned(), shown)
}

/// Tests of the transcript language: wrong transcripts fail.
mod tests {
    use super::*;

    fn fails(transcript: &str, because: &str) {
        let panic = std::panic::catch_unwind(|| play(transcript)).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains(because), "{message}");
    }

    const JOINED: &str = r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"news"}}
    "#;

    #[test]
    fn a_frame_that_is_not_mentioned_fails_the_transcript() {
        fails(JOINED, "nobody mentioned that ana got");
    }

    #[test]
    fn data_that_should_be_a_string_must_be_one() {
        let object = r#"ana< {"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":{}}"#;
        fails(&format!("{JOINED}{object}"), "ana got {\"event\"");
    }

    #[test]
    fn a_frame_that_does_not_come_fails_the_transcript() {
        fails("ana connects\nana< {}", "ana got nothing");
    }
}
