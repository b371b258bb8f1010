//! `clarim start` as a process: signals, `restart`, `--debug`, running out of file descriptors, and apps
//! that change.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[cfg(feature = "sql")]
mod apps_database;
mod apps_file;
#[cfg(all(target_os = "linux", feature = "sql"))]
mod apps_upgrade;
#[cfg(target_os = "linux")]
mod history_file;
mod limits;
mod mutations;
#[cfg(target_os = "linux")]
mod restart;
mod server;
mod tls;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use server::{Client, PATIENCE, Process, eventually};
use tempfile::TempDir;

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
    let (ok, sent, error) = run(&["send", "news", "greeting", r#"{"text":"olá"}"#]);
    assert!(ok && error.is_empty(), "{error}");
    assert_eq!(
        sent,
        "Sent greeting to news: 1 subscriber.\n\
         Echo's .listen('greeting') receives App\\Events\\greeting: listen to '.greeting', or send the event under \
         that name.\n"
    );
    client.read_until(r#""event":"greeting","channel":"news","data":"{\"text\":\"olá\"}""#);
    // Data that is not JSON is sent as text.
    assert!(run(&["send", "news", "greeting", "olá"]).0);
    client.read_until(r#""data":"\"olá\"""#);
    for (channel, event, said) in [
        ("news", "App\\Events\\Sold", "Sent App\\Events\\Sold to news: 1 subscriber.\n"),
        ("empty", "client-x", "Sent client-x to empty, which has no subscribers.\n"),
        ("presence-x", "client-x", "Sent client-x to presence-x, which has no users.\n"),
    ] {
        assert_eq!(run(&["send", channel, event]), (true, said.to_owned(), String::new()));
    }
    for broken in [r#"{"a":"#, "[1", r#""x"#] {
        let (ok, _, error) = run(&["send", "news", "greeting", broken]);
        assert!(!ok && error.contains("not valid JSON") && error.contains("--raw"), "{error}");
    }
    assert!(run(&["send", "news", "greeting", r#"{"a":"#, "--raw"]).0);
    client.read_until(r#""data":"{\"a\":""#);
    // Each flag overrides the settings by itself.
    let (ok, _, error) = run(&["stats", "--secret", "wrong"]);
    assert!(!ok && error.contains("401"), "{error}");
    let (ok, _, error) = run(&["stats", "--id", "2"]);
    assert!(!ok && error.contains("no app with the id 2"), "{error}");
    let (ok, stats, _) = run(&["stats"]);
    assert!(ok);
    assert_eq!(stats, "connections  1\nchannels     1\n  news  1 subscriber\n");
    let (ok, stats, _) = run(&["stats", "--json"]);
    assert!(ok && stats.contains(r#""connections": 1"#), "{stats}");
    let (ok, _, error) = run(&["send", "not a channel", "e"]);
    assert!(!ok && error.contains("400") && error.contains("not a channel"), "{error}");
    let (ok, _, error) = run(&["stats", "--url", "http://127.0.0.1:1"]);
    assert!(!ok && error.contains("http://127.0.0.1:1: "), "{error}");
}

#[test]
fn credentials_may_have_any_characters() {
    let directory = tempfile::tempdir().unwrap();
    let id = "team/1 'x'+=";
    let key = "a+b/c \\\"d'==";
    let secret = "s/e+c r\\\"et==";
    let dot_env = format!(
        "DB_PASSWORD=ab'cd\nREVERB_APP_ID=\"{id}\"\nREVERB_APP_KEY=\"{key}\"\nREVERB_APP_SECRET=\"{secret}\"\n"
    );
    std::fs::write(directory.path().join(".env"), dot_env).unwrap();
    let port = clarim_testing::free_port();
    let clarim = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clarim"));
        command.args(arguments).args(["--directory", directory.path().to_str().unwrap()]);
        command.env_clear().env("CLARIM_SERVER_PORT", port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut server = clarim(&["start"]).spawn().unwrap();
    eventually("it answers", || clarim(&["stats"]).output().unwrap().status.success());
    let mut tail = clarim(&["tail", "private-orders"]).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("joined private-orders"));
    let sent = clarim(&["send", "private-orders", "client-x", "7"]).output().unwrap();
    let said = String::from_utf8(sent.stdout).unwrap();
    assert_eq!(said, "Sent client-x to private-orders: 1 subscriber.\n");
    assert!(lines.next().unwrap().unwrap().ends_with("client-x 7"));
    let doctor = clarim(&["doctor"]).output().unwrap();
    let found = String::from_utf8(doctor.stdout).unwrap();
    assert!(found.contains("api") && !found.contains("PROBLEM"), "{found}");
    tail.kill().unwrap();
    tail.wait().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn top_shows_the_server_in_a_terminal() {
    let token = "inspector-0123456789";
    let process = Process::start("", "", &[("CLARIM_INSPECTOR_TOKEN", token)]);
    let _client = process.subscribe("news");
    let top = |token: &str| {
        let url = format!("http://127.0.0.1:{}", process.port);
        format!("{} top --url {url} --token {token}", env!("CARGO_BIN_EXE_clarim"))
    };
    // It wants a terminal, which `script` is. What it shows moves the cursor between words.
    let output = Command::new("script")
        .args(["-qec", &top("wrong-0123456789ab"), "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && error.contains("--token"), "{error}");

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
fn tail_prints_events() {
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
        ("private-orders", &["private-orders"][..], " e \"now\""),
        (
            "presence-room",
            &["presence-room", "--json"],
            "{\"channel\":\"presence-room\",\"data\":\"now\",\"event\":\"e\",\"time\":",
        ),
    ] {
        let mut child = tail(arguments);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let joined = lines.next().unwrap().unwrap();
        let word = if arguments.len() == 1 { " joined " } else { "pusher:subscription_succeeded" };
        assert!(joined.contains(word) && joined.contains(channel), "{joined}");
        assert!(process.publish(channel, "now").starts_with("HTTP/1.1 200"));
        let printed = lines.next().unwrap().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(printed.contains(line), "{printed}");
        // The time of day in UTC.
        let time = printed.find("Z").map(|end| &printed[end - 12..=end]).unwrap();
        assert_eq!(time.matches([':', '.']).count(), 3, "{printed}");
    }
    let refused = tail(&["no such name!"]).wait_with_output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("no such name!"));
}

#[test]
fn attempts_to_reach_the_bus_are_not_logged_one_by_one() {
    let bus = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", bus.local_addr().unwrap());
    let settings = [("REVERB_SCALING_ENABLED", "true"), ("CLARIM_SCALING_URL", &*url)];
    let process = Process::start("", "", &settings);
    for _ in 0..4 {
        // Closed without a word.
        drop(bus.accept().unwrap());
    }
    let lost = "lost the connection to the bus";
    eventually("it is logged", || process.read("err").contains(lost));
    let log = process.read("err");
    assert_eq!(log.matches(lost).count(), 1, "{log}");
    // The reason, and no lines of the NATS library.
    assert!(log.matches("expected INFO").count() <= 1, "{log}");
}

#[test]
fn sigterm_drains_and_ends_with_success() {
    let mut process = Process::start("", "", &[]);
    let mut client = process.subscribe("news");
    process.signal(Signal::TERM);
    assert_eq!(client.read_close(), 4200);
    assert!(process.wait().success());
    assert!(process.read("err").contains("draining"), "{}", process.read("err"));
}

#[test]
fn a_client_that_reconnects_during_a_drain_has_to_wait() {
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
fn a_stalled_reader_of_the_log_blocks_nothing() {
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
        for _ in 0..500 {
            client.say(r#"{"event":"pusher:ping","data":{}}"#);
        }
        for _ in 0..500 {
            client.read_until("pusher:pong");
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
fn a_drain_disconnects_clients_at_random_times() {
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
fn a_second_signal_ends_it_immediately() {
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
        "app 1  ",
        " B\n",
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
    eventually("it says so", || process.read("err").contains("cannot accept connections"));
    client.say(r#"{"event":"pusher:ping"}"#);
    client.read_until("pusher:pong");
    drop(crowd);
    eventually("it goes on", || process.read("err").contains("accepting connections again"));
    assert!(process.publish("news", "still here").starts_with("HTTP/1.1 200"));
    client.read_until("still here");
}

#[test]
fn systemd_is_notified_when_it_is_ready_and_when_it_drains() {
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
