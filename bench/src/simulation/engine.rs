//! Simulated clients and publishers, in one event loop.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use crate::servers::server::Target;
use crate::simulation::account::{Account, Stream, sequence, split};
use crate::simulation::client::{Client, Position, Received};
use crate::simulation::members::User;
use crate::simulation::slot::Slot;
use crate::wire::deliveries::Verdict;
use crate::wire::event_loop::{AFTERMATH, LIMIT, MAX_LATENCY, PUBLISHERS, QUIET, TIMER, Timer};
use crate::wire::frames::{Arrival, data};
use crate::wire::publisher::Publisher;

/// Time between two checks for missing deliveries.
const LOOK: Duration = Duration::from_millis(5);

/// Identifies a client. Indexes are used again, numbers are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientId {
    place: usize,
    number: usize,
}

/// Numbers of what has happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) connected: u64,
    pub(crate) joined: u64,
    /// Events that were published, and client events.
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    /// Member events.
    pub(crate) members: u64,
    /// Requests of publishers, and below their responses.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
}

/// All clients and publishers.
pub(crate) struct Simulation {
    poll: Poll,
    events: Events,
    timer: Timer,
    buffer: Vec<u8>,
    received: Vec<Received>,
    target: Target,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    opened: usize,
    publishers: Vec<Publisher>,
    /// For each publisher, the streams of its requests without a response.
    asked: Vec<VecDeque<Stream>>,
    /// For each stream, the number of events that were sent, and of those that have a response.
    streams: Vec<(u64, u64)>,
    size: usize,
    started: Instant,
    /// Delivery times in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Streams from this one on are of events that clients have missed, which have no delivery times.
    pub(crate) first_missed: Stream,
    /// When the last event of these streams arrived.
    pub(crate) caught_up: Duration,
    /// The most by which something was done too late.
    pub(crate) late: Duration,
    pub(crate) counts: Counts,
    /// Of the clients that have left.
    verdict: Verdict,
    /// Repeated member events, of the clients that have left.
    repeated_members: u64,
}

