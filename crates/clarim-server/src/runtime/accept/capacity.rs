//! The clients and sockets of a server, and the permits that count them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clarim_hub::Refusal;

use super::addresses::{AddressLimits, Addresses, over_capacity};
use super::http_connections::HttpConnections;

/// The limits of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CapacityLimits {
    /// WebSockets and sessions of the HTTP fallback.
    pub(crate) clients: u64,
    /// TCP connections, of any protocol: more than clients, so that there are some for API requests and
    /// probes.
    pub(crate) sockets: u64,
    pub(crate) addresses: AddressLimits,
}

/// Counts the clients and the sockets of a server.
#[derive(Debug)]
pub(crate) struct Capacity {
    limits: CapacityLimits,
    clients: AtomicUsize,
    sockets: AtomicUsize,
    pub(super) http: Arc<HttpConnections>,
    addresses: Addresses,
}

impl Capacity {
    pub(crate) fn new(limits: CapacityLimits) -> Self {
        Self {
            limits,
            clients: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
            http: Arc::default(),
            addresses: Addresses::new(limits.addresses),
        }
    }

    /// Whether there is a descriptor for one more socket.
    pub(super) fn has_room(&self) -> bool {
        (self.sockets.load(Ordering::Relaxed) as u64) < self.limits.sockets
    }

    /// Whether only the sockets for API requests and probes are left.
    pub(super) fn is_scarce(&self) -> bool {
        self.sockets.load(Ordering::Relaxed) as u64 >= self.limits.clients
    }

    /// Counts a client, unless there are too many.
    fn take_client(&self) -> Result<(), Refusal> {
        let before = self.clients.fetch_add(1, Ordering::Relaxed);
        if (before as u64) < self.limits.clients {
            return Ok(());
        }
        self.clients.fetch_sub(1, Ordering::Relaxed);
        Err(over_capacity("The server has no room for more connections"))
    }
}

/// The place of a connection: what its permit counts for. Shared by the connections of a worker, except where
/// an address is counted.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) capacity: Arc<Capacity>,
    /// Number of the worker's connections, of any protocol.
    pub(super) worker: Arc<AtomicUsize>,
    /// Whether the connection has a descriptor.
    pub(super) is_socket: bool,
    /// The client's address, if connections are counted by address.
    pub(super) address: Option<IpAddr>,
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit(Arc<Place>);

impl ConnectionPermit {
    pub(super) fn new(place: Arc<Place>) -> Self {
        place.worker.fetch_add(1, Ordering::Relaxed);
        if place.is_socket {
            place.capacity.sockets.fetch_add(1, Ordering::Relaxed);
        }
        Self(place)
    }

    /// Counts the connection as a client's from now on, unless the server or the client's address has too
    /// many.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Result<ClientPermit, Refusal> {
        let capacity = &self.0.capacity;
        let counted = address.filter(|_| capacity.addresses.counts_connections());
        if let Some(address) = address {
            capacity.addresses.take(address)?;
        }
        if let Err(refusal) = capacity.take_client() {
            if let Some(address) = counted {
                capacity.addresses.release(address);
            }
            return Err(refusal);
        }
        let place = match counted {
            None => self.0.clone(),
            Some(_) => Arc::new(Place { address: counted, ..self.0.copy() }),
        };
        Ok(ClientPermit(Self::new(place)))
    }
}

impl Place {
    fn copy(&self) -> Self {
        let Self { capacity, worker, is_socket, address } = self;
        Self {
            capacity: capacity.clone(),
            worker: worker.clone(),
            is_socket: *is_socket,
            address: *address,
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.worker.fetch_sub(1, Ordering::Relaxed);
        if self.0.is_socket {
            self.0.capacity.sockets.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Counts one client until it is dropped.
#[derive(Debug)]
pub(crate) struct ClientPermit(ConnectionPermit);

impl ClientPermit {
    /// Counts a client that was admitted before.
    pub(super) fn restored(place: &Arc<Place>, address: Option<IpAddr>) -> Self {
        let capacity = &place.capacity;
        let address = address.filter(|_| capacity.addresses.counts_connections());
        capacity.clients.fetch_add(1, Ordering::Relaxed);
        let place = match address {
            None => place.clone(),
            Some(address) => {
                capacity.addresses.restore(address);
                Arc::new(Place { address: Some(address), ..place.copy() })
            }
        };
        Self(ConnectionPermit::new(place))
    }

    /// The client's address, if connections are counted by address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.0.0.address
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let Place { capacity, address, .. } = &*self.0.0;
        capacity.clients.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = address {
            capacity.addresses.release(*address);
        }
    }
}

#[cfg(test)]
mod tests {
    use clarim_protocol::Code;

    use super::*;

    fn capacity(clients: u64, addresses: AddressLimits) -> Arc<Capacity> {
        Arc::new(Capacity::new(CapacityLimits { clients, sockets: clients + 1, addresses }))
    }

    fn place(capacity: &Arc<Capacity>) -> Arc<Place> {
        let capacity = capacity.clone();
        Arc::new(Place { capacity, worker: Arc::default(), is_socket: true, address: None })
    }

    #[test]
    fn a_client_above_the_capacity_is_refused_and_the_next_takes_its_place() {
        let capacity = capacity(1, AddressLimits::default());
        let place = place(&capacity);
        let permit = ConnectionPermit::new(place.clone());
        let first = permit.admit(None).unwrap();
        drop(permit);
        let second = ConnectionPermit::new(place.clone());
        assert_eq!(second.admit(None).unwrap_err().code, Code::OVER_CAPACITY);
        drop(first);
        drop(second.admit(None).unwrap());
        drop(second);
        let left = [&capacity.clients, &capacity.sockets, &place.worker];
        assert_eq!(left.map(|count| count.load(Ordering::Relaxed)), [0; 3]);
    }

    #[test]
    fn an_address_has_its_own_limits() {
        let limits = AddressLimits { connections: Some(1), handshakes_per_second: None };
        let capacity = capacity(10, limits);
        let permit = ConnectionPermit::new(place(&capacity));
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        let first = permit.admit(address).unwrap();
        assert_eq!(permit.admit(address).unwrap_err().code, Code::OVER_CAPACITY);
        drop(permit.admit(Some(IpAddr::from([192, 0, 2, 2]))).unwrap());
        drop(first);
        drop(permit.admit(address).unwrap());
        assert!(capacity.addresses.is_empty());
    }
}
