//! `clarim start` as a process: signals, `restart`, `--debug`, and running out of file descriptors.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clarim_protocol::auth::AppKey;
use clarim_protocol::rest;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, killed with its owner.
struct Process {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Process {
    /// Starts `clarim` with these arguments, through a shell that first runs `before`.
    fn start(before: &str, arguments: &str, environment: &[(&str, &str)]) -> Self {
        let process = Self::spawn(before, &format!("{arguments} >out 2>err"), environment);
        // The file is there as soon as the shell has run.
        let log = process.directory.path().join("err");
        let listens = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("listening"));
        eventually("it listens", listens);
        process
    }

    fn spawn(before: &str, arguments: &str, environment: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let port = free_port();
        let binary = env!("CARGO_BIN_EXE_clarim");
        let script = format!("{before} exec {binary} start --port {port} {arguments}");
        let child = Command::new("sh")
            .args(["-c", &script])
            .current_dir(directory.path())
            .env_clear()
            .envs([("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "key")])
            .envs([("REVERB_APP_SECRET", "s3cret-of-the-app"), ("REVERB_SERVER_HOST", "127.0.0.1")])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, directory, port }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(file)).unwrap()
    }

    fn subscribe(&self, channel: &str) -> Client {
        self.subscribe_as("key", channel)
    }

    fn subscribe_as(&self, key: &str, channel: &str) -> Client {
        let mut client = self.connect_as(key);
        client.read_until("connection_established");
        client.say(&format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#));
        client.read_until("subscription_succeeded");
        client
    }

    fn connect(&self) -> Client {
        self.connect_as("key")
    }

    fn connect_as(&self, key: &str) -> Client {
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

    fn get(&self, path: &str, head: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn publish(&self, channel: &str, data: &str) -> String {
        let body = format!(r#"{{"name":"e","channel":"{channel}","data":"{data}"}}"#);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let key = AppKey::new("key", "s3cret-of-the-app");
        let query = rest::sign(&key, "POST", "/apps/1/events", &[], body.as_bytes(), now);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST /apps/1/events?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
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

struct Client {
    stream: TcpStream,
    /// What came with the last thing that was waited for, and after it.
    unread: Vec<u8>,
}

impl Client {
    fn say(&mut self, text: &str) {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 126);
        self.stream.write_all(&[0x81, 0x80 | length, 0, 0, 0, 0]).unwrap();
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Whether it gets this text before the connection ends.
    fn read_or_end(&mut self, text: &str) -> Option<()> {
        while !self.unread.windows(text.len()).any(|window| window == text.as_bytes()) {
            if !self.has_more() {
                return None;
            }
        }
        Some(())
    }

    fn read_until(&mut self, text: &str) {
        self.skip_to(text.as_bytes());
        self.unread.drain(..text.len());
    }

    /// The code of the close frame.
    fn read_close(&mut self) -> u16 {
        self.skip_to(&[0x88]);
        while self.unread.len() < 4 {
            self.read("its code");
        }
        u16::from_be_bytes([self.unread[2], self.unread[3]])
    }

    fn skip_to(&mut self, wanted: &[u8]) {
        loop {
            let found = self.unread.windows(wanted.len()).position(|window| window == wanted);
            if let Some(at) = found {
                self.unread.drain(..at);
                return;
            }
            self.read(&String::from_utf8_lossy(wanted));
        }
    }

    fn read(&mut self, awaited: &str) {
        assert!(self.has_more(), "closed while waiting for {awaited}");
    }

    /// Reads on. `false`: the connection has ended.
    fn has_more(&mut self) -> bool {
        let mut buffer = [0; 1024];
        let n = self.stream.read(&mut buffer).unwrap();
        self.unread.extend_from_slice(&buffer[..n]);
        n > 0
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn send_and_stats_ask_the_running_server() {
    let process = Process::start("", "", &[]);
    let mut client = process.subscribe("news");
    let run = |arguments: &[&str]| {
        let port = process.port.to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_clarim"))
            .args(arguments)
            .current_dir(process.directory.path())
            .env_clear()
            .envs([("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "key")])
            .envs([("REVERB_APP_SECRET", "s3cret-of-the-app"), ("REVERB_SERVER_PORT", &*port)])
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(
        run(&["send", "news", "greeting", r#"{"text":"olá"}"#]),
        (true, "Sent greeting to news.\n".to_owned(), String::new())
    );
    client.read_until(r#""event":"greeting","channel":"news","data":"{\"text\":\"olá\"}""#);
    // What is no JSON is a text.
    assert!(run(&["send", "news", "greeting", "olá"]).0);
    client.read_until(r#""data":"\"olá\"""#);
    let (ok, stats, _) = run(&["stats"]);
    assert!(ok);
    assert_eq!(stats, "connections  1\nchannels     1\n  news  1 subscribers\n");
    let (ok, stats, _) = run(&["stats", "--json"]);
    assert!(ok && stats.contains(r#""connections": 1"#), "{stats}");
    let (ok, _, error) = run(&["send", "not a channel", "e"]);
    assert!(!ok && error.contains("422") && error.contains("not a channel"), "{error}");
    let (ok, _, error) = run(&["stats", "--url", "http://127.0.0.1:1"]);
    assert!(!ok && error.contains("http://127.0.0.1:1: "), "{error}");
}

#[test]
fn top_watches_the_server_in_a_terminal() {
    let token = "inspector-0123456789";
    let process = Process::start("", "", &[("CLARIM_INSPECTOR_TOKEN", token)]);
    let _client = process.subscribe("news");
    let top = |token: &str| {
        let url = format!("http://127.0.0.1:{}", process.port);
        format!("{} top --url {url} --token {token}", env!("CARGO_BIN_EXE_clarim"))
    };
    let output = Command::new("sh").args(["-c", &top("wrong-0123456789ab")]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("--token"), "{error}");

    // It wants a terminal, which `script` is. What it shows moves the cursor between words.
    let mut child = Command::new("script")
        .args([
            "-qec",
            &format!("stty cols 120 rows 40; timeout --foreground 60 {}", top(token)),
            "/dev/null",
        ])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = child.stdout.take().unwrap();
    let shown = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut chunk = [0; 4096];
        // Its events are watched from its first question on.
        while !String::from_utf8_lossy(&all).contains("what-came") {
            let read = screen.read(&mut chunk).unwrap();
            assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&chunk[..read]);
        }
        (String::from_utf8_lossy(&all).into_owned(), screen)
    });
    eventually("the event is on the screen", || {
        process.publish("news", "what-came");
        std::thread::sleep(Duration::from_millis(200));
        shown.is_finished()
    });
    let (shown, mut screen) = shown.join().unwrap();
    for wanted in ["Connections", "Channels", "news", "published"] {
        assert!(shown.contains(wanted), "{wanted} is not in {shown}");
    }
    let rest = std::thread::spawn(move || screen.read_to_end(&mut Vec::new()));
    child.stdin.take().unwrap().write_all(b"q").unwrap();
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
    rest.join().unwrap().unwrap();
}

#[test]
fn tail_prints_what_comes() {
    let process = Process::start("", "", &[]);
    let tail = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_clarim"))
            .arg("tail")
            .args(arguments)
            .args(["--url", &format!("http://127.0.0.1:{}", process.port)])
            .args(["--app-id", "1", "--key", "key", "--secret", "s3cret-of-the-app"])
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    // A channel that needs a signature, and one that needs a member.
    for (channel, arguments, line) in [
        ("private-orders", &["private-orders"][..], "e \"now\"\n"),
        (
            "presence-room",
            &["presence-room", "--json"],
            "{\"channel\":\"presence-room\",\"data\":\"now\",\"event\":\"e\"}\n",
        ),
    ] {
        let mut child = tail(arguments);
        let mut output = child.stdout.take().unwrap();
        let mut told = Vec::new();
        // Until it has subscribed, nothing reaches it.
        let printed = std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                while !told.ends_with(b"\n") {
                    let mut byte = [0];
                    output.read_exact(&mut byte).unwrap();
                    told.push(byte[0]);
                }
                String::from_utf8(told).unwrap()
            });
            while !reader.is_finished() {
                assert!(process.publish(channel, "now").starts_with("HTTP/1.1 200"));
                std::thread::sleep(Duration::from_millis(20));
            }
            reader.join().unwrap()
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(printed, line);
    }
    let refused = tail(&["no such name!"]).wait_with_output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("no such name!"));
}

#[test]
fn sigterm_sends_clients_away_and_ends_with_success() {
    let mut process = Process::start("", "", &[]);
    let mut client = process.subscribe("news");
    process.signal(Signal::TERM);
    assert_eq!(client.read_close(), 4200);
    assert!(process.wait().success());
    assert!(process.read("err").contains("draining"), "{}", process.read("err"));
}

#[test]
fn who_comes_back_while_it_drains_is_told_to_wait() {
    let process = Process::start("", "", &[("CLARIM_DRAIN_SECONDS", "600")]);
    let clients: Vec<Client> = (0..10).map(|_| process.subscribe("news")).collect();
    process.signal(Signal::TERM);
    eventually("it drains", || process.read("err").contains("draining"));
    let mut again = process.connect();
    again.read_until("pusher:error");
    assert_eq!(again.read_close(), 4100);
    // Those who are still here are still served.
    assert!(process.publish("news", "to the last").starts_with("HTTP/1.1 200"));
    let mut served = clients.into_iter().filter_map(|mut client| client.read_or_end("to the last"));
    assert!(served.next().is_some(), "ten minutes are not over");
}

#[test]
fn a_reader_of_the_log_that_stalls_holds_up_nobody() {
    // Somebody holds the pipe open, and never reads.
    let token = "metrics-0123456789";
    let mut process = Process::spawn(
        "mkfifo pipe; exec 9<>pipe;",
        "--debug >pipe 2>&1",
        &[("CLARIM_METRICS_TOKEN", token), ("CLARIM_DRAIN_SECONDS", "0")],
    );
    eventually("it listens", || TcpStream::connect(("127.0.0.1", process.port)).is_ok());
    let mut client = process.subscribe("news");
    let dropped = || {
        let metrics = process.get("/metrics", &format!("Authorization: Bearer {token}\r\n"));
        let line = metrics.lines().find(|line| line.starts_with("clarim_log_lines_dropped_total "));
        line.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    eventually("lines are dropped, and counted", || {
        for _ in 0..200 {
            process.connect().read_until("connection_established");
        }
        dropped() > 0
    });
    assert!(process.publish("news", "still").starts_with("HTTP/1.1 200"));
    client.read_until("still");
    process.signal(Signal::TERM);
    assert_eq!(client.read_close(), 4200);
    assert!(process.wait().success(), "it ends, too");
}

#[test]
fn a_drain_is_spread_over_its_time_by_chance() {
    let process = Process::start("", "", &[("CLARIM_DRAIN_SECONDS", "3")]);
    let clients: Vec<Client> = (0..60).map(|_| process.subscribe("news")).collect();
    let begun = Instant::now();
    process.signal(Signal::TERM);
    let ends = clients.into_iter().map(|mut client| {
        std::thread::spawn(move || {
            assert_eq!(client.read_close(), 4200);
            begun.elapsed()
        })
    });
    let ends: Vec<_> =
        ends.collect::<Vec<_>>().into_iter().map(|end| end.join().unwrap()).collect();
    let in_third = |n: u32| {
        let third = Duration::from_secs(1) * n;
        ends.iter().filter(|end| (third..third + Duration::from_secs(1)).contains(*end)).count()
    };
    // Of 60, 20 in each third; that it are fewer than 4 happens once in a million times.
    assert!(in_third(0) > 3 && in_third(1) > 3, "{ends:?}");
    assert!(ends.iter().all(|end| *end < Duration::from_secs(5)), "{ends:?}");
    assert!(!ends.is_sorted(), "not in the order in which they came: {ends:?}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut process = Process::start("", "", &[("CLARIM_DRAIN_SECONDS", "600")]);
    let clients: Vec<Client> = (0..20).map(|_| process.subscribe("news")).collect();
    process.signal(Signal::INT);
    eventually("it drains", || process.read("err").contains("draining"));
    process.signal(Signal::INT);
    let status = process.wait();
    assert_eq!(status.code(), Some(1));
    drop(clients);
}

#[test]
fn restart_drains_the_running_server() {
    let mut process = Process::start("", "", &[]);
    let mut client = process.subscribe("news");
    let port = process.port.to_string();
    let restart = Command::new(env!("CARGO_BIN_EXE_clarim"))
        .args(["restart", "--port", &port])
        .current_dir(process.directory.path())
        .env_clear()
        .output()
        .unwrap();
    assert!(restart.status.success(), "{restart:?}");
    assert_eq!(client.read_close(), 4200);
    assert!(process.wait().success(), "a supervisor starts it anew");
}

#[test]
fn a_taken_port_is_named() {
    let process = Process::start("", "", &[]);
    let second = Command::new(env!("CARGO_BIN_EXE_clarim"))
        .args(["start", "--port", &process.port.to_string(), "--host", "127.0.0.1"])
        .current_dir(process.directory.path())
        .env_clear()
        .envs([("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "k"), ("REVERB_APP_SECRET", "s")])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&process.port.to_string()) && said.contains("--port"), "{said}");
}

#[test]
fn debug_shows_the_traffic_without_secrets() {
    let mut process = Process::start("", "--debug", &[]);
    let mut client = process.subscribe("news");
    client
        .say(r#"{"event":"pusher:subscribe","data":{"channel":"private-x","auth":"key:5ec3e7"}}"#);
    client.read_until("subscription_error");
    assert!(process.publish("news", "hello").starts_with("HTTP/1.1 200"));
    client.read_until("hello");
    drop(client);
    eventually("it is shown", || process.read("out").contains("Connection Closed"));
    process.signal(Signal::TERM);
    process.wait();
    let out = process.read("out");
    for shown in [
        "Connection Established",
        "Message Received",
        "Message Handled",
        "Broadcasting To",
        "hello",
    ] {
        assert!(out.contains(shown), "{shown} is missing in {out}");
    }
    let both = out + &process.read("err");
    assert!(!both.contains("5ec3e7") && !both.contains("s3cret-of-the-app"), "{both}");
}

#[test]
fn json_logs_are_one_object_a_line() {
    let mut process = Process::start("", "", &[("CLARIM_LOG_FORMAT", "json")]);
    process.signal(Signal::TERM);
    process.wait();
    let log = process.read("err");
    assert!(log.lines().count() > 1, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}

#[test]
fn without_file_descriptors_accepting_pauses_and_goes_on() {
    let process = Process::start("ulimit -n 40;", "", &[("CLARIM_WORKERS", "2")]);
    let mut client = process.subscribe("news");
    // The kernel lets these in; the server can't.
    let crowd: Vec<TcpStream> =
        (0..60).map(|_| TcpStream::connect(("127.0.0.1", process.port)).unwrap()).collect();
    eventually("it says so", || process.read("err").contains("accepting connections pauses"));
    client.say(r#"{"event":"pusher:ping"}"#);
    client.read_until("pusher:pong");
    drop(crowd);
    eventually("it goes on", || process.read("err").contains("accepting connections again"));
    assert!(process.publish("news", "still here").starts_with("HTTP/1.1 200"));
    client.read_until("still here");
}

#[test]
fn systemd_is_told_when_it_listens_and_when_it_drains() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut server = Process::start("", "", &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    assert_eq!(heard(), "READY=1\n");
    server.signal(Signal::TERM);
    assert_eq!(heard(), "STOPPING=1\n");
    assert!(server.wait().success());
}

const ONE: &str = "[[apps]]\nid = \"1\"\nkey = \"key\"\nsecret = \"s3cret-of-the-app\"\n";
const TWO: &str = "[[apps]]\nid = \"2\"\nkey = \"two\"\nsecret = \"s3cret-of-two\"\n";
const THREE: &str = "[[apps]]\nid = \"3\"\nkey = \"three\"\nsecret = \"s3cret-of-three\"\n";

fn with_file(apps: &str) -> Process {
    Process::start(&format!("cat > clarim.toml <<'E'\n{apps}E\n"), "", &[])
}

impl Process {
    /// Changes the file in one step, as editors do.
    fn rewrite(&self, apps: &str) {
        let [new, file] = ["new", "clarim.toml"].map(|name| self.directory.path().join(name));
        std::fs::write(&new, apps).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    fn logs(&self, text: &str) {
        eventually(text, || self.read("err").contains(text));
    }
}

#[test]
fn apps_are_added_changed_and_removed_while_others_stay() {
    let process = with_file(&format!("{ONE}{TWO}"));
    let (mut one, mut two) = (process.subscribe("news"), process.subscribe_as("two", "news"));
    // Looked at every two seconds; a signal is faster.
    process.rewrite(&format!("{ONE}max_event_size = 10\n{THREE}"));
    process.signal(Signal::HUP);
    assert_eq!(two.read_close(), 4003);
    process.logs("the apps were read again");
    assert!(process.publish("news", "short").starts_with("HTTP/1.1 200"));
    one.read_until("short");
    assert!(process.publish("news", "much longer than that").starts_with("HTTP/1.1 413"));
    process.subscribe_as("three", "news");
    assert_eq!(process.connect_as("two").read_close(), 4001);
    // Back again, and noticed without a signal.
    process.rewrite(&format!("{ONE}{TWO}"));
    eventually("app two is back", || {
        let mut two = process.connect_as("two");
        two.read("its greeting");
        while two.unread.len() < 200 {
            two.read("the rest of it");
        }
        String::from_utf8_lossy(&two.unread).contains("connection_established")
    });
    assert!(process.publish("news", "and longer once more").starts_with("HTTP/1.1 200"));
    one.read_until("and longer once more");
}

#[test]
fn settings_that_are_wrong_or_need_a_start_change_nothing() {
    let process = with_file(ONE);
    let mut one = process.subscribe("news");
    process.rewrite(&format!("{ONE}max_event_size = \"many\"\n{TWO}"));
    process.signal(Signal::HUP);
    process.logs("the changed settings are not used");
    process.logs("max_event_size");
    process.rewrite(&format!("[server]\nworkers = 7\n{ONE}{TWO}"));
    process.signal(Signal::HUP);
    process.logs("this setting is in force when the server is started again");
    process.subscribe_as("two", "news");
    assert!(process.publish("news", "still here").starts_with("HTTP/1.1 200"));
    one.read_until("still here");
}

#[test]
fn webhooks_may_come_later() {
    let process = with_file(ONE);
    let backend = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", backend.local_addr().unwrap());
    process.rewrite(&format!("{ONE}webhooks = [\"{url}\"]\n"));
    process.signal(Signal::HUP);
    process.logs("the apps were read again");
    let _client = process.subscribe("news");
    let (mut stream, _) = backend.accept().unwrap();
    let mut told = String::new();
    while !told.contains("channel_occupied") {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "{told}");
        told.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(told.contains("\"channel\":\"news\""), "{told}");
}
