//! The threads of a server.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use clarim_hub::WorkerId;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::task::LocalSet;

use super::routes::Routes;
use super::worker::WorkerTask;
use crate::events::EventSubscribers;
use crate::http::Http;
use crate::net::TlsAcceptor;
use crate::runtime::{Liveness, NewConnection, WorkerQuery};
use crate::sync::{Phase, ShutdownHandle, ShutdownSignal};

/// A running thread.
pub(super) type Thread = JoinHandle<io::Result<()>>;

/// Starts the threads of a server.
#[derive(Debug)]
pub(super) struct Threads {
    shutdown: ShutdownHandle,
    signal: ShutdownSignal,
    close_streams: Arc<CloseStreams>,
    started: Vec<Thread>,
}

/// Held by each thread: closes the event streams after the last of them.
#[derive(Debug)]
struct CloseStreams(Option<Arc<EventSubscribers>>);

impl Drop for CloseStreams {
    fn drop(&mut self) {
        if let Some(subscribers) = &self.0 {
            subscribers.close();
        }
    }
}

/// The inputs of all workers, in their order.
#[derive(Debug)]
pub(super) struct WorkerInputs {
    /// One for each worker, or none.
    pub(super) listeners: Vec<TcpListener>,
    pub(super) connections: Vec<UnboundedReceiver<NewConnection>>,
    pub(super) queries: Vec<Receiver<WorkerQuery>>,
    pub(super) tls: Option<TlsAcceptor>,
}

impl Threads {
    pub(super) fn new(
        shutdown: ShutdownHandle,
        signal: ShutdownSignal,
        subscribers: Option<Arc<EventSubscribers>>,
    ) -> Self {
        let close_streams = Arc::new(CloseStreams(subscribers));
        Self { shutdown, signal, close_streams, started: Vec::new() }
    }

    /// Starts a thread for each worker.
    pub(super) fn start_workers(
        &mut self,
        routes: &Routes,
        inputs: WorkerInputs,
    ) -> io::Result<Liveness> {
        let WorkerInputs { listeners, connections, queries, tls } = inputs;
        // All runtimes are made before the first thread starts; see the feature `descriptor-tables`.
        let runtimes = connections.iter().map(|_| runtime()).collect::<io::Result<Vec<_>>>()?;
        let (heartbeats, liveness) = Liveness::new(runtimes.len());
        let mut listeners = listeners.into_iter();
        let mut queries = queries.into_iter();
        let mut heartbeats = heartbeats.into_iter();
        for ((id, connections), runtime) in (0..).map(WorkerId).zip(connections).zip(runtimes) {
            let (Some(queries), Some(heartbeat)) = (queries.next(), heartbeats.next()) else {
                break;
            };
            let counters = routes.http.server_counters.of(id);
            let task = WorkerTask {
                id,
                routes: Routes { http: Http { counters, ..routes.http.clone() }, ..routes.clone() },
                listener: listeners.next(),
                connections,
                queries,
                tls: tls.clone(),
                heartbeat,
            };
            let name = format!("clarim-{}", id.0);
            self.start_on(runtime, &name, Phase::Draining, |_| task.run())?;
        }
        Ok(liveness)
    }

    /// Starts a thread with a runtime of its own, on which the future is also made: it need not be `Send`. When
    /// the future ends, for whatever reason, the server moves on to `then`.
    pub(super) fn start<F: Future<Output = io::Result<()>>>(
        &mut self,
        name: &str,
        then: Phase,
        make: impl FnOnce(ShutdownSignal) -> F + Send + 'static,
    ) -> io::Result<()> {
        self.start_on(runtime()?, name, then, make)
    }

    /// As [`start`](Self::start), with a given runtime.
    pub(super) fn start_on<F: Future<Output = io::Result<()>>>(
        &mut self,
        runtime: Runtime,
        name: &str,
        then: Phase,
        make: impl FnOnce(ShutdownSignal) -> F + Send + 'static,
    ) -> io::Result<()> {
        let advance = self.shutdown.on_drop(then);
        let signal = self.signal.clone();
        let close_streams = self.close_streams.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _advance = advance;
            let _close_streams = close_streams;
            LocalSet::new().block_on(&runtime, make(signal))
        })?;
        self.started.push(thread);
        Ok(())
    }

    /// Returns all threads.
    pub(super) fn into_started(self) -> Vec<Thread> {
        self.started
    }
}

pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
