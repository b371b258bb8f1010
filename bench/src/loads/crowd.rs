//! More connections than one process may have open files: events to all, and upgrades of the server.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use mio::{Events, Poll, Token};

use super::upgrade;
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

/// Events before the first upgrade, and after each one.
const EVENTS: u32 = 10;

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
    /// Number of upgrades of the server, one after the other, while events go out.
    #[arg(long, default_value_t = 0)]
    pub(crate) upgrades: usize,
    /// Events per second during the upgrades.
    #[arg(long, default_value_t = 2)]
    pub(crate) rate: u32,
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
        let mut announcer = Announcer::connect(crowd, self.connections)?;
        let times = (0..self.events).map(|_| announcer.publish_to_all());
        let times = times.collect::<Result<Vec<Duration>>>()?;
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
        if self.upgrades > 0 {
            self.upgrade(server, &mut announcer, &mut report)?;
        }
        Ok(report)
    }

    /// Upgrades the server, and reports how long that took.
    fn upgrade(
        &self,
        server: &Server,
        announcer: &mut Announcer<'_>,
        report: &mut Report,
    ) -> Result<()> {
        // Forgets the events before.
        announcer.slowest();
        announcer.publish_at(self.rate, |published| Ok(published < EVENTS))?;
        let undisturbed = announcer.slowest();
        let memory = server.anonymous_memory()?;
        let mut pauses = Vec::new();
        for _ in 0..self.upgrades {
            let mut restart = upgrade::restart(server)?;
            announcer.publish_at(self.rate, |_| Ok(restart.try_wait()?.is_none()))?;
            pauses.push(upgrade::pause(restart)?);
            announcer.publish_at(self.rate, |published| Ok(published < EVENTS))?;
        }
        let slowest = announcer.slowest();
        upgrade::report_pauses(&mut pauses, report);
        report.set("slowest delivery, ms", slowest);
        report.set("slowest delivery before, ms", undisturbed);
        report.set("anonymous memory before, MB", memory as f64 / 1e6);
        std::thread::sleep(Duration::from_secs(2));
        report.set("anonymous memory after, MB", server.anonymous_memory()? as f64 / 1e6);
        Ok(())
    }
}

/// Publishes events to all connections.
struct Announcer<'a> {
    crowd: &'a Connections<'a>,
    connections: u64,
    poll: Poll,
    events: Events,
    publisher: Publisher,
    published: u64,
}

impl<'a> Announcer<'a> {
    fn connect(crowd: &'a Connections<'a>, connections: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let publisher = Publisher::connect(crowd.target, poll.registry(), Token(0))?;
        let events = Events::with_capacity(8);
        Ok(Self { crowd, connections: connections as u64, poll, events, publisher, published: 0 })
    }

    /// Publishes an event. Returns the time until it has reached all.
    fn publish_to_all(&mut self) -> Result<Duration> {
        let at = Instant::now();
        self.publish(self.crowd.started.elapsed())?;
        self.wait_for_all()?;
        Ok(at.elapsed())
    }

    /// Publishes events at a fixed rate for as long as `goes_on`, which gets their number. They have reached
    /// all when it returns.
    fn publish_at(
        &mut self,
        rate: u32,
        mut goes_on: impl FnMut(u32) -> Result<bool>,
    ) -> Result<()> {
        let start = self.crowd.started.elapsed();
        let mut published = 0;
        while goes_on(published)? {
            let due = start + Duration::from_secs(1) * published / rate.max(1);
            if self.crowd.started.elapsed() >= due {
                self.publish(due)?;
                published += 1;
            }
            self.turn()?;
        }
        self.wait_for_all()
    }

    fn publish(&mut self, due: Duration) -> Result<()> {
        self.publisher.publish(CHANNEL, &data(self.published, due, 128))?;
        self.published += 1;
        self.crowd.published.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn wait_for_all(&mut self) -> Result<()> {
        let expected = self.published * self.connections;
        let mut last = (0, Instant::now());
        loop {
            let delivered = self.crowd.delivered.load(Ordering::Relaxed);
            if delivered >= expected && self.publisher.pending == 0 {
                return Ok(());
            }
            self.turn()?;
            if delivered > last.0 {
                last = (delivered, Instant::now());
            }
            ensure!(
                last.1.elapsed() < QUIET,
                "invalid measurement: {delivered} of {expected} deliveries arrived"
            );
        }
    }

    fn turn(&mut self) -> Result<()> {
        self.poll.poll(&mut self.events, Some(Duration::from_millis(1)))?;
        self.publisher.send()?;
        self.publisher.receive()?;
        self.crowd.check()
    }

    /// The longest time from when an event was due until a client had it, in milliseconds. Starts anew.
    fn slowest(&self) -> f64 {
        self.crowd.slowest.swap(0, Ordering::Relaxed) as f64 / 1e3
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
