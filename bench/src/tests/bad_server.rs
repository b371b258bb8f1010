//! A server of blocking threads with one fault.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use clarim_protocol::auth::AppKey;

use crate::servers::floor::{Request, respond, upgrade};
use crate::servers::server::Target;
use crate::wire::frames::data;

/// A fault. It affects the tenth event, and only the first subscriber where it says "one".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// One subscriber does not receive it.
    Lose,
    /// One subscriber receives it twice.
    Double,
    /// One subscriber receives it after the next one.
    Swap,
    /// One subscriber receives it three times, but neither the previous nor the next one, so that count and
    /// sum are right.
    Disguise,
    /// One subscriber also receives an event that was never published.
    Invent,
    /// The connection of one subscriber is closed.
    Close,
    /// Publishing is refused.
    Refuse,
    /// All events are delayed by 5 ms.
    Delay,
    /// The server stalls for 400 ms.
    Stall,
    /// No fault: every frame arrives in two pieces, the second one with the next frame's first.
    Pieces,
    /// No fault: pings between the events, which need a pong.
    Ping,
}

/// Number of subscribers in the tests.
pub(super) const SUBSCRIBERS: usize = 20;

/// Number of the affected event.
const EVENT: u64 = 10;
/// Number of the last event, after which nothing may be held back.
const LAST: u64 = 99;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Bytes that subscribers have sent after subscribing.
    pub(super) heard: usize,
    subscribers: Vec<TcpStream>,
    published: u64,
    /// A frame or a part of one that is sent with the next event.
    held: Vec<u8>,
}

/// Starts it on a free port. It runs until the tests end.
pub(super) fn start(fault: Fault) -> Target {
    start_with(fault, &Arc::default())
}

/// Starts it with a state that the test can inspect.
pub(super) fn start_with(fault: Fault, state: &Arc<Mutex<State>>) -> Target {
    let state = state.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let state = state.clone();
            // An error means that the client has disconnected.
            thread::spawn(move || drop(serve(stream.unwrap(), fault, &state)));
        }
    });
    Target {
        deflate: false,
        pages: false,
        port,
        app_id: "bench".to_owned(),
        key: AppKey::new("bench-key", "bench-secret"),
        scrape: "/up".to_owned(),
        tls: None,
    }
}

fn serve(mut stream: TcpStream, fault: Fault, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        unread.extend_from_slice(&buffer[..n]);
        while let Some(request) = Request::parse(&unread) {
            if let Some(key) = request.websocket_key {
                let mut answer = Vec::new();
                upgrade(&mut answer, key);
                stream.write_all(&answer)?;
                return websocket(stream, state);
            }
            let body = String::from_utf8_lossy(request.body).into_owned();
            unread.drain(..request.length);
            publish(&mut state.lock().unwrap(), fault, &body);
            if fault == Fault::Refuse {
                stream.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}")?;
            } else {
                respond(&mut stream, "{}")?;
            }
        }
    }
}

/// Subscribes the client, and then counts the bytes that it sends: pongs.
fn websocket(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    let _ = stream.read(&mut buffer)?;
    let text = br#"{"event":"pusher_internal:subscription_succeeded","channel":"bench"}"#;
    {
        // Both under the lock: the client must not see its subscription succeed before it is one.
        let mut state = state.lock().unwrap();
        stream.write_all(&frame(text))?;
        state.subscribers.push(stream.try_clone()?);
    }
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        state.lock().unwrap().heard += n;
    }
}

fn publish(state: &mut State, fault: Fault, body: &str) {
    let event = state.published;
    state.published += 1;
    match fault {
        Fault::Delay => thread::sleep(Duration::from_millis(5)),
        Fault::Stall if event == EVENT => thread::sleep(Duration::from_millis(400)),
        _ => {}
    }
    let (_, data) = body.split_once(r#""data":"#).unwrap();
    let whole = frame(format!(r#"{{"event":"bench","channel":"bench","data":{data}"#).as_bytes());
    let State { subscribers, held, .. } = state;
    for (n, stream) in subscribers.iter_mut().enumerate() {
        let bytes = match fault {
            Fault::Ping => pings(&whole),
            Fault::Pieces => pieces(n, event, &whole, held),
            _ if n > 0 => whole.clone(),
            _ => altered(fault, event, &whole, held),
        };
        // The test may be over already.
        let _ = stream.write_all(&bytes);
        if fault == Fault::Close && event == EVENT && n == 0 {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// The bytes for the first subscriber.
fn altered(fault: Fault, event: u64, whole: &[u8], held: &mut Vec<u8>) -> Vec<u8> {
    let next = event == EVENT + 1;
    match fault {
        Fault::Lose if event == EVENT => Vec::new(),
        Fault::Double if event == EVENT => whole.repeat(2),
        Fault::Disguise if event == EVENT => whole.repeat(3),
        Fault::Disguise if event + 1 == EVENT || next => Vec::new(),
        Fault::Swap if event == EVENT => {
            held.extend_from_slice(whole);
            Vec::new()
        }
        Fault::Swap if next => [whole, held].concat(),
        Fault::Invent if event == EVENT => {
            let data = data(1_000_000, Duration::ZERO, 128);
            [whole, &frame(format!(r#"{{"data":"{data}"}}"#).as_bytes())].concat()
        }
        _ => whole.to_vec(),
    }
}

/// A frame cut in two. The held bytes are the same for all subscribers, and the last one updates them.
fn pieces(n: usize, event: u64, whole: &[u8], held: &mut Vec<u8>) -> Vec<u8> {
    // Cut at a different place each time: in the header, the mark, the numbers, and after them.
    let cut = if event == LAST { whole.len() } else { 1 + event as usize * 2 % (whole.len() - 1) };
    let bytes = [held, &whole[..cut]].concat();
    if n + 1 == SUBSCRIBERS {
        *held = whole[cut..].to_vec();
    }
    bytes
}

/// An event with two pings before it.
fn pings(whole: &[u8]) -> Vec<u8> {
    let event = frame(br#"{"event":"pusher:ping","data":{}}"#);
    [&event, &[0x89, 2, b'h', b'i'][..], whole].concat()
}

fn frame(text: &[u8]) -> Vec<u8> {
    clarim_protocol::Frame::text(text).bytes().to_vec()
}
