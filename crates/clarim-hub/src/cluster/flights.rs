//! Messages whose acceptance by the bus is awaited.

use slab::Slab;

use crate::address::ChannelKey;
use crate::outputs::DeliveryAck;

/// The purpose for which the result of a publish is awaited.
#[derive(Debug)]
pub(super) enum Flight {
    Nothing,
    Event(DeliveryAck),
    SyncRequest(ChannelKey),
}

/// The messages of a node on their way to the bus, by ticket.
#[derive(Debug, Default)]
pub(super) struct Flights(Slab<Flight>);

impl Flights {
    /// Adds a message. Returns its ticket.
    pub(super) fn add(&mut self, flight: Flight) -> u64 {
        self.0.insert(flight) as u64
    }

    /// Removes a message that the bus has accepted or lost.
    pub(super) fn land(&mut self, ticket: u64) -> Option<Flight> {
        let flight = self.0.try_remove(usize::try_from(ticket).ok()?);
        if self.0.is_empty() && self.0.capacity() > 4096 {
            self.0 = Slab::new();
        }
        flight
    }
}
