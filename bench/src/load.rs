//! The loads: what is done to a server, and what is measured meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use crate::clients::{Arrival, Clients, data, subscribe};
use crate::publisher::Publisher;
use crate::server::{Server, Target, own_cpu};

/// One load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Load {
    /// Connections that are subscribed and do nothing.
    Idle { connections: usize },
    /// Events at fixed times to all subscribers of one channel.
    Open { subscribers: usize, per_second: u32, seconds: u32 },
    /// Events to all subscribers, `in_flight` at a time: the next when one has reached everybody.
    Closed { subscribers: usize, in_flight: usize, events: u64 },
    /// Events to a channel without subscribers, one after the other on some connections.
    Publish { connections: usize, requests: u64 },
    /// Connect, subscribe, close.
    Churn { cycles: usize },
}

/// Figures by name, the unit in the name.
pub(crate) type Figures = BTreeMap<String, f64>;

const CHANNEL: &str = "bench";
/// Bytes of an event's data.
const SIZE: usize = 128;
/// How long events may be on their way when all are published.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tokens of publishers begin here; those of clients are below.
const PUBLISHERS: usize = 1 << 20;
/// Beyond this share of its core, the load generator is what was measured.
const CLIENT_LIMIT: f64 = 0.95;

impl Load {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Idle { connections } => format!("idle, {connections} connections"),
            Self::Open { subscribers, per_second, .. } => {
                format!("open loop, {per_second}/s to {subscribers}")
            }
            Self::Closed { subscribers, in_flight, .. } => {
                format!("closed loop, {in_flight} in flight to {subscribers}")
            }
            Self::Publish { connections, .. } => format!("publish, {connections} connections"),
            Self::Churn { .. } => "connect, subscribe, close".to_owned(),
        }
    }

    pub(crate) fn run(&self, server: &Server) -> Result<Figures> {
        match *self {
            Self::Idle { connections } => idle(server, connections),
            Self::Open { subscribers, per_second, seconds } => {
                let mut run = Run::new(&server.target, subscribers, 1)?;
                run.measure(server, |run| run.open(per_second, seconds), true)
            }
            Self::Closed { subscribers, in_flight, events } => {
                let mut run = Run::new(&server.target, subscribers, in_flight)?;
                run.measure(server, |run| run.closed(events), false)
            }
            Self::Publish { connections, requests } => {
                let mut run = Run::new(&server.target, 0, connections)?;
                run.measure(server, |run| run.closed(requests), false)
            }
            Self::Churn { cycles } => churn(server, cycles),
        }
    }
}

fn idle(server: &Server, connections: usize) -> Result<Figures> {
    let poll = Poll::new()?;
    let before = server.memory()?;
    let clients =
        Clients::connect(&server.target, poll.registry(), connections, |_| CHANNEL.to_owned())?;
    std::thread::sleep(Duration::from_secs(2));
    let cpu = server.cpu()?;
    std::thread::sleep(Duration::from_secs(2));
    let (cpu, full) = (server.cpu()? - cpu, server.memory()?);
    drop(clients);
    std::thread::sleep(Duration::from_secs(5));
    let after = server.memory()?;
    Ok(Figures::from([
        (
            "bytes per connection".to_owned(),
            full.saturating_sub(before) as f64 / connections as f64,
        ),
        ("kept after they left, KiB".to_owned(), after.saturating_sub(before) as f64 / 1024.0),
        ("idle CPU, % of a core".to_owned(), cpu.as_secs_f64() / 2.0 * 100.0),
    ]))
}

