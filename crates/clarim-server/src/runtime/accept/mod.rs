//! Accepting: each worker accepts connections and passes some on to workers that have fewer.

mod addresses;
mod capacity;
mod http_connections;

use std::io::Write;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clarim_hub::{AppIndex, Refusal, WorkerId};
use clarim_protocol::PageId;
use rustix::io::Errno;
use tokio::io::DuplexStream;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::origins::OriginId;
use crate::net::{Transport, platform};
use crate::sync::DropCounter;
pub(crate) use addresses::{AddressLimits, client_address};
use capacity::Place;
pub(crate) use capacity::{Capacity, CapacityLimits, ClientPermit, ConnectionPermit};
pub(crate) use http_connections::{HttpConnection, OpenHttp, RequestInProgress, RequestPause};

/// Pause after the process has run out of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The response to a connection for which there is no descriptor.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 22\r\nRetry-After: 1\r\nConnection: close\r\n\r\nToo many connections.\n";

/// The parameters that a WebSocket handshake has negotiated.
#[derive(Debug, Clone)]
pub(crate) struct HandshakeParams {
    pub(crate) app: AppIndex,
    /// Messages may be compressed, in both directions.
    pub(crate) deflate: bool,
    /// The origin of the page that connects.
    pub(crate) origin: OriginId,
    /// The client's address, if it is known.
    pub(crate) address: Option<IpAddr>,
    /// The page that connects, if it has named its id.
    pub(crate) page: Option<PageId>,
}

/// The result of a handshake. A refusal is sent over the WebSocket and not as an HTTP status, since browsers
/// show close codes to scripts but nothing about a failed handshake.
pub(crate) type Admission = Result<HandshakeParams, Refusal>;

/// A handshake that is done, on a connection that still has to reach its worker.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) admission: Admission,
    /// Bytes that the client has sent behind the handshake.
    pub(crate) early: Bytes,
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct NewConnection {
    pub(crate) incoming: Incoming,
    pub(crate) permit: ConnectionPermit,
}

/// The kinds of new connections.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// Accepted at the server's own port. `early`: what was read from it before it was handed over.
    Http { stream: TcpStream, peer: Option<IpAddr>, early: Vec<u8>, http: OpenHttp },
    /// A WebSocket that was accepted by another HTTP server of this process.
    WebSocket { stream: TcpStream, handshake: Handshake },
    /// A WebSocket without a socket of its own, from within this process.
    Local { stream: DuplexStream, handshake: Handshake },
}

/// A connection that becomes the engine's.
#[derive(Debug)]
pub(crate) struct Adopted<'a> {
    pub(crate) params: HandshakeParams,
    pub(crate) transport: Transport,
    /// The answer to its handshake, which is still to be sent.
    pub(crate) answer: &'a [u8],
    /// Bytes that the client has sent behind its handshake.
    pub(crate) early: &'a [u8],
    pub(crate) permit: ClientPermit,
}

/// Hands connections to the workers.
#[derive(Debug)]
pub(crate) struct Acceptor {
    workers: Vec<WorkerEntrance>,
    capacity: Arc<Capacity>,
    /// The log says that no worker can accept.
    is_paused: AtomicBool,
    /// Times that a worker could not accept.
    pauses: DropCounter,
}

#[derive(Debug)]
struct WorkerEntrance {
    sender: UnboundedSender<NewConnection>,
    /// Number of the worker's connections, of any protocol.
    connections: Arc<AtomicUsize>,
    /// The places of its sockets and of its local connections.
    socket: Arc<Place>,
    local: Arc<Place>,
}

impl Acceptor {
    /// Makes an acceptor, and the receiver of each worker.
    pub(crate) fn new(
        workers: u16,
        capacity: Arc<Capacity>,
    ) -> (Arc<Self>, Vec<UnboundedReceiver<NewConnection>>) {
        let entrance = |_| {
            let (sender, receiver) = unbounded_channel();
            let connections = Arc::<AtomicUsize>::default();
            let place = |is_socket| {
                let worker = connections.clone();
                Arc::new(Place { capacity: capacity.clone(), worker, is_socket, address: None })
            };
            let socket = place(true);
            let local = place(false);
            (WorkerEntrance { sender, connections, socket, local }, receiver)
        };
        let (workers, receivers) = (0..workers).map(entrance).unzip();
        let is_paused = AtomicBool::new(false);
        let acceptor = Self { workers, capacity, is_paused, pauses: DropCounter::default() };
        (Arc::new(acceptor), receivers)
    }

    /// Chooses the worker of a connection that `me` has accepted. The kernel spreads connections at random;
    /// comparing with one other worker, also at random, evens that out and costs the same for two workers and
    /// for two hundred.
    fn choose(&self, me: WorkerId) -> &WorkerEntrance {
        let mine = &self.workers[usize::from(me.0)];
        // A file descriptor is not valid in another worker's descriptor table.
        if cfg!(feature = "descriptor-tables") {
            return mine;
        }
        let other = &self.workers[fastrand::usize(..self.workers.len())];
        let theirs = other.connections.load(Ordering::Relaxed);
        let passes_on = theirs + theirs / 16 + 4 < mine.connections.load(Ordering::Relaxed);
        if passes_on { other } else { mine }
    }

