//! The loads: what is done to a server, and what is measured meanwhile.

pub(crate) mod batch;
mod beats;
pub(crate) mod channels;
pub(crate) mod chat;
pub(crate) mod presence;
pub(crate) mod rooms;
pub(crate) mod slow;
pub(crate) mod tail;
pub(crate) mod watched;
pub(crate) mod whispers;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use mio::{Events, Poll};

use crate::clients::{Clients, subscribe};
use crate::crowd::Crowd;
use crate::fanout::{CHANNEL, Fanout};
use crate::frames::{MIN_SIZE, Verdict};
use crate::report::{Pace, Report, Start};
use crate::server::{Server, Target};
use crate::stage::Stage;
use batch::Batch;
use channels::Channels;
use chat::Chat;
use presence::Presence;
use slow::Slow;
use tail::Tail;
use watched::Watched;
use whispers::Whispers;

/// Deliveries of a closed loop, unless it is told a number of events.
const DELIVERIES: u64 = 4_000_000;
/// Memory that may still come and go once a server has settled.
const SETTLED: u64 = 64 << 10;

/// One load.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Load {
    /// Connections that are subscribed and do nothing: memory for each, and idle CPU.
    Idle(Idle),
    /// Events to all subscribers of one channel: by the clock, or with --closed as fast as they go.
    Fanout(FanoutLoad),
    /// Events to a channel without subscribers: the HTTP API alone.
    Publish(Publish),
    /// Connect, subscribe, close, one after the other.
    Churn(Churn),
    /// More connections than a process may hold files, and one event to all of them.
    Crowd(Crowd),
    /// Batches of events to a channel without subscribers.
    Batch(Batch),
    /// Many channels with one subscriber each: by the clock, or with --closed as fast as they go.
    Channels(Channels),
    /// Everybody joins one presence channel, leaves and comes back, as fast as they can.
    Presence(Presence),
    /// Client events of everybody in one private channel.
    Whispers(Whispers),
    /// Events to subscribers of whom some do not read.
    Slow(Slow),
    /// Rooms with messages, client events, joins and leaves.
    Chat(Chat),
    /// How late the latest deliveries are, in quiet and while much else goes on.
    Tail(Tail),
    /// What it costs that people look at the inspector while many are connected.
    Watched(Watched),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Idle {
    /// How many connect. All together may hold as many files as the system allows a process.
    #[arg(long, default_value_t = 19_000)]
    pub(crate) connections: usize,
    /// Give each connection a channel of its own, instead of one for all.
    #[arg(long)]
    pub(crate) own_channels: bool,
    /// How long idle CPU is measured.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    /// Seconds between their leaving and the last look at memory.
    #[arg(long, default_value_t = 10)]
    pub(crate) after: u64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FanoutLoad {
    #[arg(long, default_value_t = 1_000)]
    pub(crate) subscribers: usize,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// Open loop: events per second.
    #[arg(long, default_value_t = 10)]
    pub(crate) rate: u32,
    /// Open loop: for how long.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u32,
    /// Publish the next event as soon as the oldest has reached everybody.
    #[arg(long)]
    pub(crate) closed: bool,
    /// Closed loop: events on their way at a time, each published over a connection of its own.
    #[arg(long, default_value_t = 8)]
    pub(crate) in_flight: usize,
    /// Closed loop: events in all; by default as many as make four million deliveries.
    #[arg(long)]
    pub(crate) events: Option<u64>,
    /// Subscribers offer permessage-deflate; the server must accept it.
    #[arg(long)]
    pub(crate) deflate: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Publish {
    #[arg(long, default_value_t = 100_000)]
    pub(crate) requests: u64,
    /// Keep-alive connections, each with one request at a time.
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Churn {
    #[arg(long, default_value_t = 10_000)]
    pub(crate) count: usize,
}

impl Load {
    /// What it is called in tables.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Idle(Idle { connections, own_channels: true, .. }) => {
                format!("idle, {connections} connections, own channels")
            }
            Self::Idle(Idle { connections, .. }) => format!("idle, {connections} connections"),
            Self::Fanout(FanoutLoad { subscribers, closed: true, in_flight, .. }) => {
                format!("closed loop, {in_flight} in flight to {subscribers}")
            }
            Self::Fanout(FanoutLoad { subscribers, rate, .. }) => {
                format!("open loop, {rate}/s to {subscribers}")
            }
            Self::Publish(Publish { connections, .. }) => {
                format!("publish, {connections} connections")
            }
            Self::Churn(_) => "connect, subscribe, close".to_owned(),
            Self::Crowd(crowd) => format!("crowd of {}", crowd.connections),
            Self::Batch(batch) => format!("batches of {}", batch.events),
            Self::Channels(Channels { channels, closed: true, in_flight, .. }) => {
                format!("{channels} channels, closed loop, {in_flight} in flight")
            }
            Self::Channels(Channels { channels, rate, .. }) => {
                format!("{channels} channels, open loop, {rate}/s")
            }
            Self::Presence(presence) => format!("presence storm of {}", presence.connections),
            Self::Whispers(Whispers { clients, rate, .. }) => {
                format!("whispers, {clients} clients, {rate}/s each")
            }
            Self::Slow(Slow { subscribers, percent, rate, .. }) => {
                format!("slow readers, {percent} % of {subscribers}, {rate}/s")
            }
            Self::Chat(Chat { rooms, members, .. }) => format!("chat, {rooms} rooms of {members}"),
            Self::Tail(Tail { subscribers, rate, .. }) => {
                format!("tail, {rate}/s to {subscribers}")
            }
            Self::Watched(Watched { connections, .. }) => {
                format!("inspector, {connections} connections")
            }
        }
    }

    /// Its command: what is one line of a plot.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Fanout(FanoutLoad { closed: true, .. }) => "fanout, closed",
            Self::Fanout(_) => "fanout, open",
            Self::Publish(_) => "publish",
            Self::Churn(_) => "churn",
            Self::Crowd(_) => "crowd",
            Self::Batch(_) => "batch",
            Self::Channels(_) => "channels",
            Self::Presence(_) => "presence",
            Self::Whispers(_) => "whispers",
            Self::Slow(_) => "slow",
            Self::Chat(_) => "chat",
            Self::Tail(_) => "tail",
            Self::Watched(_) => "watched",
        }
    }

    /// How many hear an event, where that is what a plot goes by.
    pub(crate) fn scale(&self) -> Option<usize> {
        match self {
            Self::Fanout(load) => Some(load.subscribers),
            _ => None,
        }
    }

    /// Whether the floor can do it: it knows no members, and has no inspector.
    pub(crate) fn has_floor(&self) -> bool {
        !matches!(self, Self::Presence(_) | Self::Chat(_) | Self::Tail(_) | Self::Watched(_))
    }

    pub(crate) fn run(&self, server: &Server) -> Result<Report> {
        match self {
            Self::Idle(idle) => idle.run(server),
            Self::Fanout(load) if load.closed => load.run_closed(server),
            Self::Fanout(load) => load.run_open(server),
            Self::Publish(publish) => publish.run(server),
            Self::Churn(churn) => churn.run(server),
            Self::Crowd(crowd) => crowd.run(server),
            Self::Batch(batch) => batch.run(server),
            Self::Channels(channels) => channels.run(server),
            Self::Presence(presence) => presence.run(server),
            Self::Whispers(whispers) => whispers.run(server),
            Self::Slow(slow) => slow.run(server),
            Self::Chat(chat) => chat.run(server),
            Self::Tail(tail) => tail.run(server),
            Self::Watched(watched) => watched.run(server),
        }
    }
}

