//! Accepting: each worker accepts connections and passes some on to workers that have fewer.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clarim_hub::{AppIndex, Refusal, WorkerId};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::origins::OriginId;
use crate::net::platform;

/// Pause after the process has run out of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The parameters that a WebSocket handshake has negotiated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandshakeParams {
    pub(crate) app: AppIndex,
    /// Messages may be compressed, in both directions.
    pub(crate) deflate: bool,
    /// The origin of the page that connects.
    pub(crate) origin: OriginId,
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
    pub(crate) stream: TcpStream,
    pub(crate) permit: ConnectionPermit,
    /// Present if the connection speaks WebSocket already.
    pub(crate) handshake: Option<Handshake>,
}

/// Counts one connection for its worker until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit(Arc<AtomicUsize>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Hands connections to the workers.
#[derive(Debug)]
pub(crate) struct Acceptor {
    workers: Vec<WorkerEntrance>,
    /// No worker can accept at the moment.
    is_paused: AtomicBool,
}

#[derive(Debug)]
struct WorkerEntrance {
    sender: UnboundedSender<NewConnection>,
    /// Number of the worker's connections, of any protocol.
    connections: Arc<AtomicUsize>,
}

impl Acceptor {
    /// Makes an acceptor, and the receiver of each worker.
    pub(crate) fn new(workers: u16) -> (Arc<Self>, Vec<UnboundedReceiver<NewConnection>>) {
        let entrance = |_| {
            let (sender, receiver) = unbounded_channel();
            (WorkerEntrance { sender, connections: Arc::default() }, receiver)
        };
        let (workers, receivers) = (0..workers).map(entrance).unzip();
        (Arc::new(Self { workers, is_paused: AtomicBool::new(false) }), receivers)
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

    /// Hands a connection that the worker `me` has accepted to a worker.
    fn accepted(&self, me: WorkerId, stream: TcpStream) {
        self.choose(me).admit(stream, None);
    }

    /// Hands a WebSocket that was accepted by another HTTP server to a worker.
    pub(crate) fn hand_over(&self, stream: TcpStream, handshake: Handshake) {
        let first = fastrand::usize(..self.workers.len());
        self.choose(WorkerId(first as u16)).admit(stream, Some(handshake));
    }

    /// Accepts connections for the worker `me` until dropped, or the runtime ends.
    pub(crate) async fn run(&self, me: WorkerId, listener: AsyncFd<TcpListener>) {
        loop {
            let Ok(mut ready) = listener.readable().await else { return };
            match platform::accept(ready.get_inner()) {
                Ok(stream) => {
                    if self.is_paused.load(Ordering::Relaxed)
                        && self.is_paused.swap(false, Ordering::Relaxed)
                    {
                        tracing::info!("accepting connections again");
                    }
                    self.accepted(me, stream);
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                // The client has gone while it waited to be accepted.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::PERM) => {}
                Err(error) => {
                    if !self.is_paused.swap(true, Ordering::Relaxed) {
                        tracing::error!(
                            %error,
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
    fn admit(&self, stream: TcpStream, handshake: Option<Handshake>) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let permit = ConnectionPermit(self.connections.clone());
        // A worker that has stopped drops the stream, which closes it.
        let _ = self.sender.send(NewConnection { stream, permit, handshake });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_with_many_more_connections_passes_new_ones_on() {
        let (acceptor, _receivers) = Acceptor::new(4);
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
        let (acceptor, mut receivers) = Acceptor::new(1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        acceptor.accepted(WorkerId(0), client);
        let connections = || acceptor.workers[0].connections.load(Ordering::Relaxed);
        assert_eq!(connections(), 1);
        drop(receivers[0].try_recv().unwrap());
        assert_eq!(connections(), 0);
    }
}
