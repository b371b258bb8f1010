//! Limits of one client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clarim_hub::Refusal;
use clarim_protocol::Code;

use crate::net::is_public;

const WINDOW: Duration = Duration::from_secs(1);

/// The limits; `None` for none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AddressLimits {
    pub(crate) connections: Option<u32>,
    pub(crate) handshakes_per_second: Option<u32>,
}

/// Counts clients by address, as far as there are limits.
#[derive(Debug)]
pub(super) struct Addresses {
    limits: AddressLimits,
    /// Held while one number is read and changed.
    connections: Mutex<HashMap<IpAddr, u32>>,
    handshakes: Mutex<Handshakes>,
}

/// The handshakes of the current second.
#[derive(Debug, Default)]
struct Handshakes {
    began: Option<Instant>,
    counts: HashMap<IpAddr, u32>,
}

impl Addresses {
    pub(super) fn new(limits: AddressLimits) -> Self {
        Self { limits, connections: Mutex::default(), handshakes: Mutex::default() }
    }

    pub(super) fn counts_connections(&self) -> bool {
        self.limits.connections.is_some()
    }

    /// Counts a handshake and, if connections are counted, a connection until it is released.
    pub(super) fn take(&self, address: IpAddr) -> Result<(), Refusal> {
        let address = network(address);
        if let Some(max) = self.limits.handshakes_per_second
            && !self.take_handshake(address, max, Instant::now())
        {
            return Err(over_capacity("Too many handshakes from this address in one second"));
        }
        if let Some(max) = self.limits.connections {
            let mut counts = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(address).or_default();
            if *count >= max {
                return Err(over_capacity("Too many connections from this address"));
            }
            *count += 1;
        }
        Ok(())
    }

    fn take_handshake(&self, address: IpAddr, max: u32, now: Instant) -> bool {
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if handshakes.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            *handshakes = Handshakes { began: Some(now), counts: HashMap::new() };
        }
        let count = handshakes.counts.entry(address).or_default();
        let is_left = *count < max;
        *count += u32::from(is_left);
        is_left
    }

    /// Counts a connection that was counted before.
    pub(super) fn restore(&self, address: IpAddr) {
        let mut counts = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(network(address)).or_default() += 1;
    }

    /// Releases a connection.
    pub(super) fn release(&self, address: IpAddr) {
        let address = network(address);
        let mut counts = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.connections.lock().unwrap().is_empty()
    }
}

/// A refusal after which clients try again a second later.
pub(super) fn over_capacity(message: &str) -> Refusal {
    Refusal { code: Code::OVER_CAPACITY, message: message.to_owned() }
}

/// The client's address for limits: the peer's or, if the peer is in a private network, as proxies are, the
/// address that it has `named`.
pub(crate) fn client_address(
    peer: Option<IpAddr>,
    named: impl FnOnce() -> Option<IpAddr>,
) -> Option<IpAddr> {
    let address = if peer.is_some_and(is_public) { peer } else { named().or(peer) };
    address.map(network)
}

/// An IPv4 address, or the network of an IPv6 address: one customer has all addresses of a /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_limited_per_second() {
        let limits = AddressLimits { connections: None, handshakes_per_second: Some(2) };
        let addresses = Addresses::new(limits);
        let now = Instant::now();
        let [mine, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let took = [0; 3].map(|_| addresses.take_handshake(mine, 2, now));
        assert_eq!(took, [true, true, false]);
        assert!(addresses.take_handshake(other, 2, now));
        assert!(addresses.take_handshake(mine, 2, now + WINDOW));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let [a, b, c] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
            .map(|text| network(text.parse().unwrap()));
        assert!(a == b && a != c);
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), IpAddr::from([192, 0, 2, 1]));
    }
}
