//! A client that sends mutated requests and frames to all of the port for a minute, while memory and
//! descriptors are watched: HTTP, WebSocket, the HTTP fallback, and HTTP/2 over TLS.
//!
//! `MUTATIONS_SEED` repeats a run, as far as the threads allow.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::server::{Process, eventually};
use super::tls::Certificate;

const TIME: Duration = Duration::from_secs(60);
const CLIENTS: u64 = 3;

/// Connections that each client leaves open.
const LEFT_OPEN: usize = 50;

/// Memory that the server may take for all of this, in KiB.
const MAX_GROWTH: u64 = 200 << 10;

/// Values at which lengths and numbers break.
const NUMBERS: [&str; 8] =
    ["0", "-1", "1", "4294967296", "18446744073709551616", "99999", "0x10", "1e9"];

trait Wire: Read + Write + Send {}
impl<W: Read + Write + Send> Wire for W {}

/// A valid beginning of a connection, or nearly.
fn templates(rng: &mut Rng) -> Vec<u8> {
    let session = rng.u32(..50);
    let handshake = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let websocket = format!("GET /app/key?protocol=7&client=js&version=8 HTTP/1.1\r\n{handshake}");
    let body =
        r#"{"name":"e","channels":["news","private-x"],"data":"{\"a\":1}","socket_id":"1.1"}"#;
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let signature =
        "auth_key=key&auth_timestamp=1700000000&auth_version=1.0&auth_signature=00&body_md5=00";
    match rng.u32(..10) {
        0 => format!(
            "GET /{} HTTP/1.1\r\nHost: x\r\n\r\n",
            ["up", "ready", "metrics", ""][rng.usize(..4)]
        )
        .into(),
        1 => post(&format!("/apps/1/events?{signature}"), body).into(),
        2 => {
            format!("GET /apps/1/channels/presence-x/users?{signature} HTTP/1.1\r\nHost: x\r\n\r\n")
                .into()
        }
        3 => post(&format!("/pusher/app/key/1/s{session}/xhr?protocol=7&n=1"), "").into(),
        4 => post(&format!("/pusher/app/key/1/s{session}/xhr_streaming?n=2"), "").into(),
        5 => post(
            &format!("/pusher/app/key/1/s{session}/xhr_send?n=3"),
            r#"["{\"event\":\"pusher:ping\"}"]"#,
        )
        .into(),
        6 => {
            let chunked = "POST /apps/1/batch_events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
            format!("{chunked}5\r\nhello\r\n0\r\n\r\n").into()
        }
        _ => {
            let mut bytes = websocket.into_bytes();
            for _ in 0..rng.usize(..6) {
                bytes.extend(frame(rng));
            }
            bytes
        }
    }
}

/// A masked frame of a client.
fn frame(rng: &mut Rng) -> Vec<u8> {
    let payload: &[u8] = match rng.u32(..6) {
        0 => br#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#,
        1 => br#"{"event":"pusher:subscribe","data":{"channel":"presence-x","auth":"key:00","channel_data":"{\"user_id\":1}"}}"#,
        2 => br#"{"event":"client-typing","channel":"news","data":{"a":[1,2,{"b":null}]}}"#,
        3 => br#"{"event":"pusher:signin","data":{"auth":"key:00","user_data":"{\"id\":\"1\"}"}}"#,
        4 => b"\x03\xe8bye",
        _ => br#"{"event":"pusher:ping","data":"{}"}"#,
    };
    let opcode = [0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0x8a, 0xc1][rng.usize(..8)];
    let mut frame = vec![opcode];
    match u8::try_from(payload.len()) {
        Ok(short @ ..=125) => frame.push(0x80 | short),
        _ => {
            frame.push(0xfe);
            frame.extend((payload.len() as u16).to_be_bytes());
        }
    }
    let mask = [0; 4].map(|_: u8| rng.u8(..));
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The preface of HTTP/2, settings, and some requests.
fn http2(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    };
    // INITIAL_WINDOW_SIZE: with 0, no response can be sent.
    let window = [0_u32, 65_535, 1 << 31][rng.usize(..3)].to_be_bytes();
    bytes.extend(frame(4, 0, 0, &[&[0, 4][..], &window].concat()));
    for n in 0..rng.u32(..8) {
        let path: &[u8] = [&b"/up"[..], b"/apps/1/channels", b"/pusher/app/key/1/a/xhr_streaming"]
            [rng.usize(..3)];
        let method = if path.starts_with(b"/pusher") { 0x83 } else { 0x82 };
        let mut head = vec![method, 0x87, 0x41, 1, b'x', 0x04, path.len() as u8];
        head.extend(path);
        bytes.extend(frame(1, 5, 2 * n + 1, &head));
        let extra = rng.u8(..10);
        bytes.extend(frame(extra, rng.u8(..), rng.u32(..9), &[0; 4]));
    }
    bytes
}

