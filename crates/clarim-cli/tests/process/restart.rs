//! `clarim restart`, `clarim stop` and SIGUSR2.

use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::history_file::subscribe;
use crate::server::{Client, Process, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_clarim");

/// Runs a command for a server, in another directory than that of the server.
fn command(name: &str, process: &Process) -> Output {
    let elsewhere = TempDir::new().unwrap();
    Command::new(BINARY)
        .args([name, "--port", &process.port.to_string()])
        .current_dir(elsewhere.path())
        .env_clear()
        .output()
        .unwrap()
}

pub(super) fn restart(process: &Process) {
    let output = command("restart", process);
    assert!(output.status.success(), "{output:?}\n{}", process.read("err"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("kept its connections (pause: "), "{text}");
}

/// The reason why a restart fails.
fn failed_restart(process: &Process) -> String {
    let output = command("restart", process);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn socket_id(client: &mut Client) -> String {
    client.read_until(r#"\"socket_id\":\""#);
    while !client.unread.contains(&b'\\') {
        client.read("the socket id");
    }
    client.unread.split(|byte| *byte == b'\\').next().unwrap().escape_ascii().to_string()
}

#[test]
fn restart_keeps_connections_and_the_process() {
    let process = Process::start("", "", &[]);
    let mut client = process.connect();
    let id = socket_id(&mut client);
    client.say(r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#);
    client.read_until("subscription_succeeded");
    // An idle connection of a backend, and one whose request is incomplete.
    let mut idle = TcpStream::connect(("127.0.0.1", process.port)).unwrap();
    let mut begun = idle.try_clone().unwrap();
    begun.write_all(b"GET /up HTT").unwrap();
    for round in 0..3 {
        // A frame is incomplete, too.
        let message = r#"{"event":"pusher:ping","data":{}}"#;
        client.send_begin(message, 10);
        restart(&process);
        client.send_rest(message, 10);
        client.read_until("pusher:pong");
        assert!(process.publish("news", &format!("after {round}")).starts_with("HTTP/1.1 200"));
        client.read_until(&format!("after {round}"));
        client
            .say(&format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"more-{round}"}}}}"#));
        client.read_until("subscription_succeeded");
    }
    idle.write_all(b"P/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    io::Read::read_to_string(&mut idle, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The socket id still names the connection.
    let channels = process.publish_except("news", "not to itself", &id);
    assert!(channels.starts_with("HTTP/1.1 200"), "{channels}");
    assert!(process.publish("news", "the last").starts_with("HTTP/1.1 200"));
    client.skip_to(b"the last");
    let log = process.read("err");
    assert_eq!(log.matches("restarted; connections were handed over").count(), 3, "{log}");
}

#[test]
fn a_program_that_does_not_start_changes_nothing() {
    let process = Process::start_copy();
    let copy = process.directory.path().join("clarim");
    let mut client = process.subscribe("news");
    let replace = |text: &str| {
        fs::remove_file(&copy).unwrap();
        fs::write(&copy, text).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for (program, reason) in [
        ("not a program", "clarim"),
        ("#!/bin/sh\necho broken library >&2; exit 127", "does not start: broken library"),
        ("#!/bin/sh\necho hello", "is not a version of Clarim"),
        (
            "#!/bin/sh\necho '{\"program\":\"9.0.0\",\"snapshots\":[7,8]}'",
            "is Clarim 9.0.0, which reads snapshots of the versions 7 to 8",
        ),
    ] {
        replace(program);
        let text = failed_restart(&process);
        assert!(text.contains("was not restarted and goes on") && text.contains(reason), "{text}");
        assert!(process.publish("news", "still").starts_with("HTTP/1.1 200"));
        client.read_until("still");
    }
    fs::remove_file(&copy).unwrap();
    assert!(failed_restart(&process).contains("No such file"));
    symlink(BINARY, &copy).unwrap();
    restart(&process);
    assert!(process.publish("news", "finally").starts_with("HTTP/1.1 200"));
    client.read_until("finally");
}

#[test]
fn a_restart_during_another_one_is_refused() {
    let process = Process::start_copy();
    let mut client = process.subscribe("news");
    let copy = process.directory.path().join("clarim");
    // A new program that takes its time.
    let next = process.directory.path().join("next");
    let text = format!(
        "#!/bin/sh\ntouch begun\nwhile [ ! -e go ]; do sleep 0.02; done\nexec {BINARY} \"$@\"\n"
    );
    fs::write(&next, text).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(next, copy).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| restart(&process));
        eventually("it is checked", || process.directory.path().join("begun").exists());
        let text = failed_restart(&process);
        assert!(text.contains("another restart of the server"), "{text}");
        // Nor does a signal begin another one.
        process.signal(Signal::USR2);
        assert!(process.publish("news", "still").starts_with("HTTP/1.1 200"));
        client.read_until("still");
        fs::write(process.directory.path().join("go"), "").unwrap();
        first.join().unwrap();
    });
    assert!(process.publish("news", "afterwards").starts_with("HTTP/1.1 200"));
    client.read_until("afterwards");
    let log = process.read("err");
    assert_eq!(log.matches("restarting with the program on disk").count(), 1, "{log}");
}

#[test]
fn settings_that_are_wrong_by_now_keep_the_server_from_restarting() {
    let process = Process::start("", "", &[]);
    let mut client = process.subscribe("news");
    fs::write(process.directory.path().join("clarim.toml"), "[server]\nworkerz = 2\n").unwrap();
    let text = failed_restart(&process);
    assert!(text.contains("workerz"), "{text}");
    assert!(process.publish("news", "still").starts_with("HTTP/1.1 200"));
    client.read_until("still");
}

#[test]
fn a_changed_number_of_workers_and_removed_apps_take_effect() {
    let process = Process::start("", "", &[]);
    let path = process.directory.path().join("clarim.toml");
    fs::write(&path, "[server]\nworkers = 3\n").unwrap();
    let mut clients: Vec<Client> = (0..20).map(|_| process.subscribe("news")).collect();
    restart(&process);
    fs::write(&path, "[server]\nworkers = 1\n").unwrap();
    restart(&process);
    assert!(process.publish("news", "to all").starts_with("HTTP/1.1 200"));
    for client in &mut clients {
        client.read_until("to all");
        client.say(r#"{"event":"pusher:ping","data":{}}"#);
        client.read_until("pusher:pong");
    }
}

#[test]
fn a_server_at_its_capacity_restarts() {
    let process = Process::start("ulimit -n 300;", "", &[("CLARIM_WORKERS", "2")]);
    eventually("it has a banner", || process.read("out").contains("Capacity    200 connections"));
    let mut clients: Vec<Client> = (0..200).map(|_| process.subscribe("news")).collect();
    for round in 0..2 {
        restart(&process);
        let text = format!("to all {round}");
        assert!(process.publish("news", &text).starts_with("HTTP/1.1 200"));
        clients.iter_mut().for_each(|client| client.read_until(&text));
    }
}

#[test]
fn a_deployment_may_exchange_the_directory_of_the_program() {
    let releases = TempDir::new().unwrap();
    let current = releases.path().join("current");
    let release = |n: u32| {
        let directory = releases.path().join(n.to_string());
        fs::create_dir(&directory).unwrap();
        fs::copy(BINARY, directory.join("clarim")).unwrap();
        let link = releases.path().join("new");
        symlink(&directory, &link).unwrap();
        fs::rename(&link, &current).unwrap();
        directory
    };
    let first = release(1);
    let process = Process::start_as(&current.join("clarim"));
    let mut client = process.subscribe("news");
    release(2);
    fs::remove_dir_all(first).unwrap();
    restart(&process);
    let program = fs::read_link(Path::new("/proc").join(process.id().to_string()).join("exe"));
    assert_eq!(program.unwrap(), releases.path().join("2/clarim"));
    assert!(process.publish("news", "from the second release").starts_with("HTTP/1.1 200"));
    client.read_until("from the second release");
}

#[test]
fn a_signal_during_a_restart_is_not_lost() {
    let mut process = Process::start("", "", &[]);
    let mut client = process.subscribe("news");
    process.signal(Signal::USR2);
    process.signal(Signal::TERM);
    assert_eq!(client.read_close(), 4200);
    assert!(process.wait().success());
}

/// Nothing of a hand-over is on disk.
#[test]
fn a_full_disk_keeps_no_server_from_restarting() {
    // The server has a small disk of its own for all that it writes.
    let mount = "mkdir disk; exec unshare --map-root-user --mount \
                 sh -c 'mount -t tmpfs -o size=1m none disk && cd disk && \"$@\"' sh";
    let disk = "../disk";
    let settings = [
        ("CLARIM_STATE_DIR", disk),
        ("XDG_RUNTIME_DIR", disk),
        ("TMPDIR", disk),
        ("CLARIM_WEBHOOK_STORE", "disk"),
        ("REVERB_APP_WEBHOOKS", "http://127.0.0.1:1/"),
        ("CLARIM_HISTORY_PATH", "../disk/history.db"),
        ("CLARIM_APP_HISTORY", "kept:100:600s"),
    ];
    let process = Process::start(mount, "", &settings);
    let mut client = process.subscribe("news");
    let start = subscribe(&process, None).position;
    let mut full = fs::File::create(format!("/proc/{}/cwd/full", process.id())).unwrap();
    let error = io::copy(&mut io::repeat(0), &mut full).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let mut kept = 0;
    for round in 1..3 {
        // There may be a little room in the file.
        loop {
            let answer = process.publish("kept", &format!("{:1000}", kept + 1));
            if answer.starts_with("HTTP/1.1 503") {
                assert!(
                    answer.contains("The history of a channel could not take the event"),
                    "{answer}"
                );
                break;
            }
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            kept += 1;
        }
        process.signal(Signal::USR2);
        let count = || process.read("err").matches("connections were handed over").count();
        eventually(&format!("restart {round}"), || count() == round);
        let event = format!("after {round}");
        assert!(process.publish("news", &event).starts_with("HTTP/1.1 200"));
        client.read_until(&event);
        // All events that were accepted are there.
        let mut back = subscribe(&process, Some(&start));
        assert_eq!((&back.position, back.is_recovered, back.missed), (&start, true, kept));
        (1..=kept).for_each(|n| back.client.read_until(&format!("{n:1000}")));
    }
    full.set_len(0).unwrap();
    let mut back = subscribe(&process, Some(&start));
    eventually("it is kept", || process.publish("kept", "after").starts_with("HTTP/1.1 200"));
    back.client.read_until("after");
}

#[test]
fn stop_drains_the_server() {
    let mut process = Process::start("", "", &[]);
    let mut client = process.subscribe("news");
    let output = command("stop", &process);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(client.read_close(), 4200);
    assert!(process.wait().success());
    eventually("it is gone", || {
        let text = String::from_utf8(command("stop", &process).stderr).unwrap();
        text.contains("no Clarim server is running on port")
    });
}

#[test]
fn a_client_that_finds_no_server_waits_in_the_socket_of_systemd() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut process = Process::start_on(&socket);
    let mut client = process.subscribe("news");
    process.signal(Signal::TERM);
    // It reconnects in a second, and not at once to a server that is ending.
    assert_eq!(client.read_close(), 4100);
    assert!(process.wait().success());
    let mut waiting = process.connect();
    let next = Process::start_on(&socket);
    waiting.read_until("connection_established");
    drop(next);
}
