//! What strangers can take away: file descriptors, memory and log lines.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::server::{PATIENCE, Process, eventually};

const TOKEN: &str = "metrics-0123456789";

fn start(limit: u32) -> Process {
    let limits = format!("ulimit -n {limit};");
    Process::start(&limits, "", &[("CLARIM_WORKERS", "2"), ("CLARIM_METRICS_TOKEN", TOKEN)])
}

/// Probes, metrics and publishes are answered.
fn serves_operators(process: &Process) {
    for path in ["/up", "/ready", "/metrics"] {
        let answer = process.get(path, &format!("Authorization: Bearer {TOKEN}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert!(process.publish("news", "hello").starts_with("HTTP/1.1 200"));
}

#[test]
fn the_announced_capacity_is_enforced() {
    let process = start(300);
    eventually("it has a banner", || process.read("out").contains("Capacity    200 connections"));
    let mut clients: Vec<_> = (0..200).map(|_| process.subscribe("news")).collect();
    let mut refused: Vec<_> = (0..60).map(|_| process.connect()).collect();
    for client in &mut refused {
        client.read_until("The server has no room for more connections");
        assert_eq!(client.read_close(), 4100);
    }
    serves_operators(&process);
    clients[199].read_until("hello");
    let lines = process.read("err").matches("connection refused").count();
    assert!((1..50).contains(&lines), "{lines} lines for 60 refusals");
    // Clients that leave make room.
    drop(clients.split_off(100));
    eventually("there is room again", || {
        process.connect().read_or_end("connection_established").is_some()
    });
}

#[test]
fn silent_connections_leave_descriptors_for_the_api() {
    let process = start(256);
    // The server closes those that have waited longest.
    let crowd: Vec<TcpStream> =
        (0..500).map(|_| TcpStream::connect(("127.0.0.1", process.port)).unwrap()).collect();
    serves_operators(&process);
    let mut client = process.subscribe("news");
    assert!(process.publish("news", "still here").starts_with("HTTP/1.1 200"));
    client.read_until("still here");
    drop(crowd);
}

#[test]
fn sessions_of_the_fallback_need_no_descriptors_and_are_limited() {
    let process = start(300);
    let before = process.open_files();
    let mut stream = TcpStream::connect(("127.0.0.1", process.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let open = |n: u32| {
        format!("POST /pusher/app/key/1/s{n}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    };
    let mut answers = Vec::new();
    let count = |answers: &[u8]| answers.windows(12).filter(|it| *it == b"HTTP/1.1 200").count();
    // Many at once, but not so many that the connection is closed.
    for batch in 0..20 {
        let requests: String = (100 * batch..100 * (batch + 1)).map(open).collect();
        stream.write_all(requests.as_bytes()).unwrap();
        while count(&answers) < 100 * (batch as usize + 1) {
            let mut chunk = [0; 64 << 10];
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0, "the connection ended");
            answers.extend_from_slice(&chunk[..read]);
        }
    }
    assert!(process.open_files() < before + 10, "{} files", process.open_files());
    assert!(String::from_utf8_lossy(&answers).contains("c[4100,"), "none is refused");
    let lines = process.read("err").matches("connection refused").count();
    assert!(lines < 100, "{lines} lines");
    serves_operators(&process);
}
