//! Nodes: processes of `clarim start`.

use std::io;
use std::time::Duration;

use clarim_protocol::auth::AppKey;
use clarim_protocol::rest;
use clarim_testing::{Program, Proxy, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The lease of the nodes in these tests.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

pub(crate) fn key() -> AppKey {
    AppKey::new("key", "s3cret")
}

/// A running node. It ends with this value.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) program: Program,
    /// Proxy to the bus, which a test can break.
    pub(crate) way: Option<Proxy>,
    _directory: TempDir,
}

/// A response of the HTTP API.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn is_partial(&self) -> bool {
        self.head.contains("clarim-partial")
    }

    pub(crate) fn is_local_only(&self) -> bool {
        self.head.contains("clarim-warning: local only")
    }
}

impl Node {
    /// A node on the bus at this URL.
    pub(crate) fn start(url: &str, settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let lease = format!("CLARIM_SCALING_LEASE={}", LEASE.as_secs());
        let port_set = format!("REVERB_SERVER_PORT={port}");
        let url = format!("CLARIM_SCALING_URL={url}");
        let state = format!("CLARIM_STATE_DIR={}", directory.path().display());
        let mut arguments = vec![
            "REVERB_APP_ID=1",
            "REVERB_APP_KEY=key",
            "REVERB_APP_SECRET=s3cret",
            "REVERB_APP_PING_INTERVAL=3600",
            "REVERB_SERVER_HOST=127.0.0.1",
            "REVERB_SCALING_ENABLED=true",
            "CLARIM_METRICS_TOKEN=0123456789abcdef",
            "CLARIM_WORKERS=2",
            "CLARIM_DRAIN_SECONDS=0",
            // Most clients of these tests do not reconnect.
            "CLARIM_SCALING_GAP=event",
            &port_set,
            &url,
            &lease,
            &state,
        ];
        arguments.extend(settings);
        arguments.extend([env!("CARGO_BIN_EXE_clarim"), "start"]);
        let program = Program::start("env", &arguments, port);
        Self { program, way: None, _directory: directory }
    }

    /// A node with a proxy to Redis on `port`.
    pub(crate) fn by_way(port: u16, settings: &[&str]) -> Self {
        let way = Proxy::to(port);
        let node = Self::start(&format!("redis://127.0.0.1:{}", way.port), settings);
        Self { way: Some(way), ..node }
    }

    pub(crate) fn way(&self) -> &Proxy {
        self.way.as_ref().unwrap()
    }

    /// Waits until the node is on the bus and knows this number of other nodes.
    pub(crate) async fn is_ready(&self, others: u64) {
        eventually("the node is ready", async || {
            self.get("/ready").await.status == 200
                && self.metric("clarim_bus_nodes").await == others
        })
        .await;
    }

    /// A count of `/metrics`.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        self.measured(name).await as u64
    }

    /// A value of `/metrics`.
    pub(crate) async fn measured(&self, name: &str) -> f64 {
        let head = "Authorization: Bearer 0123456789abcdef\r\n";
        let reply = self.request("GET", "/metrics", head, "").await;
        let line = reply.body.lines().find(|line| line.starts_with(&format!("{name} ")));
        let value = line.and_then(|line| line.rsplit(' ').next()).expect(name);
        value.parse().unwrap()
    }

    /// Publishes event number `n` of this node.
    pub(crate) async fn publish(&self, channel: &str, n: usize) -> Reply {
        self.publish_but(channel, n, None).await
    }

    pub(crate) async fn publish_but(&self, channel: &str, n: usize, except: Option<&str>) -> Reply {
        let data = json!({ "node": self.program.port, "n": n }).to_string();
        let body = json!({ "name": "E", "channel": channel, "data": data, "socket_id": except });
        self.post("/apps/1/events", &body).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        answered(post(self.program.port, path, body)).await
    }

    /// A signed request to the API, with parameters.
    pub(crate) async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        let query = rest::sign(&key(), "GET", path, parameters, b"", now());
        self.request("GET", &format!("{path}?{query}"), "", "").await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, "", "").await
    }

    async fn request(&self, method: &str, target: &str, head: &str, body: &str) -> Reply {
        answered(request(self.program.port, method, target, head, body)).await
    }
}

async fn answered(request: impl Future<Output = io::Result<Reply>>) -> Reply {
    timeout(Duration::from_secs(90), request).await.expect("an answer").unwrap()
}

/// Sends a signed request to the node on this port, which may be down.
pub(crate) async fn post(port: u16, path: &str, body: &Value) -> io::Result<Reply> {
    let body = body.to_string();
    let query = rest::sign(&key(), "POST", path, &[], body.as_bytes(), now());
    request(port, "POST", &format!("{path}?{query}"), "", &body).await
}

async fn request(
    port: u16,
    method: &str,
    target: &str,
    head: &str,
    body: &str,
) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    // The node may have ended in the middle of it.
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Waits until `it` is true.
pub(crate) async fn eventually(what: &str, mut it: impl AsyncFnMut() -> bool) {
    let whole = async {
        while !it().await {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    assert!(timeout(Duration::from_secs(40), whole).await.is_ok(), "never: {what}");
}
