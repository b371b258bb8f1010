//! Sessions that come and go, whisper and leave, and those who publish to them: one loop of one thread.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use crate::servers::server::Target;
use crate::simulation::account::{Account, Stream, sequence, split};
use crate::simulation::client::{Heard, Session};
use crate::simulation::members::User;
use crate::wire::deliveries::Verdict;
use crate::wire::event_loop::{AFTERMATH, LIMIT, MAX_LATENCY, PUBLISHERS, QUIET, TIMER, Timer};
use crate::wire::frames::{Arrival, data};
use crate::wire::publisher::Publisher;

/// How often what is still missing is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// One session among all that ever were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientId {
    place: usize,
    number: usize,
}

/// A session's place in the loop.
#[derive(Debug)]
struct Seat {
    number: usize,
    session: Session,
    /// For one that leaves: what of its streams was published before. It goes once it has that.
    leaving: Option<Vec<(Stream, u64)>>,
    gone: bool,
}

/// What has been counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) connected: u64,
    pub(crate) joined: u64,
    /// Events that were published or whispered.
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    /// Joins and leaves that were told.
    pub(crate) members: u64,
    /// Requests of publishers.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
}

/// Everybody.
pub(crate) struct Simulation {
    poll: Poll,
    events: Events,
    timer: Timer,
    buffer: Vec<u8>,
    heard: Vec<Heard>,
    target: Target,
    seats: Vec<Option<Seat>>,
    free: Vec<usize>,
    opened: usize,
    publishers: Vec<Publisher>,
    /// Streams of the requests of each publisher that are not answered yet, and events of each.
    asked: Vec<VecDeque<Stream>>,
    /// Of each stream: what was sent, and what of it was answered.
    streams: Vec<(u64, u64)>,
    size: usize,
    started: Instant,
    /// Delivery times in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// The most by which something was done too late.
    pub(crate) late: Duration,
    pub(crate) counts: Counts,
    /// Of those who have left.
    verdict: Verdict,
    /// Joins and leaves that were told to those who knew, of all who have left.
    repeated_members: u64,
}