    /// Hands a connection that the worker `me` has accepted to a worker. Where there is no descriptor for it,
    /// connections that wait for a request are closed; if all are in use, it is refused.
    fn accepted(&self, me: WorkerId, stream: TcpStream, peer: Option<IpAddr>) {
        if !self.capacity.has_room() && !self.capacity.http.close_oldest() {
            // The stream is new, so its buffer has room. It may be a TLS connection, for which this is
            // garbage; nothing else can be said before a handshake.
            let _ = (&stream).write_all(NO_ROOM);
            return;
        }
        let http = self.capacity.http.add();
        let worker = self.choose(me);
        worker.send(&worker.socket, Incoming::Http { stream, peer, early: Vec::new(), http });
    }

    /// Hands an HTTP connection of the worker `me` to a worker that was accepted before a hand-over. `early`:
    /// what was read from it.
    pub(crate) fn restore_http(
        &self,
        me: WorkerId,
        stream: TcpStream,
        peer: Option<IpAddr>,
        early: Vec<u8>,
    ) {
        let http = self.capacity.http.add();
        let worker = self.choose(me);
        worker.send(&worker.socket, Incoming::Http { stream, peer, early, http });
    }

    /// Counts a client of a worker that was admitted before a hand-over.
    pub(crate) fn restore_client(&self, worker: WorkerId, address: Option<IpAddr>) -> ClientPermit {
        ClientPermit::restored(&self.workers[usize::from(worker.0)].socket, address)
    }

    /// Hands a WebSocket that was accepted by another HTTP server to a worker.
    pub(crate) fn hand_over(&self, stream: TcpStream, handshake: Handshake) {
        let worker = self.any();
        worker.send(&worker.socket, Incoming::WebSocket { stream, handshake });
    }

    /// Hands a WebSocket from within this process to a worker.
    pub(crate) fn hand_over_local(&self, stream: DuplexStream, handshake: Handshake) {
        let worker = self.any();
        worker.send(&worker.local, Incoming::Local { stream, handshake });
    }

    fn any(&self) -> &WorkerEntrance {
        let first = fastrand::usize(..self.workers.len());
        self.choose(WorkerId(first as u16))
    }

    /// Accepts connections for the worker `me` until dropped, or the runtime ends.
    pub(crate) async fn run(&self, me: WorkerId, listener: &AsyncFd<TcpListener>) {
        loop {
            let Ok(mut ready) = listener.readable().await else { return };
            match platform::accept(ready.get_inner()) {
                Ok((stream, peer)) => {
                    if self.is_paused.load(Ordering::Relaxed)
                        && self.is_paused.swap(false, Ordering::Relaxed)
                    {
                        tracing::info!("accepting connections again");
                    }
                    self.accepted(me, stream, peer);
                    if self.capacity.is_scarce() {
                        // Requests are read before others need their descriptors, and connections that are
                        // closed give theirs back.
                        tokio::task::yield_now().await;
                    }
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                // The client has gone while it waited to be accepted.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::PERM) => {}
                Err(error) => {
                    // The rest of the process has more descriptors than were reserved for it.
                    self.capacity.http.close_oldest();
                    if let Some(times) = self.pauses.add() {
                        self.is_paused.store(true, Ordering::Relaxed);
                        tracing::error!(
                            %error,
                            times,
                            "cannot accept connections; retrying, open connections are not affected"
                        );
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl WorkerEntrance {
    fn send(&self, place: &Arc<Place>, incoming: Incoming) {
        let permit = ConnectionPermit::new(place.clone());
        // A worker that has stopped drops the stream, which closes it.
        let _ = self.sender.send(NewConnection { incoming, permit });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acceptor(workers: u16) -> (Arc<Acceptor>, Vec<UnboundedReceiver<NewConnection>>) {
        let addresses = AddressLimits::default();
        let limits = CapacityLimits { clients: 1_000, sockets: 1_064, addresses };
        Acceptor::new(workers, Arc::new(Capacity::new(limits)))
    }

    #[test]
    fn a_worker_with_many_more_connections_passes_new_ones_on() {
        let (acceptor, _receivers) = acceptor(4);
        let workers = &acceptor.workers;
        workers[0].connections.store(100, Ordering::Relaxed);
        let mut passed_on = 0;
        for _ in 0..400 {
            passed_on +=
                usize::from(!std::ptr::eq(acceptor.choose(WorkerId(0)), &raw const workers[0]));
            assert!(std::ptr::eq(acceptor.choose(WorkerId(1)), &raw const workers[1]));
        }
        // Three of four comparisons are with another worker.
        assert!((200..400).contains(&passed_on), "{passed_on}");
        workers.iter().for_each(|worker| worker.connections.store(104, Ordering::Relaxed));
        assert!(std::ptr::eq(acceptor.choose(WorkerId(0)), &raw const workers[0]));
    }

    #[test]
    fn a_connection_counts_until_it_is_dropped() {
        let (acceptor, mut receivers) = acceptor(1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        acceptor.accepted(WorkerId(0), client, None);
        let connections = || acceptor.workers[0].connections.load(Ordering::Relaxed);
        assert_eq!(connections(), 1);
        drop(receivers[0].try_recv().unwrap());
        assert_eq!(connections(), 0);
    }
}
