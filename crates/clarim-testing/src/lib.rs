//! What tests run against: real servers, started on free ports and ended with their values, and a proxy that
//! cuts, holds or delays what goes through it.
//!
//! Everything here panics where something goes wrong: a test that has no server has failed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod guard;
mod nats;
mod postgres;
mod program;
mod proxy;
mod redis;

use std::net::{Ipv4Addr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use guard::{Certificate, Guard};
pub use nats::{Operator, nats, nats_cluster};
pub use postgres::Postgres;
pub use program::Program;
pub use proxy::Proxy;
pub use redis::{RedisCluster, Sentinels, redis, redis_guarded, redis_with};

/// A port that was free a moment ago. It is low enough for Redis Cluster, whose servers have a second port
/// above the first, and below those that the system gives to outgoing connections.
///
/// # Panics
/// If no port is free.
#[must_use]
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests of several processes run at once: each begins somewhere else.
    let start = 10_000 + (std::process::id() % 1_000) as u16 * 12;
    for _ in 0..12_000 {
        let port = 10_000 + (start - 10_000 + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
    panic!("no port is free");
}

/// Waits until `it` is true.
///
/// # Panics
/// If it is not within so many seconds.
pub fn wait_until(what: &str, seconds: u64, mut it: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !it() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        sleep(Duration::from_millis(20));
    }
}