fn churn(server: &Server, cycles: usize) -> Result<Figures> {
    let cpu = server.cpu()?;
    for _ in 0..cycles {
        drop(subscribe(&server.target, CHANNEL)?);
    }
    // The last ones still have to be noticed.
    std::thread::sleep(Duration::from_millis(200));
    let cpu = server.cpu()? - cpu;
    Ok(Figures::from([("CPU per cycle, µs".to_owned(), micros(cpu) / cycles as f64)]))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Publishers and subscribers in one loop.
pub(crate) struct Run {
    poll: Poll,
    clients: Clients,
    subscribers: usize,
    publishers: Vec<Publisher>,
    latency: Histogram<u64>,
    started: Instant,
    published: u64,
    delivered: u64,
    /// Deliveries still to come of the events from `oldest` on.
    open: VecDeque<usize>,
    oldest: u64,
}

impl Run {
    pub(crate) fn new(target: &Target, subscribers: usize, publishers: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let clients =
            Clients::connect(target, poll.registry(), subscribers, |_| CHANNEL.to_owned())?;
        let publishers = (0..publishers)
            .map(|n| Publisher::connect(target, poll.registry(), Token(PUBLISHERS + n)))
            .collect::<Result<_>>()?;
        Ok(Self {
            poll,
            clients,
            subscribers,
            publishers,
            latency: Histogram::new(3)?,
            started: Instant::now(),
            published: 0,
            delivered: 0,
            open: VecDeque::new(),
            oldest: 0,
        })
    }

    /// Runs a load and says what it cost. `ordered`: whether the events have one order.
    fn measure(
        &mut self,
        server: &Server,
        load: impl FnOnce(&mut Self) -> Result<()>,
        ordered: bool,
    ) -> Result<Figures> {
        let (server_cpu, client_cpu) = (server.cpu()?, own_cpu()?);
        self.started = Instant::now();
        load(self)?;
        let wall = self.started.elapsed().as_secs_f64();
        let (server_cpu, client_cpu) = (server.cpu()? - server_cpu, own_cpu()? - client_cpu);
        let verdict = self.clients.verdict(self.published, ordered);
        ensure!(verdict.is_clean(), "no result: {verdict:?} of {} events", self.published);
        let client = client_cpu.as_secs_f64() / wall;
        if ordered {
            ensure!(
                client < CLIENT_LIMIT,
                "no result: the load generator used {client:.2} of its core"
            );
        }
        let share = server_cpu.as_secs_f64() / wall;
        let mut figures = Figures::from([
            ("client, share of its core".to_owned(), client),
            ("server, share of its core".to_owned(), share),
        ]);
        if self.subscribers == 0 {
            figures.insert(
                "CPU per request, µs".to_owned(),
                micros(server_cpu) / self.published as f64,
            );
            figures.insert("requests/s".to_owned(), self.published as f64 / wall);
            return Ok(figures);
        }
        let delivered = self.delivered as f64;
        figures.insert("CPU per delivery, µs".to_owned(), micros(server_cpu) / delivered);
        if ordered {
            let at = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
            figures.insert("p50, ms".to_owned(), at(0.5));
            figures.insert("p99, ms".to_owned(), at(0.99));
        } else if share >= client {
            // Else the load generator set the pace, and the rate is its own.
            figures.insert("deliveries/s".to_owned(), delivered / wall);
        }
        Ok(figures)
    }

    pub(crate) fn open(&mut self, per_second: u32, seconds: u32) -> Result<()> {
        let pause = Duration::from_secs(1) / per_second;
        for n in 0..per_second * seconds {
            let due = pause * n;
            while let Some(wait) = due.checked_sub(self.started.elapsed()).filter(|w| !w.is_zero())
            {
                self.turn(wait)?;
            }
            self.publish(0, due)?;
        }
        self.settle()
    }

    pub(crate) fn closed(&mut self, events: u64) -> Result<()> {
        for publisher in 0..self.publishers.len() {
            self.publish(publisher, self.started.elapsed())?;
        }
        while self.published < events {
            self.turn(PATIENCE)?;
            let in_flight = self.publishers.len();
            for publisher in 0..in_flight {
                let idle = self.publishers[publisher].pending == 0;
                if idle && self.open.len() < in_flight && self.published < events {
                    self.publish(publisher, self.started.elapsed())?;
                }
            }
        }
        self.settle()
    }

    pub(crate) fn verdict(&self, ordered: bool) -> crate::clients::Verdict {
        self.clients.verdict(self.published, ordered)
    }

    fn publish(&mut self, publisher: usize, scheduled: Duration) -> Result<()> {
        let data = data(self.published, scheduled, SIZE);
        self.published += 1;
        self.open.push_back(self.subscribers);
        self.publishers[publisher].publish(CHANNEL, &data)
    }

    /// Waits until everything has arrived, or nothing more comes.
    fn settle(&mut self) -> Result<()> {
        let expected = self.published * self.subscribers as u64;
        let mut quiet_since = Instant::now();
        loop {
            let before = self.delivered;
            let pending = self.publishers.iter().any(|publisher| publisher.pending > 0);
            if self.delivered >= expected && !pending
                || quiet_since.elapsed() > Duration::from_secs(3)
            {
                break;
            }
            self.turn(Duration::from_millis(100))?;
            if self.delivered != before {
                quiet_since = Instant::now();
            }
        }
        // What comes twice comes late.
        self.turn(Duration::from_millis(100))
    }

    fn turn(&mut self, wait: Duration) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            result => result.context("poll")?,
        }
        for event in &events {
            let Token(token) = event.token();
            let Some(publisher) = token.checked_sub(PUBLISHERS) else {
                self.receive(token)?;
                continue;
            };
            self.publishers[publisher].send()?;
            let answered = self.publishers[publisher].receive()?;
            if self.subscribers == 0 {
                self.open.drain(..answered.min(self.open.len()));
            }
        }
        Ok(())
    }

    fn receive(&mut self, client: usize) -> Result<()> {
        let Self { clients, latency, open, oldest, delivered, started, .. } = self;
        let now = started.elapsed();
        clients.receive(client, |Arrival { sequence, scheduled }| {
            *delivered += 1;
            // In microseconds; what is out of range is no time that this ever measured.
            let micros = now.saturating_sub(scheduled).as_micros();
            let _ = latency.record(u64::try_from(micros).unwrap_or(u64::MAX));
            let place = sequence.checked_sub(*oldest).and_then(|n| usize::try_from(n).ok());
            if let Some(left) = place.and_then(|place| open.get_mut(place)) {
                *left = left.saturating_sub(1);
            }
            while open.front() == Some(&0) {
                open.pop_front();
                *oldest += 1;
            }
        })
    }
}
