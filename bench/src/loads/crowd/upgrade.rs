//! Upgrades of the running server, while events go out to all connections.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use mio::{Events, Poll, Token};

use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::Server;
use crate::subscribers::crowd::{Crowd, gather};
use crate::wire::deliveries::Verdict;
use crate::wire::event_loop::CHANNEL;
use crate::wire::frames::data;
use crate::wire::publisher::Publisher;

/// Time within which an event must have reached all connections.
const QUIET: Duration = Duration::from_secs(60);

/// Events before the first upgrade, and between two of them.
const EVENTS: u64 = 10;

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Upgrade {
    #[arg(long, default_value_t = 20_000)]
    pub(crate) connections: usize,
    /// Number of upgrades, one after the other.
    #[arg(long, default_value_t = 10)]
    pub(crate) upgrades: u64,
    /// Events per second.
    #[arg(long, default_value_t = 10)]
    pub(crate) rate: u32,
    /// Seconds until all must be connected.
    #[arg(long, default_value_t = 600)]
    pub(crate) patience: u64,
}

impl Upgrade {
    pub(in crate::loads) fn run(&self, server: &Server) -> Result<Report> {
        gather(&server.target, self.connections, false, |crowd| self.measure(server, crowd))
    }

    fn measure(&self, server: &Server, crowd: &Crowd<'_>) -> Result<Report> {
        crowd.wait_until_connected(self.connections, Duration::from_secs(self.patience))?;
        let mut source = Source::connect(crowd, self.connections as u64, self.rate)?;
        for _ in 0..EVENTS {
            source.next()?;
        }
        std::thread::sleep(Duration::from_secs(2));
        let before = server.memory()?;
        let undisturbed = std::mem::take(&mut source.longest);
        let start = Start::now(server)?;
        let mut pauses = Vec::new();
        for _ in 0..self.upgrades {
            let mut restart = restart(server)?;
            while restart.try_wait()?.is_none() {
                source.next()?;
            }
            pauses.push(pause(restart)?);
            for _ in 0..EVENTS {
                source.next()?;
            }
        }
        let phase = start.phase(server)?;
        std::thread::sleep(Duration::from_secs(2));
        let after = server.memory()?;
        let mut report = phase.judge(Verdict::default(), Pace::Open)?;
        pauses.sort_unstable();
        let [first, .., last] = &pauses[..] else { return Ok(report) };
        report.set("pause, at least, ms", *first as f64);
        report.set("pause, median, ms", pauses[pauses.len() / 2] as f64);
        report.set("pause, at most, ms", *last as f64);
        report.set("slowest event, ms", source.longest.as_secs_f64() * 1e3);
        report.set("slowest event before, ms", undisturbed.as_secs_f64() * 1e3);
        report.set("memory before, MB", before as f64 / 1e6);
        report.set("memory after, MB", after as f64 / 1e6);
        Ok(report)
    }
}

/// Runs `clarim restart` of the server's own program.
fn restart(server: &Server) -> Result<Child> {
    let program = fs::read_link(format!("/proc/{}/exe", server.id()))?;
    Command::new(&program)
        .args(["restart", "--port", &server.target.port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))
}

/// The pause that a restart has reported, in milliseconds.
fn pause(restart: Child) -> Result<u64> {
    let output = restart.wait_with_output()?;
    ensure!(output.status.success(), "invalid measurement: a restart has failed");
    let text = String::from_utf8(output.stdout)?;
    let pause = text.split("pause: ").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(pause.context("the restart reports no pause")?.parse()?)
}

/// Publishes events at a fixed rate.
struct Source<'a> {
    crowd: &'a Crowd<'a>,
    connections: u64,
    publisher: Publisher,
    poll: Poll,
    events: Events,
    pace: Duration,
    due: Instant,
    n: u64,
    /// The longest time from an event until all connections had it.
    longest: Duration,
}

impl<'a> Source<'a> {
    fn connect(crowd: &'a Crowd<'a>, connections: u64, rate: u32) -> Result<Self> {
        let poll = Poll::new()?;
        let publisher = Publisher::connect(crowd.target, poll.registry(), Token(0))?;
        let events = Events::with_capacity(8);
        let pace = Duration::from_secs(1) / rate.max(1);
        let due = Instant::now();
        let longest = Duration::ZERO;
        Ok(Self { crowd, connections, publisher, poll, events, pace, due, n: 0, longest })
    }

    /// Publishes the next event when it is due, and waits until all connections have it.
    fn next(&mut self) -> Result<()> {
        std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
        let at = Instant::now();
        self.due = at.max(self.due) + self.pace;
        self.publisher.publish(CHANNEL, &data(self.n, self.crowd.started.elapsed(), 128))?;
        self.crowd.published.fetch_add(1, Ordering::Relaxed);
        self.n += 1;
        let expected = self.n * self.connections;
        while self.crowd.delivered.load(Ordering::Relaxed) < expected {
            self.poll.poll(&mut self.events, Some(Duration::from_millis(1)))?;
            self.publisher.send()?;
            self.publisher.receive()?;
            self.crowd.check()?;
            ensure!(at.elapsed() < QUIET, "invalid measurement: an event has not reached all");
        }
        self.longest = self.longest.max(at.elapsed());
        Ok(())
    }
}
