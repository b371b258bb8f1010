//! Connections that do nothing, and connections that come and go.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use mio::{Events, Poll};

use crate::reports::report::{Report, Start};
use crate::servers::server::Server;
use crate::subscribers::clients::Clients;
use crate::wire::event_loop::CHANNEL;
use crate::wire::websocket::subscribe;

#[derive(Debug, Clone, Args)]
pub(crate) struct Idle {
    /// Number of connections, limited by the open files that the system allows a process.
    #[arg(long, default_value_t = 19_000)]
    pub(crate) connections: usize,
    /// Give each connection a channel of its own, instead of one for all.
    #[arg(long)]
    pub(crate) own_channels: bool,
    /// Seconds of the measurement of idle CPU.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    /// Seconds from disconnecting to the last measurement of memory.
    #[arg(long, default_value_t = 10)]
    pub(crate) after: u64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Churn {
    #[arg(long, default_value_t = 10_000)]
    pub(crate) count: usize,
}

impl Idle {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.connections > 0, "--connections must be at least 1");
        let mut poll = Poll::new()?;
        let before = server.memory()?;
        let channel = |n| if self.own_channels { format!("{CHANNEL}-{n}") } else { CHANNEL.into() };
        let mut clients =
            Clients::connect(&server.target, poll.registry(), self.connections, channel)?;
        let settling = |time| listen(&mut poll, &mut clients, time);
        let full = server.settled_memory(settling, Duration::from_secs(1))?;
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

/// Runs the event loop for this time, which answers pings.
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

impl Churn {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.count > 0, "--count must be at least 1");
        let mut resumed = 0;
        let start = Start::now(server)?;
        for n in 0..self.count {
            let (connection, _) = subscribe(&server.target, n, CHANNEL)?;
            resumed += u64::from(connection.is_resumed());
        }
        // The server still has to process the last ones.
        std::thread::sleep(Duration::from_millis(200));
        let phase = start.phase(server)?;
        let mut report = Report { marks: phase.disturbances(), ..Report::default() };
        report.set("CPU per cycle, µs", phase.each(self.count as u64));
        if server.target.tls.is_some() {
            report.set("resumed TLS sessions", resumed as f64);
        }
        Ok(report)
    }
}
