//! An endpoint of webhooks, for all nodes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// An endpoint, and the events that it has received.
pub(crate) struct Webhooks {
    address: SocketAddr,
    events: Arc<Mutex<Vec<String>>>,
}

impl Webhooks {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let received = events.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let received = received.clone();
                std::thread::spawn(move || receive(&stream.unwrap(), &received));
            }
        });
        Self { address, events }
    }

    /// The setting of a node.
    pub(crate) fn setting(&self) -> String {
        format!("REVERB_APP_WEBHOOKS=http://{}/", self.address)
    }

    /// All events so far, sorted: `NAME CHANNEL USER`.
    pub(crate) fn events(&self) -> Vec<String> {
        let mut events = self.events.lock().unwrap().clone();
        events.sort_unstable();
        events
    }
}

/// Answers the requests of a connection.
fn receive(mut stream: &TcpStream, events: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|n| n > 0) && line != "\r\n" {
            let header = line.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if line.is_empty() || reader.read_exact(&mut body).is_err() {
            return;
        }
        let body: Value = serde_json::from_slice(&body).unwrap();
        let named = |event: &Value| {
            let fields = ["name", "channel", "user_id"].map(|field| event[field].as_str());
            fields.into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        events.lock().unwrap().extend(body["events"].as_array().unwrap().iter().map(named));
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}
