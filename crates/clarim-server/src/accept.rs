//! Accepting: each worker takes connections in by itself, and passes some on where another has fewer.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clarim_hub::WorkerId;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::http::Verdict;

/// Pause after the process has run out of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that comes to a worker.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) stream: TcpStream,
    pub(crate) guest: Guest,
    /// Of a connection that speaks WebSocket already: what has come behind its handshake, and what that has
    /// settled.
    pub(crate) handshake: Option<(Bytes, Verdict)>,
}

/// Counts one connection as its worker's for as long as it lives.
#[derive(Debug)]
pub(crate) struct Guest(Arc<AtomicUsize>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The ways into all workers.
#[derive(Debug)]
pub(crate) struct Doors {
    doors: Vec<Door>,
    /// No worker can accept at the moment.
    paused: AtomicBool,
}

/// The way into one worker.
#[derive(Debug)]
struct Door {
    arrivals: UnboundedSender<Arrival>,
    /// Connections of the worker, whatever they speak.
    guests: Arc<AtomicUsize>,
}

impl Doors {
    /// With the other end of each door, in the workers' order.
    pub(crate) fn new(workers: u16) -> (Arc<Self>, Vec<UnboundedReceiver<Arrival>>) {
        let (doors, arrivals) = (0..workers)
            .map(|_| {
                let (sender, receiver) = unbounded_channel();
                (Door { arrivals: sender, guests: Arc::default() }, receiver)
            })
            .unzip();
        (Arc::new(Self { doors, paused: AtomicBool::new(false) }), arrivals)
    }

    /// The kernel spreads by chance. One look at one other worker, also by chance, evens that out, and costs
    /// the same with two workers and with two hundred.
    fn choose(&self, me: WorkerId) -> &Door {
        let mine = &self.doors[usize::from(me.0)];
        // With tables of their own, a descriptor means nothing to another worker.
        if cfg!(feature = "descriptor-tables") {
            return mine;
        }
        let other = &self.doors[fastrand::usize(..self.doors.len())];
        let theirs = other.guests.load(Ordering::Relaxed);
        let passes_on = theirs + theirs / 16 + 4 < mine.guests.load(Ordering::Relaxed);
        if passes_on { other } else { mine }
    }

    fn welcome(&self, me: WorkerId, stream: TcpStream) {
        self.choose(me).admit(stream, None);
    }

    /// Takes in a connection from outside of the workers.
    pub(crate) fn hand_over(&self, stream: TcpStream, early: Bytes, verdict: Verdict) {
        let first = fastrand::usize(..self.doors.len());
        self.choose(WorkerId(first as u16)).admit(stream, Some((early, verdict)));
    }
}

/// Makes the calling thread's runtime watch a listener.
pub(crate) fn watch(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    #[expect(
        deprecated,
        reason = "sound here: the listener is owned, so open as long as registered"
    )]
    AsyncFd::new(listener)
}

/// Accepts for the worker `me` until dropped, or the runtime ends.
pub(crate) async fn accept(listener: AsyncFd<TcpListener>, me: WorkerId, doors: Arc<Doors>) {
    loop {
        let Ok(mut ready) = listener.readable().await else { return };
        match accept_with(ready.get_inner(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(stream) => {
                if doors.paused.load(Ordering::Relaxed)
                    && doors.paused.swap(false, Ordering::Relaxed)
                {
                    tracing::info!("accepting connections again");
                }
                doors.welcome(me, stream.into());
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            // The client was gone before it was its turn.
            Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::PERM) => {}
            Err(error) => {
                if !doors.paused.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        %error,
                        "accepting connections pauses; those that are open are not affected"
                    );
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Door {
    fn admit(&self, stream: TcpStream, handshake: Option<(Bytes, Verdict)>) {
        self.guests.fetch_add(1, Ordering::Relaxed);
        let guest = Guest(self.guests.clone());
        // A worker that has stopped takes nobody in: the stream is dropped, and so closed.
        let _ = self.arrivals.send(Arrival { stream, guest, handshake });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_many_more_passes_on_and_the_others_do_not() {
        let (doors, _arrivals) = Doors::new(4);
        doors.doors[0].guests.store(100, Ordering::Relaxed);
        let mut passed_on = 0;
        for _ in 0..400 {
            passed_on +=
                usize::from(!std::ptr::eq(doors.choose(WorkerId(0)), &raw const doors.doors[0]));
            assert!(std::ptr::eq(doors.choose(WorkerId(1)), &raw const doors.doors[1]));
        }
        // Three looks in four find somebody else.
        assert!((200..400).contains(&passed_on), "{passed_on}");
        doors.doors.iter().for_each(|door| door.guests.store(104, Ordering::Relaxed));
        assert!(std::ptr::eq(doors.choose(WorkerId(0)), &raw const doors.doors[0]));
    }

    #[test]
    fn a_guest_counts_for_as_long_as_it_lives() {
        let (doors, mut arrivals) = Doors::new(1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        doors.welcome(WorkerId(0), client);
        let guests = || doors.doors[0].guests.load(Ordering::Relaxed);
        assert_eq!(guests(), 1);
        drop(arrivals[0].try_recv().unwrap());
        assert_eq!(guests(), 0);
    }
}
