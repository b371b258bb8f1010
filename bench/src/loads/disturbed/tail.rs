//! Tail latency, first without and then with other load on the server.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;

use super::slow::{RECEIVE_BUFFER, is_slow};
use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::{Server, Target};
use crate::simulation::engine::{ClientId, Simulation};
use crate::simulation::rooms::Rooms;
use crate::simulation::schedule::Schedule;
use crate::wire::event_loop::CHANNEL;
use crate::wire::frames::MIN_SIZE;
use crate::wire::publisher::answer;

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Tail {
    #[arg(long, default_value_t = 1_000)]
    pub(crate) subscribers: usize,
    /// Events per second.
    #[arg(long, default_value_t = 20)]
    pub(crate) rate: u32,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 1_024)]
    pub(crate) size: usize,
    /// Seconds without disturbances, and then with them.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u32,
    /// Disturbance: percentage of subscribers that stop reading.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) stalled: f64,
    /// Disturbance: clients per second that connect, subscribe and leave.
    #[arg(long, default_value_t = 200.0)]
    pub(crate) connections: f64,
    /// Disturbance: members of a presence channel.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) members: usize,
    /// Disturbance: leaves and joins per second on that channel.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) changes: f64,
}

/// The bearer token for metrics, as in `bench/peers.toml`.
const METRICS_TOKEN: &str = "bench-metrics-token";

/// Latencies in milliseconds.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) p99: f64,
    p999: f64,
    pub(crate) late: f64,
}

impl Tail {
    pub(crate) fn run(&self, server: &Server) -> Result<Report> {
        let (mut simulation, slow) = self.connect(&server.target)?;
        let mut rooms = Rooms::new(1, self.members, false);
        rooms.fill(&mut simulation)?;
        let begin = Start::now(server)?;
        let quiet = self.quiet(&mut simulation)?;
        // Checked now, because the deliveries to stalled clients are not checked later.
        begin.phase(server)?.judge(simulation.verdict()?, Pace::Open)?;
        let start = Start::now(server)?;
        let disturbed = self.disturbed(&mut simulation, &slow, &mut rooms, &server.target)?;
        let phase = start.phase(server)?;

        let mut report = phase.judge(simulation.verdict()?, Pace::Open)?;
        for (name, times) in [("quiet", &quiet), ("disturbed", &disturbed)] {
            report.set(&format!("{name}, p99, ms"), times.p99);
            report.set(&format!("{name}, p99.9, ms"), times.p999);
            report.set(&format!("{name}, late at most, ms"), times.late);
            if times.late > times.p999 / 2.0 {
                report.marks.push(format!(
                    "the load generator itself was up to {:.1} ms late ({name})",
                    times.late
                ));
            }
        }
        report.set("p99.9, disturbed ÷ quiet", disturbed.p999 / quiet.p999);
        Ok(report)
    }

    pub(crate) fn connect(&self, target: &Target) -> Result<(Simulation, Vec<ClientId>)> {
        ensure!(self.subscribers > 0, "--subscribers must be at least 1");
        ensure!(self.members > 0, "--members must be at least 1");
        ensure!(self.size >= MIN_SIZE, "--size must be at least {MIN_SIZE}");
        let mut simulation = Simulation::new(target, 1, 1, self.size)?;
        let mut slow = Vec::new();
        for n in 0..self.subscribers {
            simulation.until(|c| n as u64 - c.joined < 100)?;
            let is_slow = is_slow(n, self.stalled);
            let client = simulation.open(is_slow.then_some(RECEIVE_BUFFER))?;
            simulation.join(client, CHANNEL.to_owned(), None, vec![0])?;
            slow.extend(is_slow.then_some(client));
        }
        simulation.until(|c| c.joined == self.subscribers as u64)?;
        Ok((simulation, slow))
    }

    pub(crate) fn quiet(&self, simulation: &mut Simulation) -> Result<Times> {
        simulation.restart();
        for (_, due) in Schedule::new(self.seconds, &[f64::from(self.rate)]) {
            simulation.wait_until(due)?;
            simulation.publish(0, CHANNEL, due)?;
        }
        simulation.settle()?;
        Ok(Times::of(simulation))
    }

    pub(crate) fn disturbed(
        &self,
        simulation: &mut Simulation,
        slow: &[ClientId],
        rooms: &mut Rooms,
        target: &Target,
    ) -> Result<Times> {
        for client in slow {
            simulation.stall(*client);
        }
        simulation.restart();
        std::thread::scope(|scope| {
            let (over, is_over) = channel();
            let scraper = scope.spawn(move || scrape(target, &is_over));
            let result = self.publish_meanwhile(simulation, rooms);
            drop(over);
            scraper.join().map_err(|_| anyhow!("the scraper panicked"))??;
            result
        })
    }

    fn publish_meanwhile(&self, simulation: &mut Simulation, rooms: &mut Rooms) -> Result<Times> {
        let mut guests: VecDeque<ClientId> = VecDeque::new();
        let mut count = [0; 3];
        let rates = [f64::from(self.rate), self.connections, self.changes];
        for (what, due) in Schedule::new(self.seconds, &rates) {
            simulation.wait_until(due)?;
            let n = count[what];
            count[what] += 1;
            match what {
                0 => simulation.publish(0, CHANNEL, due)?,
                1 => {
                    while let Some(guest) = guests.front().copied().filter(|g| simulation.is_in(*g))
                    {
                        simulation.leave(guest)?;
                        guests.pop_front();
                    }
                    let guest = simulation.open(None)?;
                    simulation.join(guest, format!("guest-{}", n % 1_000), None, Vec::new())?;
                    guests.push_back(guest);
                }
                _ => rooms.change(simulation, n)?,
            }
        }
        rooms.settle(simulation)?;
        Ok(Times::of(simulation))
    }
}

impl Times {
    pub(crate) fn of(simulation: &Simulation) -> Self {
        let at = |quantile| simulation.latency.value_at_quantile(quantile) as f64 / 1e3;
        Self { p99: at(0.99), p999: at(0.999), late: simulation.late.as_secs_f64() * 1e3 }
    }
}

/// Fetches the metrics twice a second until the measurement is over.
fn scrape(target: &Target, is_over: &Receiver<()>) -> Result<()> {
    while is_over.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
        let port = target.port;
        let path = &target.scrape;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {METRICS_TOKEN}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        read_answer(&mut stream, &mut answer)
            .with_context(|| format!("no response to GET {path}"))?;
        let head = String::from_utf8_lossy(&answer[..answer.len().min(40)]).into_owned();
        ensure!(
            head.starts_with("HTTP/1.1 200"),
            "invalid measurement: GET {path} returned {head}"
        );
    }
    Ok(())
}

/// Reads a response until it is complete or the connection ends.
fn read_answer(stream: &mut TcpStream, to: &mut Vec<u8>) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer)?;
        to.extend_from_slice(&buffer[..n]);
        if n == 0 || matches!(answer(to), Ok(Some(_))) {
            return Ok(());
        }
    }
}