impl Simulation {
    /// Nobody yet but those who publish, each over a connection of its own. `size`: bytes of an event.
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
            heard: Vec::new(),
            target: target.clone(),
            seats: Vec::new(),
            free: Vec::new(),
            opened: 0,
            publishers,
            asked,
            streams: vec![(0, 0); streams],
            size,
            started: Instant::now(),
            latency: Histogram::new_with_bounds(1, MAX_LATENCY, 3)?,
            late: Duration::ZERO,
            counts: Counts::default(),
            verdict: Verdict::default(),
            repeated_members: 0,
        })
    }

    /// Begins to connect one more. The kernel keeps `receive` bytes for it at most.
    pub(crate) fn open(&mut self, receive: Option<usize>) -> Result<ClientId> {
        let place = self.free.pop().unwrap_or(self.seats.len());
        let number = self.opened;
        self.opened += 1;
        let registry = self.poll.registry();
        let session = Session::open(&self.target, registry, Token(place), number, receive)?;
        let seat = Some(Seat { number, session, leaving: None, gone: false });
        if place == self.seats.len() {
            self.seats.push(seat);
        } else {
            self.seats[place] = seat;
        }
        Ok(ClientId { place, number })
    }

    fn seat(&mut self, ClientId { place, number }: ClientId) -> Option<&mut Seat> {
        self.seats.get_mut(place)?.as_mut().filter(|seat| seat.number == number)
    }

    fn session(&mut self, client: ClientId) -> Option<&mut Session> {
        self.seat(client).map(|seat| &mut seat.session)
    }

    /// Subscribes to a channel, of which it will hear these streams.
    pub(crate) fn join(
        &mut self,
        client: ClientId,
        channel: String,
        user: Option<User>,
        streams: Vec<Stream>,
    ) -> Result<()> {
        let floors: Vec<u64> = streams.iter().map(|s| self.streams[*s as usize].1).collect();
        let session = self.session(client).context("nobody is there")?;
        for (stream, from) in streams.iter().zip(floors) {
            session.accounts.insert(*stream, Account::asking(from));
        }
        session.join(channel, user, streams)
    }

    /// Whether it has been let into all its channels, and stays.
    pub(crate) fn is_in(&mut self, client: ClientId) -> bool {
        self.seat(client).is_some_and(|seat| {
            seat.leaving.is_none() && seat.session.channels.iter().all(|channel| channel.joined)
        })
    }

    /// Lets it leave as soon as it has what was sent to it so far.
    pub(crate) fn leave(&mut self, client: ClientId) -> Result<()> {
        let streams = std::mem::take(&mut self.streams);
        if let Some(seat) = self.seat(client) {
            let accounts = seat.session.accounts.keys();
            seat.leaving = Some(accounts.map(|s| (*s, streams[*s as usize].0)).collect());
            seat.go_if_ready()?;
        }
        self.streams = streams;
        Ok(())
    }

    /// Stops it from reading.
    pub(crate) fn stall(&mut self, client: ClientId) {
        if let Some(session) = self.session(client) {
            session.stalled = true;
        }
    }

    /// All connections end at once.
    pub(crate) fn drop_all(&mut self) {
        for place in 0..self.seats.len() {
            self.remove(place);
        }
    }

    /// Publishes over the connection with the fewest requests on their way.
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
        self.session(client).context("nobody is there")?.whisper(channel, &data)
    }

    fn next(&mut self, stream: Stream, due: Duration) -> String {
        let (sent, _) = &mut self.streams[stream as usize];
        let number = *sent;
        *sent += 1;
        self.counts.sent += 1;
        data(sequence(stream, number), due, self.size)
    }

    /// Time begins again.
    pub(crate) fn restart(&mut self) {
        self.started = Instant::now();
        self.late = Duration::ZERO;
        self.latency.reset();
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes what comes until something is due.
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

    /// Takes what comes for a while.
    pub(crate) fn listen(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while let Some(wait) = until.checked_duration_since(Instant::now()) {
            self.turn(wait)?;
        }
        Ok(())
    }

    /// Takes what comes until `done`, unless nothing comes any more.
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
            ensure!(!quiet, "not a result: nothing more has come: {:?}", self.counts);
        }
        Ok(())
    }

    /// Takes what comes until everybody has everything, or nothing more comes. Whether it is all.
    pub(crate) fn settle(&mut self) -> Result<bool> {
        self.settle_when(|_| true)
    }

    /// The same, when something else is waited for, too.
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
            ensure!(begun.elapsed() < LIMIT, "not a result: not done after {LIMIT:?}");
        }
        Ok(true)
    }

    fn is_complete(&self) -> bool {
        self.counts.answered == self.counts.asked
            && self.seats.iter().flatten().all(|seat| {
                let due = |stream: Stream| self.streams[stream as usize].0;
                let mut accounts = seat.session.accounts.iter();
                // One that leaves is waited for until it has gone.
                seat.session.stalled
                    || (seat.leaving.is_none()
                        && seat.session.channels.iter().all(|channel| channel.joined)
                        && accounts.all(|(stream, account)| account.has_reached(due(*stream))))
            })
    }

    /// Listens a little longer, which is no part of what is measured, and compares.
    pub(crate) fn verdict(&mut self) -> Result<Verdict> {
        self.listen(AFTERMATH)?;
        let Counts { asked, answered, .. } = self.counts;
        ensure!(asked == answered, "not a result: {answered} of {asked} requests were answered");
        let mut verdict = self.verdict;
        for seat in self.seats.iter().flatten() {
            verdict.add(seat.verdict(&self.streams));
        }
        Ok(verdict)
    }

    /// How many of the presence lists are wrong, when `truth` says who is there.
    pub(crate) fn wrong_lists<'a>(&self, truth: impl Fn(&str) -> &'a [User]) -> usize {
        let channels = self.seats.iter().flatten().flat_map(|seat| &seat.session.channels);
        let presence = channels.filter(|channel| channel.name.starts_with("presence-"));
        presence.filter(|channel| !channel.members.are(truth(&channel.name))).count()
    }

    /// Joins and leaves that were told to those who knew.
    pub(crate) fn repeated_members(&self) -> u64 {
        let seats = self.seats.iter().flatten();
        self.repeated_members + seats.map(Seat::repeated_members).sum::<u64>()
    }

    /// Reads what stands in a stalled session's socket, and tells whether the server has closed it.
    pub(crate) fn fate(&mut self, client: ClientId) -> Result<Option<Option<u16>>> {
        let Self { seats, buffer, heard, .. } = self;
        let seat = seats.get_mut(client.place).and_then(Option::as_mut);
        let seat = seat.filter(|seat| seat.number == client.number).context("nobody is there")?;
        seat.session.read(buffer, true, heard)?;
        heard.clear();
        Ok(seat.session.closed)
    }

    /// Waits for something to happen, and takes what has.
    fn turn(&mut self, wait: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result.context("poll")?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let result = events.iter().try_for_each(|event| self.take(event));
        self.events = events;
        result
    }

    fn take(&mut self, event: &mio::event::Event) -> Result<()> {
        let Token(token) = event.token();
        if event.token() == TIMER {
            return Ok(());
        }
        if let Some(publisher) = token.checked_sub(PUBLISHERS) {
            self.publishers[publisher].send()?;
            for _ in 0..self.publishers[publisher].receive()? {
                let stream = self.asked[publisher].pop_front().context("an answer unasked for")?;
                self.streams[stream as usize].1 += 1;
                self.counts.answered += 1;
            }
            return Ok(());
        }
        let Some(Some(seat)) = self.seats.get_mut(token) else { return Ok(()) };
        seat.session.send();
        if seat.session.stalled {
            return Ok(());
        }
        seat.session.read(&mut self.buffer, event.is_read_closed(), &mut self.heard)?;
        let now = self.started.elapsed();
        let mut heard = std::mem::take(&mut self.heard);
        let result = heard.drain(..).try_for_each(|heard| self.hear(token, heard, now));
        self.heard = heard;
        result?;
        let Some(Some(seat)) = self.seats.get_mut(token) else { return Ok(()) };
        seat.go_if_ready()
    }

    fn hear(&mut self, place: usize, heard: Heard, now: Duration) -> Result<()> {
        let Self { seats, streams, counts, .. } = self;
        let Some(Some(seat)) = seats.get_mut(place) else { return Ok(()) };
        match heard {
            Heard::Connected => counts.connected += 1,
            Heard::Member => counts.members += 1,
            Heard::Joined(channel) => {
                counts.joined += 1;
                for stream in &seat.session.channels[channel].streams {
                    if let Some(account) = seat.session.accounts.get_mut(stream) {
                        account.admitted(streams[*stream as usize].0);
                    }
                }
            }
            Heard::Event(Arrival { sequence, scheduled }) => {
                counts.delivered += 1;
                let (stream, number) = split(sequence);
                match seat.session.accounts.get_mut(&stream) {
                    Some(account) => account.note(number),
                    None => self.verdict.foreign += 1,
                }
                let micros = now.saturating_sub(scheduled).as_micros();
                self.latency.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
            }
            Heard::Closed(_) if seat.gone => self.remove(place),
            Heard::Closed(code) => {
                let code = code.map_or_else(String::new, |code| format!(" with {code}"));
                bail!("not a result: the server has closed client {}{code}", seat.number)
            }
        }
        Ok(())
    }

    fn remove(&mut self, place: usize) {
        if let Some(seat) = self.seats[place].take() {
            self.verdict.add(seat.verdict(&self.streams));
            self.repeated_members += seat.repeated_members();
            self.free.push(place);
        }
    }
}

impl Seat {
    /// Closes the connection of one that leaves and has all that it is to have.
    fn go_if_ready(&mut self) -> Result<()> {
        let accounts = &self.session.accounts;
        let has = |(stream, due): &(Stream, u64)| {
            accounts.get(stream).is_none_or(|account| account.has_reached(*due))
        };
        if !self.gone && self.leaving.as_ref().is_some_and(|all| all.iter().all(has)) {
            self.gone = true;
            self.session.close()?;
        }
        Ok(())
    }

    fn verdict(&self, streams: &[(u64, u64)]) -> Verdict {
        let mut verdict = Verdict::default();
        if self.session.stalled {
            return verdict;
        }
        for (stream, account) in &self.session.accounts {
            let published = streams[*stream as usize].0;
            let mut recorded = self.leaving.iter().flatten().filter(|(s, _)| s == stream);
            let due = recorded.next().map_or(published, |(_, due)| *due);
            verdict.add(account.verdict(due, published));
        }
        verdict
    }

    fn repeated_members(&self) -> u64 {
        self.session.channels.iter().map(|channel| channel.members.repeated_members).sum()
    }
}
