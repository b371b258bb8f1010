//! The threads of a server.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use clarim_hub::WorkerId;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::routes::Routes;
use super::worker::{WorkerInputs, WorkerTask};
use crate::events::EventSubscribers;
use crate::http::Http;
use crate::net::TlsAcceptor;
use crate::runtime::Liveness;
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
        inputs: Vec<WorkerInputs>,
        tls: Option<&TlsAcceptor>,
    ) -> io::Result<Liveness> {
        // All runtimes are made before the first thread starts; see the feature `descriptor-tables`.
        let runtimes = inputs.iter().map(|_| runtime()).collect::<io::Result<Vec<_>>>()?;
        let (heartbeats, liveness) = Liveness::new(inputs.len());
        let threads = runtimes.into_iter().zip(heartbeats);
        for ((id, inputs), (runtime, heartbeat)) in (0..).map(WorkerId).zip(inputs).zip(threads) {
            let counters = routes.http.server_counters.of(id);
            let routes =
                Routes { http: Http { counters, ..routes.http.clone() }, ..routes.clone() };
            let task = WorkerTask { id, routes, inputs, tls: tls.cloned(), heartbeat };
            let name = format!("clarim-{}", id.0);
            self.start_on(runtime, &name, Phase::Draining, |_| task.run())?;
        }
        Ok(liveness)
    }

    /// Starts a thread with a runtime of its own, on which the future is also made: it need not be `Send`.
    /// When the future ends, for whatever reason, the server moves on to `then`.
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