impl Idle {
    fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.connections > 0, "at least one connection is needed");
        let mut poll = Poll::new()?;
        let before = server.memory()?;
        let channel = |n| if self.own_channels { format!("{CHANNEL}-{n}") } else { CHANNEL.into() };
        let mut clients =
            Clients::connect(&server.target, poll.registry(), self.connections, channel)?;
        let full = settle(server, &mut poll, &mut clients)?;
        let start = Start::now(server)?;
        listen(&mut poll, &mut clients, Duration::from_secs(self.seconds))?;
        let phase = start.phase(server)?;
        drop(clients);
        std::thread::sleep(Duration::from_secs(self.after));
        let after = server.memory()?;
        let mut report = Report::default();
        let each = full.saturating_sub(before) as f64 / self.connections as f64;
        report.set("bytes per connection", each);
        report.set("kept after they left, KiB", after.saturating_sub(before) as f64 / 1024.0);
        report.set("idle CPU, % of a core", phase.share(phase.server.on_core) * 100.0);
        Ok(report)
    }
}

/// Waits until the server's memory stays as it is, ten seconds at most.
fn settle(server: &Server, poll: &mut Poll, clients: &mut Clients) -> Result<u64> {
    let mut memory = server.memory()?;
    for _ in 0..10 {
        listen(poll, clients, Duration::from_secs(1))?;
        let before = std::mem::replace(&mut memory, server.memory()?);
        if memory.abs_diff(before) <= SETTLED {
            break;
        }
    }
    Ok(memory)
}

