//! Chat rooms, whose members leave and are replaced. Each has a presence channel, and optionally a private
//! one.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context, Result, ensure};

use crate::simulation::account::Stream;
use crate::simulation::engine::{ClientId, Simulation};
use crate::simulation::members::User;

/// Maximum number of handshakes in flight.
const AT_ONCE: u64 = 100;

/// Rooms with the same number of seats.
#[derive(Debug)]
pub(crate) struct Rooms {
    size: usize,
    talk: bool,
    /// Room by room. `None`: the seat is empty.
    seats: Vec<Option<ClientId>>,
    empty: VecDeque<usize>,
    /// The next member that leaves.
    next: usize,
}

impl Rooms {
    /// `talk`: whether rooms have a private channel for messages and client events.
    pub(crate) fn new(rooms: usize, size: usize, talk: bool) -> Self {
        Self { size, talk, seats: vec![None; rooms * size], empty: VecDeque::new(), next: 0 }
    }

    pub(crate) fn rooms(&self) -> usize {
        self.seats.len() / self.size
    }

    /// Number of streams: one for the messages of each room, then one for the client events of each seat.
    pub(crate) fn streams(&self) -> usize {
        if self.talk { self.rooms() + self.seats.len() } else { 0 }
    }

    /// Fills all seats.
    pub(crate) fn fill(&mut self, simulation: &mut Simulation) -> Result<()> {
        let channels = if self.talk { 2 } else { 1 };
        let before = simulation.counts.joined;
        for seat in 0..self.seats.len() {
            simulation
                .until(|c| before + channels * (seat as u64) < c.joined + channels * AT_ONCE)?;
            self.enter(simulation, seat)?;
        }
        let all = before + channels * self.seats.len() as u64;
        simulation.until(|c| c.joined == all)
    }

    fn enter(&mut self, simulation: &mut Simulation, seat: usize) -> Result<()> {
        let room = seat / self.size;
        let user = User::try_from(seat % self.size)?;
        let client = simulation.open(None)?;
        simulation.join(client, format!("presence-{room:06}"), Some(user), Vec::new())?;
        if self.talk {
            let others = (room * self.size..(room + 1) * self.size).filter(|other| *other != seat);
            let mut streams = vec![Stream::try_from(room)?];
            for other in others {
                streams.push(self.stream_of(other)?);
            }
            simulation.join(client, channel(room), None, streams)?;
        }
        self.seats[seat] = Some(client);
        Ok(())
    }

    fn stream_of(&self, seat: usize) -> Result<Stream> {
        Ok(Stream::try_from(self.rooms() + seat)?)
    }

    /// Publishes a message to a room over the HTTP API.
    pub(crate) fn message(
        &self,
        simulation: &mut Simulation,
        n: usize,
        due: std::time::Duration,
    ) -> Result<()> {
        let room = n % self.rooms();
        simulation.publish(Stream::try_from(room)?, &channel(room), due)
    }

    /// Sends a client event from the `n`th seat, or from the next one that is taken.
    pub(crate) fn whisper(
        &self,
        simulation: &mut Simulation,
        n: usize,
        due: std::time::Duration,
    ) -> Result<()> {
        let mut seats = (n..n + self.seats.len()).map(|n| n % self.seats.len());
        let seat = seats.find(|seat| self.seats[*seat].is_some_and(|t| simulation.is_in(t)));
        let seat = seat.context("invalid measurement: no client is left")?;
        let Some(client) = self.seats[seat] else { return Ok(()) };
        simulation.whisper(client, self.stream_of(seat)?, &channel(seat / self.size), due)
    }

    /// Makes a member leave or, every second time, another one join.
    pub(crate) fn change(&mut self, simulation: &mut Simulation, n: usize) -> Result<()> {
        if n % 2 == 1 {
            // The events of the seat's last client come first: two connections have no order.
            if let Some(seat) = self.empty.front().copied()
                && (!self.talk || simulation.is_delivered(self.stream_of(seat)?))
            {
                self.empty.pop_front();
                self.enter(simulation, seat)?;
            }
            return Ok(());
        }
        // One member of each room in turn, then another one of each.
        let place = self.next % self.rooms() * self.size + self.next / self.rooms() % self.size;
        self.next += 1;
        if let Some(client) = self.seats[place].filter(|client| simulation.is_in(*client)) {
            simulation.leave(client)?;
            self.seats[place] = None;
            self.empty.push_back(place);
        }
        Ok(())
    }

    /// Fills the empty seats, and waits until everything is delivered and all member lists are right.
    pub(crate) fn settle(&mut self, simulation: &mut Simulation) -> Result<()> {
        simulation.settle()?;
        while let Some(seat) = self.empty.pop_front() {
            self.enter(simulation, seat)?;
        }
        let users: Vec<User> = (0..User::try_from(self.size)?).collect();
        let truth: BTreeMap<String, &[User]> =
            (0..self.rooms()).map(|room| (format!("presence-{room:06}"), &users[..])).collect();
        let wrong = |simulation: &Simulation| {
            simulation.wrong_lists(|name| truth.get(name).copied().unwrap_or_default())
        };
        simulation.settle_when(|simulation| wrong(simulation) == 0)?;
        let wrong = wrong(simulation);
        ensure!(wrong == 0, "invalid measurement: {wrong} member lists are wrong");
        Ok(())
    }
}

/// A room's channel for messages and client events.
fn channel(room: usize) -> String {
    format!("private-{room:06}")
}
