//! A node, and a publisher's connection to it.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clarim_protocol::auth::AppKey;
use clarim_protocol::rest;
use clarim_testing::{Program, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) fn key() -> AppKey {
    AppKey::new("key", "secret")
}

pub(crate) struct Node {
    pub(crate) program: Program,
    pub(crate) port: u16,
}

impl Node {
    pub(crate) fn start(binary: &Path, bus: &str) -> Self {
        let port = free_port();
        let binary = binary.to_string_lossy().into_owned();
        let bus = format!("CLARIM_SCALING_URL={bus}");
        let state = format!("CLARIM_STATE_DIR=target/bench-{port}");
        let listen = format!("CLARIM_SERVER_PORT={port}");
        let arguments = [
            "CLARIM_APP_ID=1",
            "CLARIM_APP_KEY=key",
            "CLARIM_APP_SECRET=secret",
            "CLARIM_APP_HISTORY=kept:100:120s",
            "CLARIM_SERVER_HOST=127.0.0.1",
            "CLARIM_SCALING_ENABLED=true",
            "CLARIM_WORKERS=1",
            "CLARIM_LOG_LEVEL=error",
            &bus,
            &state,
            &listen,
            &binary,
            "start",
        ];
        Self { program: Program::start("env", &arguments, port), port }
    }

    /// Waits until it is connected to the bus.
    pub(crate) async fn is_ready(&self) -> Result<()> {
        for _ in 0..200 {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream
                .write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            if answer.starts_with("HTTP/1.1 200") {
                // The other nodes need a moment to discover it.
                tokio::time::sleep(Duration::from_millis(200)).await;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the node on port {} is not connected to the bus after 10 s", self.port)
    }
}

/// A publisher's connection, with one request in flight.
pub(crate) struct Publisher {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Publisher {
    pub(crate) async fn connect(node: &Node) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", node.port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 4096] })
    }

    /// Publishes an event, and waits for the response, which must be 200.
    pub(crate) async fn publish(&mut self, channel: &str, data: &str) -> Result<()> {
        let body = format!(r#"{{"name":"e","channel":"{channel}","data":"{data}"}}"#);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let path = "/apps/1/events";
        let query = rest::sign(&key(), "POST", path, &[], body.as_bytes(), now);
        let length = body.len();
        let request = format!(
            "POST {path}?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        let mut read = 0;
        // The response's body is `{}`.
        while !self.buffer.get(..read).is_some_and(|answer| answer.ends_with(b"{}")) {
            match self
                .stream
                .read(self.buffer.get_mut(read..).context("response longer than 4096 bytes")?)
                .await?
            {
                0 => bail!("the node closed the connection"),
                more => read += more,
            }
        }
        let answer = self.buffer.get(..read).unwrap_or_default();
        if !answer.starts_with(b"HTTP/1.1 200")
            || answer.windows(14).any(|w| w == b"clarim-warning")
        {
            bail!("{}", String::from_utf8_lossy(answer));
        }
        Ok(())
    }
}

/// CPU time of a process.
pub(crate) fn cpu(process: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
