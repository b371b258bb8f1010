//! Notifications to systemd and its watchdog: over a restart, and with a worker that is stuck.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clarim_testing::{StoppedThread, free_port};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_clarim");

const LIMIT: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_secs(60);

struct Watched {
    child: Child,
    port: u16,
    socket: UnixDatagram,
    _directory: TempDir,
}

impl Watched {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let port = free_port();
        // As systemd, which names the process that it watches.
        let start = "WATCHDOG_PID=$$ exec \"$0\" start --host 127.0.0.1 --port \"$1\"";
        let child = Command::new("sh")
            .args(["-c", start, BINARY, &port.to_string()])
            .current_dir(directory.path())
            .env_clear()
            .envs([("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "key"), ("CLARIM_WORKERS", "3")])
            .envs([("REVERB_APP_SECRET", "s3cret-of-the-app"), ("CLARIM_LOG_LEVEL", "error")])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", LIMIT.as_micros().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port, socket, _directory: directory }
    }

    /// The next notification within this time.
    fn next(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 100];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    fn feeds_the_watchdog(&self) {
        assert_eq!(self.next(LIMIT * 5).unwrap(), "WATCHDOG=1\n");
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_restart_is_a_reload_and_the_watchdog_is_fed_on() {
    let watched = Watched::start();
    assert_eq!(watched.next(PATIENCE).unwrap(), "READY=1\n");
    for _ in 0..3 {
        watched.feeds_the_watchdog();
        let begun = monotonic();
        let restart = Command::new(BINARY)
            .args(["restart", "--port", &watched.port.to_string()])
            .env_clear()
            .output()
            .unwrap();
        assert!(restart.status.success(), "{restart:?}");
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| last != "READY=1\n") {
            let next = watched.next(PATIENCE).unwrap();
            heard.extend(Some(next).filter(|next| next != "WATCHDOG=1\n"));
        }
        let [reloading, _ready] = &heard[..] else { panic!("{heard:?}") };
        let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim();
        let at = Duration::from_micros(at.parse().unwrap());
        assert!(begun <= at && at <= monotonic(), "{begun:?}, {at:?}");
        watched.feeds_the_watchdog();
    }
}

/// The time of the clock that systemd compares with.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap()
}

#[test]
fn the_watchdog_is_fed_only_while_every_worker_runs() {
    let watched = Watched::start();
    assert_eq!(watched.next(PATIENCE).unwrap(), "READY=1\n");
    for _ in 0..3 {
        watched.feeds_the_watchdog();
    }
    let worker = StoppedThread::of(watched.child.id(), "clarim-1");
    // A notification may have been sent already, and the worker may have run since.
    let notifications = (0..4).take_while(|_| watched.next(LIMIT).is_some()).count();
    assert!(notifications < 3, "the watchdog is still fed");
    assert_eq!(watched.next(LIMIT * 2), None);
    drop(worker);
    watched.feeds_the_watchdog();
    watched.feeds_the_watchdog();
}
