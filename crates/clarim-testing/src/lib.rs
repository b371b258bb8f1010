//! Real servers for tests, started on free ports and ended when dropped, and a proxy that cuts, stalls or
//! delays connections.
//!
//! All functions panic on errors, because a test without its server has failed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod guard;
mod nats;
mod postgres;
mod program;
mod proxy;
mod redis;
#[cfg(target_os = "linux")]
mod stopped_thread;

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use guard::{Certificate, Guard};
pub use nats::{Operator, nats, nats_cluster, nats_with_jetstream};
pub use postgres::Postgres;
pub use program::Program;
pub use proxy::Proxy;
pub use redis::{RedisCluster, Sentinels, redis, redis_guarded, redis_with};
#[cfg(target_os = "linux")]
pub use stopped_thread::StoppedThread;

/// The range of [`free_port`], below the system's ephemeral ports.
const PORTS: Range<u16> = 10_000..19_000;
/// Offset of the UDP port that reserves a port, and of the second port of a Redis Cluster server.
const TWIN: u16 = 10_000;

/// Reserves a port for a test, even while its server restarts: a UDP port 10 000 above stays bound until this
/// process ends. The tests in `e2e` do the same. (The UDP port of the same number belongs to HTTP/3.)
///
/// # Panics
/// If no port is free.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    // Each process starts at another port, so that it finds a free one soon.
    let start = (std::process::id() * 12) as u16;
    for _ in PORTS {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + offset % (PORTS.end - PORTS.start);
        let Ok(twin) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port + TWIN)) else { continue };
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if is_free(port) && is_free(port + TWIN) {
            RESERVED.lock().unwrap().push(twin);
            return port;
        }
    }
    panic!("no port is free");
}

/// Path to an example of the tested package. Cargo builds examples together with tests.
///
/// # Panics
/// If it has not been built, as with `cargo test --test NAME`.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().and_then(Path::parent).expect("tests are in target/PROFILE/deps");
    let program = folder.join("examples").join(name);
    assert!(program.exists(), "not built: cargo build --workspace --examples");
    program
}

/// Waits until `it` is true.
///
/// # Panics
/// If it is not true within this number of seconds.
pub fn wait_until(what: &str, seconds: u64, mut it: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !it() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        sleep(Duration::from_millis(20));
    }
}