/// Changes bytes somewhere, or nothing.
fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.usize(..5) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.usize(..bytes.len());
        let to = rng.usize(at..=bytes.len().min(at + 64));
        match rng.u32(..8) {
            0 => bytes[at] ^= 1 << rng.u32(..8),
            1 => bytes[at] = [0, 0x7f, 0x80, 0xff, b'\r', b'\n', b'"'][rng.usize(..7)],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..to)),
            4 => {
                let copied = bytes[at..to].to_vec();
                let times = [1, 2, 500][rng.usize(..3)];
                let place = rng.usize(..=bytes.len());
                bytes.splice(place..place, copied.repeat(times));
            }
            5 => {
                let number = NUMBERS[rng.usize(..NUMBERS.len())];
                let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                bytes.splice(at..at + digits, number.bytes());
            }
            6 => drop(
                bytes.splice(at..at, (0..rng.usize(..40)).map(|_| rng.u8(..)).collect::<Vec<_>>()),
            ),
            _ => bytes.extend_from_within(at..to),
        }
    }
}

/// A server to attack.
struct Target {
    port: u16,
    /// Trusts the server's certificate, if it has one.
    tls: Option<Arc<ClientConfig>>,
}

impl Target {
    fn connect(&self) -> Option<Box<dyn Wire>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let Some(tls) = &self.tls else { return Some(Box::new(stream)) };
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(tls.clone(), name).unwrap();
        Some(Box::new(StreamOwned::new(session, stream)))
    }

    /// Sends mutations until `is_over`.
    fn attack(&self, mut rng: Rng, is_over: &AtomicBool) -> u64 {
        let mut left_open = VecDeque::new();
        let mut sent = 0;
        while !is_over.load(Ordering::Relaxed) {
            let Some(mut wire) = self.connect() else { continue };
            let is_http2 = self.tls.is_some() && rng.bool();
            let mut bytes = if is_http2 { http2(&mut rng) } else { templates(&mut rng) };
            mutate(&mut bytes, &mut rng);
            // In pieces, so that each parser sees incomplete input.
            for piece in bytes.chunks(rng.usize(1..2_000)) {
                if wire.write_all(piece).and_then(|()| wire.flush()).is_err() {
                    break;
                }
            }
            if rng.u32(..4) > 0 {
                let _ = wire.read(&mut [0; 16 << 10]);
            }
            sent += 1;
            if rng.u32(..8) == 0 {
                left_open.push_back(wire);
            }
            if left_open.len() > LEFT_OPEN {
                left_open.pop_front();
            }
        }
        sent
    }
}

/// The memory and the descriptors of a server.
struct Usage {
    memory: u64,
    files: usize,
}

impl Usage {
    fn of(process: &Process) -> Self {
        Self { memory: resident(process), files: process.open_files() }
    }

    /// Says what has grown too much.
    fn grown(&self, process: &Process) -> Option<String> {
        let now = Self::of(process);
        let memory = now.memory.saturating_sub(self.memory);
        // Connections that are left open, in use, and about to be closed.
        let files = now.files.saturating_sub(self.files);
        (memory > MAX_GROWTH || files > 8 * LEFT_OPEN)
            .then(|| format!("{memory} KiB and {files} files more"))
    }
}

fn resident(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn mutated_input_for_a_minute_leaves_nothing_behind() {
    let seed = std::env::var("MUTATIONS_SEED")
        .map_or_else(|_| fastrand::u64(..), |it| it.parse().unwrap());
    let certificates = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(certificates.path());
    let mut tls = certificate.client.clone();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tls = Some(Arc::new(tls));
    let environment = [("CLARIM_COMPRESSION", "true"), ("CLARIM_WORKERS", "2")];
    let plain = Process::start("", "", &environment);
    let secure = [&environment[..], &certificate.settings()].concat();
    let secure = Process::start("", "", &secure);
    let processes = [&plain, &secure];
    let before = processes.map(Usage::of);
    let mut problem = None;
    let targets = [Target { port: plain.port, tls: None }, Target { port: secure.port, tls }];
    let is_over = AtomicBool::new(false);
    let sent: u64 = std::thread::scope(|scope| {
        let is_over = &is_over;
        let clients: Vec<_> = targets
            .iter()
            .flat_map(|target| (0..CLIENTS).map(move |n| (target, n)))
            .map(|(target, n)| {
                let rng = Rng::with_seed(seed.wrapping_add(n));
                scope.spawn(move || target.attack(rng, is_over))
            })
            .collect();
        let end = Instant::now() + TIME;
        while Instant::now() < end && problem.is_none() {
            std::thread::sleep(Duration::from_secs(1));
            let grown = processes.iter().zip(&before).map(|(process, usage)| usage.grown(process));
            problem = grown.flatten().next();
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(sent > 500, "only {sent} connections in a minute");
    assert!(plain.publish("news", "still here").starts_with("HTTP/1.1 200"), "seed {seed}");
    assert_eq!(problem, None, "seed {seed}");
    for (process, usage) in processes.iter().zip(&before) {
        eventually("all descriptors are closed", || process.open_files() <= usage.files + 4);
        let log = process.read("err");
        assert!(!log.contains("panicked"), "seed {seed}: {log}");
    }
}
