//! HTTP connections that wait for a request. They are closed when others need their descriptors.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Of the waiting connections, one in so many is closed at once, so that a crowd of them is not searched for
/// each new connection.
const SHARE: usize = 10;

/// The zero of [`HttpConnection::waiting_since`].
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The HTTP connections of a server.
#[derive(Debug, Default)]
pub(crate) struct HttpConnections {
    next: AtomicU64,
    /// Locked when a connection comes, goes or becomes a WebSocket, and for a search.
    open: Mutex<HashMap<u64, Arc<HttpConnection>>>,
}

/// The state of an HTTP connection that decides whether it may be closed.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    /// Requests in progress that the server has agreed to answer. One whose body is read without knowing the
    /// sender does not count.
    requests: AtomicU32,
    /// When the last request ended, in milliseconds.
    waiting_since: AtomicU64,
    is_closing: AtomicBool,
    close: Notify,
}

impl Default for HttpConnection {
    fn default() -> Self {
        Self {
            requests: AtomicU32::new(0),
            waiting_since: AtomicU64::new(now()),
            is_closing: AtomicBool::new(false),
            close: Notify::new(),
        }
    }
}

impl HttpConnection {
    /// Begins a request. It ends when the returned value is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> RequestInProgress {
        self.requests.fetch_add(1, Ordering::Relaxed);
        RequestInProgress(self.clone())
    }

    /// Counts a request in progress as waiting, until the returned value is dropped.
    pub(crate) fn pause(self: &Arc<Self>) -> RequestPause {
        self.waiting_since.store(now(), Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
        RequestPause(self.clone())
    }

    /// Whether no request is in progress.
    pub(crate) fn is_waiting(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// Returns once the connection is to be closed.
    pub(crate) async fn closed(&self) {
        loop {
            self.close.notified().await;
            // A request may have begun in the meantime.
            if self.is_waiting() {
                return;
            }
            self.is_closing.store(false, Ordering::Relaxed);
        }
    }
}

/// A request in progress, which keeps its connection from being closed.
#[derive(Debug)]
pub(crate) struct RequestInProgress(Arc<HttpConnection>);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.waiting_since.store(now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request in progress that does not keep its connection from being closed.
#[derive(Debug)]
pub(crate) struct RequestPause(Arc<HttpConnection>);

impl Drop for RequestPause {
    fn drop(&mut self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }
}

impl HttpConnections {
    /// Adds a connection, until the returned value is dropped.
    pub(super) fn add(self: &Arc<Self>) -> OpenHttp {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::<HttpConnection>::default();
        self.lock().insert(id, connection.clone());
        OpenHttp { connections: self.clone(), id, connection }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<HttpConnection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connections that have waited longest. Returns `false` if none waits.
    pub(super) fn close_oldest(&self) -> bool {
        let open = self.lock();
        let is_candidate =
            |it: &&Arc<HttpConnection>| it.is_waiting() && !it.is_closing.load(Ordering::Relaxed);
        let mut waiting: Vec<&Arc<HttpConnection>> = open.values().filter(is_candidate).collect();
        if waiting.is_empty() {
            return false;
        }
        let last = waiting.len().div_ceil(SHARE) - 1;
        waiting.select_nth_unstable_by_key(last, |it| it.waiting_since.load(Ordering::Relaxed));
        for connection in &waiting[..=last] {
            connection.is_closing.store(true, Ordering::Relaxed);
            connection.close.notify_one();
        }
        true
    }
}

/// An HTTP connection in its server's list.
#[derive(Debug)]
pub(crate) struct OpenHttp {
    connections: Arc<HttpConnections>,
    id: u64,
    pub(crate) connection: Arc<HttpConnection>,
}

impl Drop for OpenHttp {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
    }
}

fn now() -> u64 {
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_connection_that_has_waited_longest_is_closed() {
        let connections = Arc::<HttpConnections>::default();
        let opened = [0; 3].map(|_| connections.add());
        let all = opened.each_ref().map(|it| it.connection.clone());
        all[0].waiting_since.store(3, Ordering::Relaxed);
        all[1].waiting_since.store(2, Ordering::Relaxed);
        all[2].waiting_since.store(1, Ordering::Relaxed);
        let request = all[2].begin();
        assert!(connections.close_oldest());
        let closed = [0, 1, 2].map(|n: usize| all[n].closed().now_or_never().is_some());
        assert_eq!(closed, [false, true, false]);
        assert!(connections.close_oldest());
        assert!(all[0].closed().now_or_never().is_some());
        // The last one has a request in progress.
        assert!(!connections.close_oldest());
        drop(request);
        assert!(connections.close_oldest());
        drop(opened);
        assert!(connections.lock().is_empty());
    }
}
