//! More connections than one process may have open files, and events to all of them.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use mio::{Events, Poll, Token};

use crate::reports::report::{Pace, Report, Start};
use crate::servers::process::memory;
use crate::servers::server::Server;
use crate::subscribers::crowd::{Crowd as Connections, gather};
use crate::wire::deliveries::Verdict;
use crate::wire::event_loop::CHANNEL;
use crate::wire::frames::data;
use crate::wire::publisher::Publisher;

/// Time without any delivery after which the missing ones count as lost.
const QUIET: Duration = Duration::from_secs(60);

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Crowd {
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) connections: usize,
    /// Number of events to all connections, one after the other.
    #[arg(long, default_value_t = 3)]
    pub(crate) events: u64,
    /// Seconds of the measurement of idle CPU.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Seconds until all must be connected.
    #[arg(long, default_value_t = 1_800)]
    pub(crate) patience: u64,
}

impl Crowd {
    pub(crate) fn run(&self, server: &Server) -> Result<Report> {
        let before = Memory::now(server)?;
        gather(&server.target, self.connections, false, |crowd| self.measure(server, crowd, before))
    }

    fn measure(&self, server: &Server, crowd: &Connections<'_>, before: Memory) -> Result<Report> {
        let start = Start::now(server)?;
        let patience = Duration::from_secs(self.patience);
        crowd.wait_until_connected(self.connections, patience)?;
        let connecting = start.phase(server)?;
        std::thread::sleep(Duration::from_secs(2));
        let full = Memory::now(server)?;
        let start = Start::now(server)?;
        std::thread::sleep(Duration::from_secs(self.seconds));
        let idle = start.phase(server)?;
        let start = Start::now(server)?;
        let times = self.events_to_all(crowd)?;
        let events = start.phase(server)?;

        let mut report = events.judge(Verdict::default(), Pace::Closed)?;
        let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / self.connections as f64;
        report.set("server, bytes per connection", each(full.server, before.server));
        report.set("client, bytes per connection", each(full.client, before.client));
        report.set("machine, bytes per connection", each(before.free, full.free));
        report.set("connecting, s", connecting.wall.as_secs_f64());
        report.set("connecting, CPU per connection, µs", connecting.each(self.connections as u64));
        report.set("idle CPU, % of a core", idle.share(idle.server.on_core) * 100.0);
        report.set("CPU per delivery, µs", events.each(self.events * self.connections as u64));
        for (n, time) in times.iter().enumerate() {
            report.set(&format!("event {} has reached all after, s", n + 1), time.as_secs_f64());
        }
        Ok(report)
    }

    fn events_to_all(&self, crowd: &Connections<'_>) -> Result<Vec<Duration>> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(8);
        let mut publisher = Publisher::connect(crowd.target, poll.registry(), Token(0))?;
        let mut times = Vec::new();
        for n in 0..self.events {
            let at = Instant::now();
            publisher.publish(CHANNEL, &data(n, crowd.started.elapsed(), 128))?;
            crowd.published.fetch_add(1, Ordering::Relaxed);
            let expected = (n + 1) * self.connections as u64;
            let mut last = (0, Instant::now());
            while crowd.delivered.load(Ordering::Relaxed) < expected {
                poll.poll(&mut events, Some(Duration::from_millis(1)))?;
                publisher.send()?;
                publisher.receive()?;
                crowd.check()?;
                let delivered = crowd.delivered.load(Ordering::Relaxed);
                if delivered > last.0 {
                    last = (delivered, Instant::now());
                }
                ensure!(
                    last.1.elapsed() < QUIET,
                    "invalid measurement: {delivered} of {expected} deliveries arrived"
                );
            }
            times.push(at.elapsed());
        }
        Ok(times)
    }
}

/// Memory in use, in bytes.
#[derive(Debug, Clone, Copy)]
struct Memory {
    server: u64,
    client: u64,
    /// Available memory of the machine. Only this includes the kernel's memory for sockets.
    free: u64,
}

impl Memory {
    fn now(server: &Server) -> Result<Self> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let free = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB"))
            .context("/proc/meminfo has no MemAvailable")?;
        let free = free.trim().parse::<u64>()? * 1024;
        Ok(Self { server: server.memory()?, client: memory(std::process::id())?, free })
    }
}