impl Simulation {
    /// Publishers with a connection each, and no clients yet. `size` is the length of an event's data.
    pub(crate) fn new(
        target: &Target,
        publishers: usize,
        streams: usize,
        size: usize,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::register(poll.registry())?;
        let asked = vec![VecDeque::new(); publishers];
        let publishers = (0..publishers)
            .map(|n| Publisher::connect(target, poll.registry(), Token(PUBLISHERS + n)))
            .collect::<Result<_>>()?;
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            timer,
            buffer: vec![0; 256 << 10],
            received: Vec::new(),
            target: target.clone(),
            slots: Vec::new(),
            free: Vec::new(),
            opened: 0,
            publishers,
            asked,
            streams: vec![(0, 0); streams],
            size,
            started: Instant::now(),
            latency: Histogram::new_with_bounds(1, MAX_LATENCY, 3)?,
            first_missed: Stream::MAX,
            caught_up: Duration::ZERO,
            late: Duration::ZERO,
            counts: Counts::default(),
            verdict: Verdict::default(),
            repeated_members: 0,
        })
    }

    /// Starts to connect a client. `receive` limits its receive buffer in the kernel, in bytes.
    pub(crate) fn open(&mut self, receive: Option<usize>) -> Result<ClientId> {
        let place = self.free.pop().unwrap_or(self.slots.len());
        let number = self.opened;
        self.opened += 1;
        let registry = self.poll.registry();
        let client = Client::open(&self.target, registry, Token(place), number, receive)?;
        let slot = Some(Slot { number, client, leaving: None, gone: false });
        if place == self.slots.len() {
            self.slots.push(slot);
        } else {
            self.slots[place] = slot;
        }
        Ok(ClientId { place, number })
    }

    fn slot(&mut self, ClientId { place, number }: ClientId) -> Option<&mut Slot> {
        self.slots.get_mut(place)?.as_mut().filter(|slot| slot.number == number)
    }

    fn client(&mut self, client: ClientId) -> Option<&mut Client> {
        self.slot(client).map(|slot| &mut slot.client)
    }

    /// Subscribes a client to a channel, on which it receives these streams.
    pub(crate) fn join(
        &mut self,
        client: ClientId,
        channel: String,
        user: Option<User>,
        streams: Vec<Stream>,
    ) -> Result<()> {
        let floors: Vec<u64> = streams.iter().map(|s| self.streams[*s as usize].1).collect();
        let client_state = self.client(client).context("the client has left")?;
        for (stream, from) in streams.iter().zip(floors) {
            client_state.accounts.insert(*stream, Account::asking(from));
        }
        client_state.join(channel, user, None, streams)
    }

    /// Subscribes a client that was away since this position, and receives all events of the stream.
    pub(crate) fn join_since(
        &mut self,
        client: ClientId,
        channel: String,
        since: Position,
        stream: Stream,
    ) -> Result<()> {
        let client_state = self.client(client).context("the client has left")?;
        client_state.accounts.insert(stream, Account::returning());
        client_state.join(channel, None, Some(since), vec![stream])
    }

    /// Whether a client is subscribed to all its channels and does not leave.
    pub(crate) fn is_in(&mut self, client: ClientId) -> bool {
        self.slot(client).is_some_and(|slot| {
            slot.leaving.is_none() && slot.client.channels.iter().all(|channel| channel.joined)
        })
    }

    /// Makes a client leave as soon as it has received everything sent so far.
    pub(crate) fn leave(&mut self, client: ClientId) -> Result<()> {
        let streams = std::mem::take(&mut self.streams);
        if let Some(slot) = self.slot(client) {
            let accounts = slot.client.accounts.keys();
            slot.leaving = Some(accounts.map(|s| (*s, streams[*s as usize].0)).collect());
            slot.go_if_ready()?;
        }
        self.streams = streams;
        Ok(())
    }

    /// Whether all clients have received the events of a stream.
    pub(crate) fn is_delivered(&self, stream: Stream) -> bool {
        let due = self.streams[stream as usize].0;
        let mut slots = self.slots.iter().flatten();
        slots.all(|slot| {
            let account = slot.client.accounts.get(&stream);
            slot.client.stalled || account.is_none_or(|account| account.has_reached(due))
        })
    }

    /// Makes a client stop reading.
    pub(crate) fn stall(&mut self, client: ClientId) {
        if let Some(client_state) = self.client(client) {
            client_state.stalled = true;
        }
    }

    /// Makes a client read again, beginning with what has arrived in the meantime.
    pub(crate) fn resume(&mut self, client: ClientId) -> Result<()> {
        let client_state = self.client(client).context("the client has left")?;
        client_state.stalled = false;
        self.read(client.place, false)
    }

    /// Lets later clients connect to another node of the cluster.
    pub(crate) fn aim_at(&mut self, target: &Target) {
        self.target = target.clone();
    }

    /// Drops a connection, and returns the position at which its first subscription succeeded.
    pub(crate) fn interrupt(&mut self, client: ClientId) -> Option<Position> {
        let position = self.client(client)?.channels.first()?.position.clone();
        self.remove(client.place);
        position
    }

    /// Drops all connections at once.
    pub(crate) fn drop_all(&mut self) {
        for place in 0..self.slots.len() {
            self.remove(place);
        }
    }

    /// Publishes over the connection with the fewest requests in flight.
    pub(crate) fn publish(&mut self, stream: Stream, channel: &str, due: Duration) -> Result<()> {
        let data = self.next(stream, due);
        let publisher = self.idlest();
        self.publishers[publisher].publish(channel, &data)?;
        self.asked[publisher].push_back(stream);
        self.counts.asked += 1;
        Ok(())
    }

    /// Publishes several events with one request.
    pub(crate) fn publish_batch(&mut self, channel: &str, events: u64) -> Result<()> {
        let now = self.started.elapsed();
        let data: Vec<String> = (0..events).map(|_| self.next(0, now)).collect();
        let publisher = self.idlest();
        self.publishers[publisher].publish_batch(channel, &data)?;
        self.asked[publisher].push_back(0);
        self.counts.asked += 1;
        Ok(())
    }

    fn idlest(&self) -> usize {
        let pending = |n: &usize| self.publishers[*n].pending;
        (0..self.publishers.len()).min_by_key(pending).unwrap_or(0)
    }

    /// Sends a client event.
    pub(crate) fn whisper(
        &mut self,
        client: ClientId,
        stream: Stream,
        channel: &str,
        due: Duration,
    ) -> Result<()> {
        let data = self.next(stream, due);
        self.client(client).context("the client has left")?.whisper(channel, &data)
    }

    fn next(&mut self, stream: Stream, due: Duration) -> String {
        let (sent, _) = &mut self.streams[stream as usize];
        let number = *sent;
        *sent += 1;
        self.counts.sent += 1;
        data(sequence(stream, number), due, self.size)
    }

    /// Resets the clock and the latencies.
    pub(crate) fn restart(&mut self) {
        self.started = Instant::now();
        self.late = Duration::ZERO;
        self.latency.reset();
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs the event loop until this time.
    pub(crate) fn wait_until(&mut self, due: Duration) -> Result<()> {
        if let Some(wait) = due.checked_sub(self.started.elapsed()).filter(|w| !w.is_zero()) {
            self.timer.set(wait)?;
            while self.started.elapsed() < due {
                self.turn(Duration::from_secs(1))?;
            }
        }
        self.late = self.late.max(self.started.elapsed().saturating_sub(due));
        Ok(())
    }

    /// Runs the event loop for this time.
    pub(crate) fn listen(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while let Some(wait) = until.checked_duration_since(Instant::now()) {
            self.turn(wait)?;
        }
        Ok(())
    }

    /// Runs the event loop until `done`. Fails when nothing has arrived for a while.
    pub(crate) fn until(&mut self, done: impl Fn(&Counts) -> bool) -> Result<()> {
        let begun = Instant::now();
        let mut quiet_since = begun;
        while !done(&self.counts) {
            let before = self.counts;
            self.turn(QUIET)?;
            if before != self.counts {
                quiet_since = Instant::now();
            }
            let quiet = quiet_since.elapsed() >= QUIET || begun.elapsed() >= LIMIT;
            ensure!(!quiet, "invalid measurement: nothing more arrives: {:?}", self.counts);
        }
        Ok(())
    }

    /// Runs the event loop until all clients have received everything, and returns whether they have, or
    /// nothing more has arrived for a while.
    pub(crate) fn settle(&mut self) -> Result<bool> {
        self.settle_when(|_| true)
    }

    /// Like [`settle`](Self::settle), with a further condition.
    pub(crate) fn settle_when(&mut self, done: impl Fn(&Self) -> bool) -> Result<bool> {
        let begun = Instant::now();
        let mut quiet_since = begun;
        while !(self.is_complete() && done(self)) {
            let before = self.counts;
            self.listen(LOOK)?;
            if before != self.counts {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() >= QUIET {
                return Ok(false);
            }
            ensure!(begun.elapsed() < LIMIT, "invalid measurement: not finished after {LIMIT:?}");
        }
        Ok(true)
    }

    fn is_complete(&self) -> bool {
        self.counts.answered == self.counts.asked
            && self.slots.iter().flatten().all(|slot| {
                let due = |stream: Stream| self.streams[stream as usize].0;
                let mut accounts = slot.client.accounts.iter();
                // A leaving client is complete when it has left.
                slot.client.stalled
                    || (slot.leaving.is_none()
                        && slot.client.channels.iter().all(|channel| channel.joined)
                        && accounts.all(|(stream, account)| account.has_reached(due(*stream))))
            })
    }

    /// Listens a little longer, after the measurement, and compares.
    pub(crate) fn verdict(&mut self) -> Result<Verdict> {
        self.listen(AFTERMATH)?;
        let Counts { asked, answered, .. } = self.counts;
        ensure!(
            asked == answered,
            "invalid measurement: {answered} of {asked} requests got a response"
        );
        let mut verdict = self.verdict;
        for slot in self.slots.iter().flatten() {
            verdict.add(slot.verdict(&self.streams));
        }
        Ok(verdict)
    }

    /// Number of member lists that differ from `truth`, the members of a channel.
    pub(crate) fn wrong_lists<'a>(&self, truth: impl Fn(&str) -> &'a [User]) -> usize {
        let channels = self.slots.iter().flatten().flat_map(|slot| &slot.client.channels);
        let presence = channels.filter(|channel| channel.name.starts_with("presence-"));
        presence.filter(|channel| !channel.members.are(truth(&channel.name))).count()
    }

    /// Number of member events that repeated what a client knew.
    pub(crate) fn repeated_members(&self) -> u64 {
        let slots = self.slots.iter().flatten();
        self.repeated_members + slots.map(Slot::repeated_members).sum::<u64>()
    }

    /// Reads what a stalled client's socket has left, and returns whether the server has closed it, and with
    /// which code.
    pub(crate) fn fate(&mut self, client: ClientId) -> Result<Option<Option<u16>>> {
        let Self { slots, buffer, received, .. } = self;
        let slot = slots.get_mut(client.place).and_then(Option::as_mut);
        let slot =
            slot.filter(|slot| slot.number == client.number).context("the client has left")?;
        slot.client.read(buffer, true, received)?;
        received.clear();
        Ok(slot.client.closed)
    }

    /// Waits for events of the loop and handles them.
    fn turn(&mut self, wait: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result.context("poll")?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let result = events.iter().try_for_each(|event| self.handle_event(event));
        self.events = events;
        result
    }

    fn handle_event(&mut self, event: &mio::event::Event) -> Result<()> {
        let Token(token) = event.token();
        if event.token() == TIMER {
            return Ok(());
        }
        if let Some(publisher) = token.checked_sub(PUBLISHERS) {
            self.publishers[publisher].send()?;
            for _ in 0..self.publishers[publisher].receive()? {
                let stream = self.asked[publisher]
                    .pop_front()
                    .context("invalid measurement: response without a request")?;
                self.streams[stream as usize].1 += 1;
                self.counts.answered += 1;
            }
            return Ok(());
        }
        self.read(token, event.is_read_closed())
    }

    /// Reads and handles what a client has received. `ended`: whether its stream has ended.
    fn read(&mut self, place: usize, ended: bool) -> Result<()> {
        let Some(Some(slot)) = self.slots.get_mut(place) else { return Ok(()) };
        slot.client.send();
        if slot.client.stalled {
            return Ok(());
        }
        slot.client.read(&mut self.buffer, ended, &mut self.received)?;
        let now = self.started.elapsed();
        let mut received = std::mem::take(&mut self.received);
        let result =
            received.drain(..).try_for_each(|received| self.handle_received(place, received, now));
        self.received = received;
        result?;
        let Some(Some(slot)) = self.slots.get_mut(place) else { return Ok(()) };
        slot.go_if_ready()
    }

    fn handle_received(&mut self, place: usize, received: Received, now: Duration) -> Result<()> {
        let Self { slots, streams, counts, .. } = self;
        let Some(Some(slot)) = slots.get_mut(place) else { return Ok(()) };
        match received {
            Received::Connected => counts.connected += 1,
            Received::Member => counts.members += 1,
            Received::Joined(channel) => {
                counts.joined += 1;
                for stream in &slot.client.channels[channel].streams {
                    if let Some(account) = slot.client.accounts.get_mut(stream) {
                        account.admitted(streams[*stream as usize].0);
                    }
                }
            }
            Received::Event(Arrival { sequence, scheduled }) => {
                counts.delivered += 1;
                let (stream, number) = split(sequence);
                match slot.client.accounts.get_mut(&stream) {
                    Some(account) => account.note(number),
                    None => self.verdict.foreign += 1,
                }
                if stream >= self.first_missed {
                    self.caught_up = now;
                } else {
                    let micros = now.saturating_sub(scheduled).as_micros();
                    self.latency.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
                }
            }
            Received::Closed(_) if slot.gone => self.remove(place),
            Received::Closed(code) => {
                let code = code.map_or_else(String::new, |code| format!(" with {code}"));
                bail!("invalid measurement: the server closed client {}{code}", slot.number)
            }
        }
        Ok(())
    }

    fn remove(&mut self, place: usize) {
        if let Some(slot) = self.slots[place].take() {
            self.verdict.add(slot.verdict(&self.streams));
            self.repeated_members += slot.repeated_members();
            self.free.push(place);
        }
    }
}
