//! Measures the logs of a bus: appends per second of one connection, and the time from an append to its
//! delivery to another connection.
//!
//! cargo run --release -p clarim-bus --features file,redis,nats --example append -- redis://127.0.0.1:6379
//!
//! An absolute path is that of a file, which should not be in memory (tmpfs).
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clarim_bus::{Bus, BusEvent, Connection, FileBus, IdempotencyKey, Log, MemoryBus, Retention};
use tokio::time::sleep;

const APPENDS: u64 = 100_000;
const PAYLOAD: usize = 200;
/// Appends without an outcome at a time.
const WINDOW: u64 = 2_000;

#[tokio::main]
async fn main() {
    let bus = match std::env::args().nth(1) {
        Some(path) if path.starts_with('/') => match FileBus::open(path.as_ref()) {
            Ok(bus) => bus.into(),
            Err(error) => panic!("{error}"),
        },
        Some(url) => Bus::parse(&url).unwrap_or_else(|error| panic!("{error}")),
        None => MemoryBus::new().into(),
    };
    let mut appender = connect(&bus).await;
    let mut follower = connect(&bus).await;
    let log = Log::new("example", Retention::new(100, Duration::from_secs(120), 1 << 20));
    throughput(&mut appender, &log, "without keys", |_| None).await;
    throughput(&mut appender, &log, "with keys", |id| {
        IdempotencyKey::new(format!("{:p}-{id}", &log)).ok()
    })
    .await;
    follower.follow(log.name());
    while !matches!(follower.next().await, BusEvent::Following { .. }) {}
    latency(&mut appender, &mut follower, &log).await;
}

async fn connect(bus: &Bus) -> Connection {
    let mut connection = bus.connect();
    match connection.next().await {
        BusEvent::Connected => connection,
        event => panic!("{event:?}"),
    }
}

async fn throughput(
    appender: &mut Connection,
    log: &Log,
    what: &str,
    key: impl Fn(u64) -> Option<IdempotencyKey>,
) {
    let began = Instant::now();
    let mut sent = 0;
    let mut done = 0;
    while done < APPENDS {
        while sent < APPENDS && sent - done < WINDOW {
            appender.append(log, vec![b'x'; PAYLOAD].into(), key(sent), sent);
            sent += 1;
        }
        match appender.next().await {
            BusEvent::Appended { is_duplicate: false, .. } => done += 1,
            event => panic!("{event:?}"),
        }
    }
    println!("{what}: {:.0} appends/s", APPENDS as f64 / began.elapsed().as_secs_f64());
}

/// Appends at a moderate rate.
async fn latency(appender: &mut Connection, follower: &mut Connection, log: &Log) {
    let mut sent: HashMap<Vec<u8>, Instant> = HashMap::new();
    let mut times = Vec::new();
    for id in 0..2_000_u64 {
        let mut payload = id.to_le_bytes().to_vec();
        payload.resize(PAYLOAD, b'x');
        sent.insert(payload.clone(), Instant::now());
        appender.append(log, payload.into(), None, id);
        if let BusEvent::Entry { entry, .. } = follower.next().await {
            times.extend(sent.get(&*entry.payload).map(Instant::elapsed));
        }
        while !matches!(appender.next().await, BusEvent::Appended { .. }) {}
        sleep(Duration::from_millis(1)).await;
    }
    times.sort_unstable();
    let percentile = |of: usize| times.get(times.len() * of / 100).copied().unwrap_or_default();
    println!("append to delivery: p50 {:?}, p99 {:?}", percentile(50), percentile(99));
}
