//! More connections than one process may hold files: each thread has a table of file descriptors of its own.

use std::borrow::Cow;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use mio::{Events, Poll, Token};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Resource, getrlimit};

use crate::clients::Clients;
use crate::cpu::memory;
use crate::fanout::CHANNEL;
use crate::frames::{Verdict, data};
use crate::publisher::Publisher;
use crate::report::{Pace, Report, Start};
use crate::server::{Server, Target};

/// Descriptors of a thread that are no clients.
const RESERVED: u64 = 500;
/// How long nobody may get anything before the rest counts as lost.
const QUIET: Duration = Duration::from_secs(60);
/// Connections between two looks at those that are there already, which want their pings answered.
const CHUNK: usize = 64;

/// The load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Crowd {
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) connections: usize,
    /// Events to all of them, one after the other.
    #[arg(long, default_value_t = 3)]
    pub(crate) events: u64,
    /// How long idle CPU is measured.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// How long they may take to connect.
    #[arg(long, default_value_t = 1_800)]
    pub(crate) patience: u64,
}

/// What the threads know of each other.
pub(crate) struct Shared<'a> {
    target: &'a Target,
    /// Whether each has a channel of its own.
    own_channels: bool,
    started: Instant,
    connected: AtomicUsize,
    published: AtomicU64,
    delivered: AtomicU64,
    over: AtomicBool,
    failure: Mutex<Option<anyhow::Error>>,
}

impl Crowd {
    pub(crate) fn run(&self, server: &Server) -> Result<Report> {
        let before = Memory::now(server)?;
        gather(&server.target, self.connections, false, |shared| {
            self.measure(server, shared, before)
        })
    }

    fn measure(&self, server: &Server, shared: &Shared<'_>, before: Memory) -> Result<Report> {
        let start = Start::now(server)?;
        let patience = Duration::from_secs(self.patience);
        shared.are_there(self.connections, patience)?;
        let connecting = start.phase(server)?;
        std::thread::sleep(Duration::from_secs(2));
        let full = Memory::now(server)?;
        let start = Start::now(server)?;
        std::thread::sleep(Duration::from_secs(self.seconds));
        let idle = start.phase(server)?;
        let start = Start::now(server)?;
        let times = self.events_to_all(shared)?;
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

    fn events_to_all(&self, shared: &Shared<'_>) -> Result<Vec<Duration>> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(8);
        let mut publisher = Publisher::connect(shared.target, poll.registry(), Token(0))?;
        let mut times = Vec::new();
        for n in 0..self.events {
            let at = Instant::now();
            publisher.publish(CHANNEL, &data(n, shared.started.elapsed(), 128))?;
            shared.published.fetch_add(1, Ordering::Relaxed);
            let expected = (n + 1) * self.connections as u64;
            let mut last = (0, Instant::now());
            while shared.delivered.load(Ordering::Relaxed) < expected {
                poll.poll(&mut events, Some(Duration::from_millis(1)))?;
                publisher.send()?;
                publisher.receive()?;
                shared.check()?;
                let delivered = shared.delivered.load(Ordering::Relaxed);
                if delivered > last.0 {
                    last = (delivered, Instant::now());
                }
                ensure!(last.1.elapsed() < QUIET, "not a result: {delivered} of {expected} came");
            }
            times.push(at.elapsed());
        }
        Ok(times)
    }
}

/// Connects so many and measures while they are there. An error also if one of them got what it should not,
/// or not all that it should.
pub(crate) fn gather<R>(
    target: &Target,
    connections: usize,
    own_channels: bool,
    measure: impl FnOnce(&Shared<'_>) -> Result<R>,
) -> Result<R> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let each = usize::try_from(files.saturating_sub(RESERVED))?.min(connections).max(1);
    let shared = Shared {
        target,
        own_channels,
        started: Instant::now(),
        connected: AtomicUsize::new(0),
        published: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        over: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    std::thread::scope(|scope| {
        let seats: Vec<_> = (0..connections)
            .step_by(each)
            .map(|from| {
                let range = from..(from + each).min(connections);
                let shared = &shared;
                scope.spawn(move || shared.seat(range))
            })
            .collect();
        let measured = measure(&shared);
        shared.over.store(true, Ordering::Relaxed);
        let mut verdict = Verdict::default();
        for seat in seats {
            let seat = seat.join().map_err(|_| anyhow!("a thread of the crowd panicked"))?;
            verdict.add(seat);
        }
        let result = measured?;
        ensure!(verdict.is_clean(), "not a result: {verdict}");
        Ok(result)
    })
}

impl Shared<'_> {
    /// Connects these clients and listens until it is over.
    fn seat(&self, range: Range<usize>) -> Verdict {
        self.listen(range).unwrap_or_else(|error| {
            let mut failure =
                self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            failure.get_or_insert(error);
            Verdict::default()
        })
    }

    fn listen(&self, range: Range<usize>) -> Result<Verdict> {
        unshare(CloneFlags::CLONE_FILES).context("no table of descriptors of its own")?;
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(1024);
        let mut clients = Clients::none(range.len());
        for n in range {
            clients.add(self.target, poll.registry(), n, &self.channel(n))?;
            self.connected.fetch_add(1, Ordering::Relaxed);
            if n % CHUNK == 0 {
                self.receive(&mut poll, &mut events, &mut clients, Duration::ZERO)?;
            }
            if self.over.load(Ordering::Relaxed) {
                break;
            }
        }
        while !self.over.load(Ordering::Relaxed) {
            self.receive(&mut poll, &mut events, &mut clients, Duration::from_millis(100))?;
        }
        Ok(clients.verdict(self.published.load(Ordering::Relaxed)))
    }

    fn receive(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        clients: &mut Clients,
        wait: Duration,
    ) -> Result<()> {
        match poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result.context("poll")?,
        }
        let mut count = 0;
        for event in &*events {
            clients.receive(event, |_| count += 1)?;
        }
        self.delivered.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    fn channel(&self, n: usize) -> Cow<'static, str> {
        if self.own_channels { format!("{CHANNEL}-{n}").into() } else { CHANNEL.into() }
    }

    /// Waits until so many are connected.
    pub(crate) fn are_there(&self, connections: usize, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            self.check()?;
            let connected = self.connected.load(Ordering::Relaxed);
            if connected >= connections {
                return Ok(());
            }
            ensure!(Instant::now() < until, "only {connected} connected in time");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether all has gone well so far.
    pub(crate) fn check(&self) -> Result<()> {
        let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failure.take().map_or(Ok(()), Err)
    }
}

/// Bytes at one moment.
#[derive(Debug, Clone, Copy)]
struct Memory {
    server: u64,
    client: u64,
    /// Of the whole machine: what the kernel keeps for the sockets shows only here.
    free: u64,
}

impl Memory {
    fn now(server: &Server) -> Result<Self> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let free = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB"))
            .context("no MemAvailable")?;
        let free = free.trim().parse::<u64>()? * 1024;
        Ok(Self { server: server.memory()?, client: memory(std::process::id())?, free })
    }
}
