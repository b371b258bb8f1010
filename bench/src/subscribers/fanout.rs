//! Publishers of one channel and its subscribers, in one event loop.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use crate::servers::server::Target;
use crate::subscribers::clients::Clients;
use crate::wire::deliveries::Verdict;
use crate::wire::event_loop::{
    AFTERMATH, CHANNEL, LIMIT, MAX_LATENCY, PUBLISHERS, QUIET, TIMER, Timer,
};
use crate::wire::frames::{Arrival, data};
use crate::wire::publisher::Publisher;

/// Subscribers of one channel, and its publishers.
pub(crate) struct Fanout {
    poll: Poll,
    events: Events,
    timer: Timer,
    clients: Clients,
    subscribers: usize,
    size: usize,
    publishers: Vec<Publisher>,
    started: Instant,
    /// Delivery times in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// By how much an event was published too late, at most.
    pub(crate) late: Duration,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    answered: u64,
    /// Events per request.
    batch: u64,
    /// Missing deliveries of each event from `oldest` on.
    open: VecDeque<usize>,
    oldest: u64,
}

impl Fanout {
    pub(crate) fn connect(
        target: &Target,
        subscribers: usize,
        publishers: usize,
        size: usize,
    ) -> Result<Self> {
        ensure!(publishers > 0, "--connections must be at least 1");
        let poll = Poll::new()?;
        let timer = Timer::register(poll.registry())?;
        let clients =
            Clients::connect(target, poll.registry(), subscribers, |_| CHANNEL.to_owned())?;
        let publishers = (0..publishers)
            .map(|n| Publisher::connect(target, poll.registry(), Token(PUBLISHERS + n)))
            .collect::<Result<_>>()?;
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            timer,
            clients,
            subscribers,
            size,
            publishers,
            started: Instant::now(),
            latency: Histogram::new_with_bounds(1, MAX_LATENCY, 3)?,
            late: Duration::ZERO,
            published: 0,
            delivered: 0,
            answered: 0,
            batch: 1,
            open: VecDeque::new(),
            oldest: 0,
        })
    }

    /// Open loop: publishes at fixed times, however long deliveries take.
    pub(crate) fn open(&mut self, per_second: u32, seconds: u32) -> Result<()> {
        ensure!(per_second > 0, "the rate must be at least 1 per second");
        self.started = Instant::now();
        let pause = Duration::from_secs(1) / per_second;
        for n in 0..per_second * seconds {
            let due = pause * n;
            self.wait_until(due)?;
            self.late = self.late.max(self.started.elapsed().saturating_sub(due));
            self.publish(0, due)?;
        }
        self.settle(QUIET)
    }

    /// Closed loop: publishes `events`, the next one as soon as the oldest of those in flight is delivered to
    /// all subscribers.
    pub(crate) fn closed(&mut self, events: u64, in_flight: usize) -> Result<()> {
        self.started = Instant::now();
        let mut quiet_since = Instant::now();
        loop {
            while self.open.len() < in_flight && self.published < events {
                self.publish(self.idlest(), self.started.elapsed())?;
            }
            let before = (self.delivered, self.answered);
            self.turn(QUIET)?;
            if self.published == events && self.open.is_empty() {
                break;
            }
            if before != (self.delivered, self.answered) {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() >= QUIET {
                break;
            }
            ensure!(
                self.started.elapsed() < LIMIT,
                "invalid measurement: not finished after {LIMIT:?}"
            );
        }
        self.settle(QUIET)
    }

    /// Publishes `requests` of `batch` events each over one connection: the next request as soon as the last
    /// one has its response and all deliveries. So the server's work does not depend on timing. Ends when
    /// nothing has arrived for `quiet`.
    pub(crate) fn in_step(&mut self, requests: u64, batch: u64, quiet: Duration) -> Result<()> {
        self.started = Instant::now();
        self.batch = batch;
        for _ in 0..requests {
            let first = self.published;
            self.published += batch;
            let now = self.started.elapsed();
            let data: Vec<String> =
                (first..self.published).map(|sequence| data(sequence, now, self.size)).collect();
            self.publishers[0].publish_batch(CHANNEL, &data)?;
            self.settle(quiet)?;
            if !self.is_settled() {
                break;
            }
        }
        Ok(())
    }

    /// Whether everything has been delivered and answered.
    fn is_settled(&self) -> bool {
        let expected = self.published * self.subscribers as u64;
        self.delivered >= expected && self.answered >= self.published
    }

    /// Listens until everything has arrived, or nothing has arrived for `quiet`.
    fn settle(&mut self, quiet: Duration) -> Result<()> {
        let mut quiet_since = Instant::now();
        while !self.is_settled() {
            let before = (self.delivered, self.answered);
            self.turn(quiet)?;
            if before != (self.delivered, self.answered) {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() >= quiet {
                break;
            }
            ensure!(
                self.started.elapsed() < LIMIT,
                "invalid measurement: not finished after {LIMIT:?}"
            );
        }
        Ok(())
    }

    /// Listens a little longer, after the measurement, and compares.
    pub(crate) fn verdict(&mut self) -> Result<Verdict> {
        self.listen(AFTERMATH)?;
        // Duplicates count as deliveries, so others may still be on their way.
        if self.clients.verdict(self.published).lost > 0 {
            self.listen(QUIET)?;
        }
        ensure!(
            self.answered == self.published,
            "invalid measurement: {} of {} requests got a response",
            self.answered,
            self.published
        );
        Ok(self.clients.verdict(self.published))
    }

    /// Bytes per delivery on the wire, including the frame header.
    pub(crate) fn wire_bytes_each(&self) -> f64 {
        self.clients.wire_bytes() as f64 / self.delivered as f64
    }

    /// Runs the event loop for this time.
    pub(crate) fn listen(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while let Some(wait) = until.checked_duration_since(Instant::now()) {
            self.turn(wait)?;
        }
        Ok(())
    }

    /// The publisher with the fewest requests in flight, so that responses do not delay the next event.
    fn idlest(&self) -> usize {
        let pending = |n: &usize| self.publishers[*n].pending;
        (0..self.publishers.len()).min_by_key(pending).unwrap_or(0)
    }

    fn publish(&mut self, publisher: usize, scheduled: Duration) -> Result<()> {
        let data = data(self.published, scheduled, self.size);
        self.published += 1;
        // Without subscribers an event is in flight until its response arrives.
        self.open.push_back(self.subscribers.max(1));
        self.publishers[publisher].publish(CHANNEL, &data)
    }

    fn wait_until(&mut self, due: Duration) -> Result<()> {
        let Some(wait) = due.checked_sub(self.started.elapsed()).filter(|w| !w.is_zero()) else {
            return Ok(());
        };
        self.timer.set(wait)?;
        while self.started.elapsed() < due {
            self.turn(Duration::from_secs(1))?;
        }
        Ok(())
    }

    /// Waits for events of the loop and handles them.
    fn turn(&mut self, wait: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result.context("poll")?,
        }
        let Self { events, clients, publishers, latency, open, oldest, delivered, .. } = self;
        for event in &*events {
            let Token(token) = event.token();
            if event.token() == TIMER {
                continue;
            }
            if let Some(publisher) = token.checked_sub(PUBLISHERS) {
                publishers[publisher].send()?;
                let answers = publishers[publisher].receive()?;
                self.answered += answers * self.batch;
                if self.subscribers == 0 {
                    open.truncate(open.len().saturating_sub(usize::try_from(answers)?));
                }
                continue;
            }
            let now = self.started.elapsed();
            clients.receive(event, |Arrival { sequence, scheduled }| {
                *delivered += 1;
                let micros = now.saturating_sub(scheduled).as_micros();
                latency.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
                let place = sequence.checked_sub(*oldest).and_then(|n| usize::try_from(n).ok());
                if let Some(left) = place.and_then(|place| open.get_mut(place)) {
                    *left = left.saturating_sub(1);
                }
                while open.front() == Some(&0) {
                    open.pop_front();
                    *oldest += 1;
                }
            })?;
        }
        Ok(())
    }
}
