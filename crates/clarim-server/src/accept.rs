//! Accepting: connections are spread over the workers, to the one that has fewest.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;

/// Pause after the process has run out of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// A worker, as the acceptor sees it.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) streams: UnboundedSender<(TcpStream, Guest)>,
    /// Connections of the worker, whatever they speak.
    pub(crate) guests: Arc<AtomicUsize>,
}

/// Counts one connection as its worker's for as long as it lives.
#[derive(Debug)]
pub(crate) struct Guest(Arc<AtomicUsize>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until dropped.
pub(crate) async fn accept(listener: TcpListener, doors: Vec<Door>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    #[expect(
        deprecated,
        reason = "sound here: the listener is owned, so open as long as registered"
    )]
    let listener = AsyncFd::new(listener)?;
    let mut paused = false;
    loop {
        let mut ready = listener.readable().await?;
        match accept_with(ready.get_inner(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(stream) => {
                if std::mem::take(&mut paused) {
                    tracing::info!("accepting connections again");
                }
                welcome(stream, &doors);
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            // The client was gone before it was its turn.
            Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::PERM) => {}
            Err(error) => {
                if !std::mem::replace(&mut paused, true) {
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

fn welcome(stream: OwnedFd, doors: &[Door]) {
    let stream = TcpStream::from(stream);
    // Events are small and each is wanted now.
    let _ = stream.set_nodelay(true);
    let Some(door) = doors.iter().min_by_key(|door| door.guests.load(Ordering::Relaxed)) else {
        return;
    };
    door.guests.fetch_add(1, Ordering::Relaxed);
    // A worker that has stopped takes nobody in: the stream is dropped, and so closed.
    let _ = door.streams.send((stream, Guest(door.guests.clone())));
}
