//! Clients of channels with history that lose their connections, and come back after missing events.

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::tail::Times;
use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::Server;
use crate::simulation::account::Stream;
use crate::simulation::client::Position;
use crate::simulation::engine::{ClientId, Simulation};
use crate::simulation::schedule::Schedule;

/// Channel of the subscribers that stay, without history.
const WATCHED: &str = "bench";
/// The other streams are of the channels with history.
const WATCHED_STREAM: Stream = 0;
/// Handshakes in flight while all clients connect for the first time.
const AT_ONCE: u64 = 100;

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Recovery {
    #[arg(long, default_value_t = 10_000)]
    pub(crate) clients: usize,
    /// Channels with history. Each client subscribes to one of them.
    #[arg(long, default_value_t = 100)]
    pub(crate) channels: usize,
    /// Events that each client misses.
    #[arg(long, default_value_t = 20)]
    pub(crate) missed: u64,
    /// Clients that come back per second.
    #[arg(long, default_value_t = 3_500.0)]
    pub(crate) returns: f64,
    /// Subscribers of another channel, which stay.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) subscribers: usize,
    /// Events per second to them.
    #[arg(long, default_value_t = 20.0)]
    pub(crate) rate: f64,
    /// Seconds without clients that come back, and then with them.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u32,
}

/// A client that was subscribed to a channel with history.
struct Former {
    /// Index of the channel.
    channel: usize,
    position: Position,
}

impl Former {
    fn stream(&self) -> Result<Stream> {
        Ok(WATCHED_STREAM + 1 + Stream::try_from(self.channel)?)
    }
}

impl Recovery {
    pub(crate) fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.clients > 0, "--clients must be at least 1");
        ensure!(self.channels > 0, "--channels must be at least 1");
        ensure!(self.subscribers > 0, "--subscribers must be at least 1");
        let streams = 1 + self.channels;
        let mut simulation = Simulation::new(&server.target, 1, streams, 128)?;
        simulation.first_missed = WATCHED_STREAM + 1;
        let watched = |_| WATCHED.to_owned();
        connect(&mut simulation, self.subscribers, watched, &[WATCHED_STREAM])?;
        let with_history = |n| channel(n % self.channels);
        let clients = connect(&mut simulation, self.clients, with_history, &[])?;
        let start = Start::now(server)?;
        let quiet = self.storm(&mut simulation, &[])?;
        let usual = start.phase(server)?;
        let formers = self.interrupt(&mut simulation, &clients)?;
        let start = Start::now(server)?;
        let storm = self.storm(&mut simulation, &formers)?;
        let phase = start.phase(server)?;

        let mut report = phase.judge(simulation.verdict()?, Pace::Open)?;
        report.set("all caught up, ms", simulation.caught_up.as_secs_f64() * 1e3);
        let count = self.clients as u64;
        report.set("CPU per client, µs", phase.each(count) - usual.each(count));
        for (name, times) in [("quiet", &quiet), ("storm", &storm)] {
            report.set(&format!("{name}, p99, ms"), times.p99);
            report.set(&format!("{name}, late at most, ms"), times.late);
        }
        report.set("p99, storm ÷ quiet", storm.p99 / quiet.p99);
        Ok(report)
    }

    /// Drops the connections of these clients, and publishes what they miss.
    fn interrupt(&self, simulation: &mut Simulation, clients: &[ClientId]) -> Result<Vec<Former>> {
        let mut formers = Vec::with_capacity(clients.len());
        for (n, client) in clients.iter().enumerate() {
            let position = simulation.interrupt(*client).context(
                "a channel has no history; the server needs CLARIM_APP_HISTORY=bench-history-*",
            )?;
            formers.push(Former { channel: n % self.channels, position });
        }
        for former in &formers[..self.channels.min(formers.len())] {
            for _ in 0..self.missed {
                let now = simulation.now();
                simulation.publish(former.stream()?, &channel(former.channel), now)?;
                simulation.until(|c| c.asked == c.answered)?;
            }
        }
        Ok(formers)
    }

    /// Publishes to the subscribers that stay, while these clients come back.
    fn storm(&self, simulation: &mut Simulation, formers: &[Former]) -> Result<Times> {
        simulation.restart();
        let mut formers = formers.iter();
        for (what, due) in Schedule::new(self.seconds, &[self.rate, self.returns]) {
            match what {
                0 => {
                    simulation.wait_until(due)?;
                    simulation.publish(WATCHED_STREAM, WATCHED, due)?;
                }
                _ => {
                    let Some(former) = formers.next() else { continue };
                    simulation.wait_until(due)?;
                    let client = simulation.open(None)?;
                    let Former { channel: n, position } = former;
                    simulation.join_since(
                        client,
                        channel(*n),
                        position.clone(),
                        former.stream()?,
                    )?;
                }
            }
        }
        ensure!(formers.len() == 0, "too few --seconds for all clients to come back");
        simulation.settle()?;
        Ok(Times::of(simulation))
    }
}

/// Connects clients, and subscribes client `n` to `channel(n)`, on which it receives these streams.
fn connect(
    simulation: &mut Simulation,
    count: usize,
    channel: impl Fn(usize) -> String,
    streams: &[Stream],
) -> Result<Vec<ClientId>> {
    let others = simulation.counts.joined;
    let mut clients = Vec::with_capacity(count);
    for n in 0..count {
        simulation.until(|c| n as u64 + others - c.joined < AT_ONCE)?;
        let client = simulation.open(None)?;
        simulation.join(client, channel(n), None, streams.to_vec())?;
        clients.push(client);
    }
    simulation.until(|c| c.joined == others + count as u64)?;
    Ok(clients)
}

fn channel(n: usize) -> String {
    format!("bench-history-{n}")
}
