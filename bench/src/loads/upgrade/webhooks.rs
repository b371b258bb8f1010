//! An endpoint of webhooks, which counts their events.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Time for all events to arrive.
const PATIENCE: Duration = Duration::from_secs(120);

/// Time in which no further event may arrive. The server delays some for three seconds.
const AFTERMATH: Duration = Duration::from_secs(5);

/// The events so far.
#[derive(Debug, Default)]
struct Received {
    distinct: HashSet<Event>,
    repeated: Vec<Event>,
    failure: Option<anyhow::Error>,
}

#[derive(Debug, Clone, Deserialize, PartialEq, Eq, Hash)]
struct Event {
    name: String,
    channel: String,
    #[serde(default)]
    user_id: String,
}

#[derive(Debug, Deserialize)]
struct Body {
    events: Vec<Event>,
}

/// The endpoint.
#[derive(Debug)]
pub(super) struct Webhooks(Arc<Mutex<Received>>);

impl Webhooks {
    pub(super) fn listen(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot listen for webhooks on port {port}"))?;
        let received = Arc::new(Mutex::new(Received::default()));
        let shared = received.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    if let Err(error) = serve(&stream, &shared) {
                        lock(&shared).failure.get_or_insert(error);
                    }
                });
            }
        });
        Ok(Self(received))
    }

    /// Waits until there are this many events, and then for further ones, while `listen` keeps the clients
    /// alive. Fails if an event is missing, unexpected or repeated.
    pub(super) fn wait(
        &self,
        expected: usize,
        mut listen: impl FnMut(Duration) -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while lock(&self.0).distinct.len() < expected && Instant::now() < deadline {
            listen(Duration::from_millis(50))?;
        }
        listen(AFTERMATH)?;
        let mut received = lock(&self.0);
        received.failure.take().map_or(Ok(()), Err)?;
        let count = received.distinct.len();
        let repeated = &received.repeated;
        ensure!(
            count == expected && repeated.is_empty(),
            "invalid measurement: {count} webhook events instead of {expected}, repeated: {repeated:?}"
        );
        Ok(())
    }
}

fn lock(received: &Mutex<Received>) -> std::sync::MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the requests of a connection, until it ends. An incomplete request counts for nothing.
fn serve(mut stream: &TcpStream, received: &Mutex<Received>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|n| n > 0) && line != "\r\n" {
            let header = line.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if line.is_empty() || reader.read_exact(&mut body).is_err() {
            return Ok(());
        }
        let Body { events } = serde_json::from_slice(&body).context("invalid webhook")?;
        let mut all = lock(received);
        for event in events {
            if !all.distinct.insert(event.clone()) {
                all.repeated.push(event);
            }
        }
        drop(all);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_events_are_detected() {
        let port = clarim_testing::free_port();
        let webhooks = Webhooks::listen(port).unwrap();
        let post = |events: &str| {
            let body = format!(r#"{{"time_ms":1,"events":[{events}]}}"#);
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let length = body.len();
            write!(stream, "POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
            let mut answer = [0; 15];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
        };
        let one = r#"{"name":"channel_occupied","channel":"a"}"#;
        let two = r#"{"name":"member_added","channel":"a","user_id":"u1"}"#;
        post(&format!("{one},{two}"));
        let wait =
            |expected| webhooks.wait(expected, |_| Ok(())).map_err(|error| error.to_string());
        wait(2).unwrap();
        post(two);
        let error = wait(2).unwrap_err();
        assert!(error.contains("2 webhook events instead of 2, repeated: [Event"), "{error}");
    }
}
