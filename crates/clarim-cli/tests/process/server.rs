//! A server as a process, and a client of few words.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clarim_protocol::auth::AppKey;
use clarim_protocol::rest;
use clarim_testing::free_port;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, killed with its owner.
pub(crate) struct Process {
    child: Child,
    pub(crate) directory: TempDir,
    pub(crate) port: u16,
}

impl Process {
    /// Starts `clarim` with these arguments, through a shell that first runs `before`.
    pub(crate) fn start(before: &str, arguments: &str, environment: &[(&str, &str)]) -> Self {
        Self::spawn(before, &format!("{arguments} >out 2>err"), environment).listening()
    }

    fn listening(self) -> Self {
        // The file is there as soon as the shell has run.
        let log = self.directory.path().join("err");
        let listens = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("listening"));
        eventually("it listens", listens);
        self
    }

    /// Starts a copy of `clarim` in the server's directory.
    pub(crate) fn start_copy() -> Self {
        let directory = TempDir::new().unwrap();
        let copy = directory.path().join("clarim");
        std::fs::copy(env!("CARGO_BIN_EXE_clarim"), &copy).unwrap();
        Self::run(directory, "", copy.to_str().unwrap(), ">out 2>err", &[]).listening()
    }

    /// Starts this program, which is `clarim`.
    pub(crate) fn start_as(program: &std::path::Path) -> Self {
        let directory = TempDir::new().unwrap();
        Self::run(directory, "", program.to_str().unwrap(), ">out 2>err", &[]).listening()
    }

    /// Starts `clarim` as systemd does with the socket of a unit.
    pub(crate) fn start_on(socket: &std::net::TcpListener) -> Self {
        let stdin = Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()));
        let directory = TempDir::new().unwrap();
        let before = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$;";
        let binary = env!("CARGO_BIN_EXE_clarim");
        let mut process = Self::run_with(stdin, directory, before, binary, ">out 2>err", &[]);
        process.port = socket.local_addr().unwrap().port();
        process.listening()
    }

    pub(crate) fn spawn(before: &str, arguments: &str, environment: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        Self::run(directory, before, env!("CARGO_BIN_EXE_clarim"), arguments, environment)
    }

    fn run(
        directory: TempDir,
        before: &str,
        binary: &str,
        arguments: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::run_with(Stdio::null(), directory, before, binary, arguments, environment)
    }

    fn run_with(
        stdin: Stdio,
        directory: TempDir,
        before: &str,
        binary: &str,
        arguments: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let port = free_port();
        let script = format!("{before} exec {binary} start --port {port} {arguments}");
        let child = Command::new("sh")
            .args(["-c", &script])
            .current_dir(directory.path())
            .env_clear()
            .envs([("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "key")])
            .envs([("REVERB_APP_SECRET", "s3cret-of-the-app"), ("REVERB_SERVER_HOST", "127.0.0.1")])
            .envs(environment.iter().copied())
            .stdin(stdin)
            .spawn()
            .unwrap();
        Self { child, directory, port }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(file)).unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Number of its open files.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    pub(crate) fn logs(&self, text: &str) {
        eventually(text, || self.read("err").contains(text));
    }

    pub(crate) fn subscribe(&self, channel: &str) -> Client {
        self.subscribe_as("key", channel)
    }

    pub(crate) fn subscribe_as(&self, key: &str, channel: &str) -> Client {
        let mut client = self.connect_as(key);
        client.read_until("connection_established");
        client.say(&format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#));
        client.read_until("subscription_succeeded");
        client
    }

    pub(crate) fn connect(&self) -> Client {
        self.connect_as("key")
    }

    pub(crate) fn connect_as(&self, key: &str) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { stream, unread: Vec::new() };
        let handshake = format!(
            "GET /app/{key}?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.stream.write_all(handshake.as_bytes()).unwrap();
        client
    }

    pub(crate) fn get(&self, path: &str, head: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn publish(&self, channel: &str, data: &str) -> String {
        self.publish_as(("1", "key", "s3cret-of-the-app"), channel, data)
    }

    /// Publishes to all subscribers but one.
    pub(crate) fn publish_except(&self, channel: &str, data: &str, socket_id: &str) -> String {
        let more = format!(r#","socket_id":"{socket_id}""#);
        self.post(("1", "key", "s3cret-of-the-app"), channel, data, &more)
    }

    /// Publishes with an idempotency key.
    pub(crate) fn publish_once(&self, channel: &str, data: &str, key: &str) -> String {
        let more = format!(r#","idempotency_key":"{key}""#);
        self.post(("1", "key", "s3cret-of-the-app"), channel, data, &more)
    }

    pub(crate) fn publish_as(&self, app: (&str, &str, &str), channel: &str, data: &str) -> String {
        self.post(app, channel, data, "")
    }

    fn post(
        &self,
        (id, key, secret): (&str, &str, &str),
        channel: &str,
        data: &str,
        more: &str,
    ) -> String {
        let body = format!(r#"{{"name":"e","channel":"{channel}","data":"{data}"{more}}}"#);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let key = AppKey::new(key, secret);
        let path = format!("/apps/{id}/events");
        let query = rest::sign(&key, "POST", &path, &[], body.as_bytes(), now);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST {path}?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    /// What came with the last thing that was waited for, and after it.
    pub(crate) unread: Vec<u8>,
}

impl Client {
    pub(crate) fn say(&mut self, text: &str) {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 126);
        self.stream.write_all(&[0x81, 0x80 | length, 0, 0, 0, 0]).unwrap();
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Sends the first bytes of a message.
    pub(crate) fn send_begin(&mut self, text: &str, bytes: usize) {
        let length = u8::try_from(text.len()).unwrap();
        self.stream.write_all(&[0x81, 0x80 | length, 0, 0, 0, 0]).unwrap();
        self.stream.write_all(&text.as_bytes()[..bytes]).unwrap();
    }

    /// Sends the rest of a message.
    pub(crate) fn send_rest(&mut self, text: &str, bytes: usize) {
        self.stream.write_all(&text.as_bytes()[bytes..]).unwrap();
    }

    /// Whether it gets this text before the connection ends.
    pub(crate) fn read_or_end(&mut self, text: &str) -> Option<()> {
        while !self.unread.windows(text.len()).any(|window| window == text.as_bytes()) {
            if !self.has_more() {
                return None;
            }
        }
        Some(())
    }

    pub(crate) fn read_until(&mut self, text: &str) {
        self.skip_to(text.as_bytes());
        self.unread.drain(..text.len());
    }

    /// The code of the close frame.
    pub(crate) fn read_close(&mut self) -> u16 {
        self.skip_to(&[0x88]);
        while self.unread.len() < 4 {
            self.read("its code");
        }
        u16::from_be_bytes([self.unread[2], self.unread[3]])
    }

    pub(crate) fn skip_to(&mut self, wanted: &[u8]) {
        loop {
            let found = self.unread.windows(wanted.len()).position(|window| window == wanted);
            if let Some(at) = found {
                self.unread.drain(..at);
                return;
            }
            self.read(&String::from_utf8_lossy(wanted));
        }
    }

    pub(crate) fn read(&mut self, awaited: &str) {
        assert!(self.has_more(), "closed while waiting for {awaited}");
    }

    /// Reads on. `false`: the connection has ended.
    pub(crate) fn has_more(&mut self) -> bool {
        let mut buffer = [0; 1024];
        let n = self.stream.read(&mut buffer).unwrap();
        self.unread.extend_from_slice(&buffer[..n]);
        n > 0
    }
}

pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