/// The server's memory once it stays as it is, after ten seconds at most.
fn settled_memory(server: &Server, stage: &mut Stage) -> Result<u64> {
    let mut memory = server.memory()?;
    for _ in 0..20 {
        stage.listen(Duration::from_millis(500))?;
        let before = std::mem::replace(&mut memory, server.memory()?);
        if memory.abs_diff(before) <= SETTLED {
            break;
        }
    }
    Ok(memory)
}

/// Answers pings for a while.
fn listen(poll: &mut Poll, clients: &mut Clients, time: Duration) -> Result<()> {
    let mut events = Events::with_capacity(256);
    let until = Instant::now() + time;
    while let Some(wait) = until.checked_duration_since(Instant::now()) {
        match poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            result => result.context("poll")?,
        }
        for event in &events {
            clients.receive(event, |_| {})?;
        }
    }
    Ok(())
}

impl FanoutLoad {
    fn run_open(&self, server: &Server) -> Result<Report> {
        let mut fanout = self.connect(server, 1)?;
        let start = Start::now(server)?;
        fanout.open(self.rate, self.seconds)?;
        let phase = start.phase(server)?;
        let mut report = phase.judge(fanout.verdict()?, Pace::Open)?;
        let at = |quantile| fanout.latency.value_at_quantile(quantile) as f64 / 1e3;
        report.set("CPU per delivery, µs", phase.each(fanout.delivered));
        report.set("wire bytes per delivery", fanout.wire_bytes_each());
        report.set("p50, ms", at(0.5));
        report.set("p99, ms", at(0.99));
        report.set("p99.9, ms", at(0.999));
        report.set("published late, at most, ms", fanout.late.as_secs_f64() * 1e3);
        Ok(report)
    }

    fn run_closed(&self, server: &Server) -> Result<Report> {
        let mut fanout = self.connect(server, self.in_flight)?;
        let events = self.events.unwrap_or(DELIVERIES / self.subscribers as u64).max(1);
        let start = Start::now(server)?;
        fanout.closed(events, self.in_flight)?;
        let phase = start.phase(server)?;
        // Events that overtake each other on different connections have no order to keep.
        let verdict = Verdict { disordered: 0, ..fanout.verdict()? };
        let mut report = phase.judge(verdict, Pace::Closed)?;
        report.set("CPU per delivery, µs", phase.each(fanout.delivered));
        report.set("wire bytes per delivery", fanout.wire_bytes_each());
        phase.rate(&mut report, "deliveries/s", fanout.delivered);
        Ok(report)
    }

    fn connect(&self, server: &Server, publishers: usize) -> Result<Fanout> {
        ensure!(self.subscribers > 0, "at least one subscriber is needed");
        ensure!(self.size >= MIN_SIZE, "an event needs {MIN_SIZE} bytes at least");
        let target = Target { deflate: self.deflate, ..server.target.clone() };
        Fanout::connect(&target, self.subscribers, publishers, self.size)
    }
}

impl Publish {
    fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.requests > 0, "at least one request is needed");
        let mut fanout = Fanout::connect(&server.target, 0, self.connections, 128)?;
        let start = Start::now(server)?;
        fanout.closed(self.requests, self.connections)?;
        let phase = start.phase(server)?;
        let mut report = phase.judge(fanout.verdict()?, Pace::Closed)?;
        report.set("CPU per request, µs", phase.each(fanout.published));
        phase.rate(&mut report, "requests/s", fanout.published);
        Ok(report)
    }
}

impl Churn {
    fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.count > 0, "at least one cycle is needed");
        let start = Start::now(server)?;
        for n in 0..self.count {
            drop(subscribe(&server.target, n, CHANNEL)?);
        }
        // The last ones still have to be noticed.
        std::thread::sleep(Duration::from_millis(200));
        let phase = start.phase(server)?;
        let mut report = Report { marks: phase.disturbances(), ..Report::default() };
        report.set("CPU per cycle, µs", phase.each(self.count as u64));
        Ok(report)
    }
}
