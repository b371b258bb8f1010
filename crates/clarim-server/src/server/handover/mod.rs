//! The hand-over of a running server to a successor program: its connections, channels and everything else
//! pass on, and clients notice nothing.
//!
//! The server stops at a point at which nothing is under way, and writes a snapshot to memory. Nothing has
//! been given up by then: dropping the [`Handover`] lets it go on.

mod restoration;
mod snapshot;
mod worker;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::Node;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};
use tokio::time::timeout;

use super::consumers::{SavedWebhooks, WebhookHandle, WebhooksAtRest};
use super::routes::Routes;
use crate::clock::{now_ms, since_1970};
use crate::cluster::{ClusterAtRest, ClusterHandover};
use crate::config::ServerConfig;
use crate::http::IdempotencyKeys;
use crate::net::PassageExit;
use crate::runtime::{ServerCounters, Sink};
use crate::sync::{PauseHandle, Phase, ShutdownSignal};
pub use restoration::Inherited;
pub(super) use restoration::{Restoration, Restored, RestoredWorker};
pub(super) use snapshot::SavedHttp;
use snapshot::{Record, SavedServer, SnapshotFile};
pub(super) use worker::{ParkedHttp, WorkerHandover, WorkerRequest};

/// Time for requests in progress to be answered. Those that take longer are cut off.
const REQUESTS_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for the webhook requests that are being sent or stored. An attempt takes 10 s at most.
const WEBHOOKS_TIMEOUT: Duration = Duration::from_secs(15);

/// Time for the last bytes to clients that cannot be handed over.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(300);

/// An error that keeps a server from handing over. It serves on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// A hand-over is under way.
    #[error("another hand-over is under way; wait for its end")]
    UnderWay,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The operating system can't pass on open connections.
    #[error(
        "this system cannot hand over connections, only Linux can; restart the server, which drains it"
    )]
    Unsupported,
    /// The node has not joined its cluster.
    #[error("this node has not joined its cluster yet; try again in a few seconds")]
    NotJoined,
    /// The bus has not returned what this node has published.
    #[error(
        "the bus has not returned everything that this node published; check the bus, or the disk of the histories, and try again"
    )]
    Bus,
    /// The storage of the webhooks does not respond.
    #[error("the storage of the webhooks does not respond; check its disk, and try again")]
    Webhooks,
    /// A thread of the server has ended.
    #[error("a thread of the server has ended; restart the server, which drains it")]
    ThreadEnded,
    /// The snapshot can't be written.
    #[error(
        "the snapshot cannot be written: {source}; check the memory and the limit of open files"
    )]
    Snapshot {
        /// The system's error.
        source: io::Error,
    },
}

impl HandoverError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnderWay => "handover_under_way",
            Self::ShuttingDown => "shutting_down",
            Self::Unsupported => "handover_unsupported",
            Self::NotJoined => "not_joined",
            Self::Bus => "bus_not_at_rest",
            Self::Webhooks => "webhooks_not_at_rest",
            Self::ThreadEnded => "thread_ended",
            Self::Snapshot { .. } => "snapshot",
        }
    }
}

impl From<io::Error> for HandoverError {
    fn from(source: io::Error) -> Self {
        Self::Snapshot { source }
    }
}

/// A stopped server, ready for its successor.
///
/// Dropping it lets the server go on as if nothing had happened.
#[derive(Debug)]
pub struct Handover {
    stdin: OwnedFd,
    stopped: Option<Stopped>,
}

impl Handover {
    /// The standard input of the successor, which calls [`Inherited::receive`].
    #[must_use]
    pub fn stdin(&self) -> BorrowedFd<'_> {
        self.stdin.as_fd()
    }

    /// Leaves everything to the successor, which serves now. This process serves nothing any more and must
    /// end, without running the destructors of the server.
    pub fn complete(mut self) {
        std::mem::forget(self.stopped.take());
    }
}

/// Hands a server over to a successor process, which goes on with its connections: nobody is disconnected.
/// Cloning is cheap.
///
/// Fallback sessions, and connections with TLS 1.2 of this server, cannot be handed over. They are
/// disconnected with a code that makes clients reconnect at once. Requests in progress are answered first.
/// Connections of an HTTP server of the application stay with it until they have become WebSockets.
///
/// ```no_run
/// use std::process::Command;
///
/// use clarim_server::Server;
///
/// # async fn run(server: Server) -> Result<(), Box<dyn std::error::Error>> {
/// let handover = server.handover().hand_over(Vec::new()).await?;
/// let stdin = handover.stdin().try_clone_to_owned()?;
/// // The successor calls `Inherited::receive`. If it can't be started, this server goes on.
/// Command::new("/usr/local/bin/application").stdin(stdin).spawn()?;
/// handover.complete();
/// std::process::exit(0);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HandoverHandle(pub(super) HandoverControl);

impl HandoverHandle {
    /// Whether a server can hand over on this system.
    #[must_use]
    pub fn is_supported() -> bool {
        cfg!(target_os = "linux")
    }

    /// Stops the server and writes its snapshot. The successor gets the result's [`stdin`](Handover::stdin)
    /// as its standard input, and calls [`Inherited::receive`]. It may be this process after an `exec`, or
    /// another one. `kept`: further descriptors for the successor.
    ///
    /// # Errors
    /// If another hand-over is under way, or the operating system refuses it. The server serves on.
    pub async fn hand_over(&self, kept: Vec<OwnedFd>) -> Result<Handover, HandoverError> {
        hand_over(self.0.clone(), kept).await
    }
}

/// The parts of a server that a hand-over needs.
#[derive(Clone)]
pub(super) struct HandoverControl {
    pause: PauseHandle,
    workers: Vec<mpsc::UnboundedSender<WorkerRequest>>,
    /// The way of the workers' descriptors.
    passage: Arc<PassageExit>,
    webhooks: WebhookHandle,
    node: Arc<Node<Sink>>,
    counters: Arc<ServerCounters>,
    keys: Arc<IdempotencyKeys>,
    cluster: Option<ClusterHandover>,
    config: Arc<ServerConfig>,
    started: Instant,
    shutdown: ShutdownSignal,
    /// Held during each sweep of what the workers share.
    pub(super) sweeping: Arc<Mutex<()>>,
    /// Held during a hand-over.
    under_way: Arc<Mutex<()>>,
}

impl fmt::Debug for HandoverControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandoverControl").finish_non_exhaustive()
    }
}

/// A server that is stopping or stopped, until it goes on.
#[derive(Debug)]
struct Stopped {
    control: HandoverControl,
    _under_way: OwnedMutexGuard<()>,
    sweeping: Option<OwnedMutexGuard<()>>,
    _webhooks: WebhooksAtRest,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let control = &self.control;
        for worker in &control.workers {
            // A worker that has ended needs nothing.
            let _ = worker.send(WorkerRequest::Resume);
        }
        control.passage.clear();
        if let Some(cluster) = &control.cluster {
            cluster.resume();
        }
        control.pause.set(false);
    }
}

/// Stops a server and writes its snapshot. `kept`: further descriptors for the successor.
async fn hand_over(
    control: HandoverControl,
    kept: Vec<OwnedFd>,
) -> Result<Handover, HandoverError> {
    if !HandoverHandle::is_supported() {
        return Err(HandoverError::Unsupported);
    }
    let under_way = control.under_way.clone().try_lock_owned();
    let under_way = under_way.map_err(|_| HandoverError::UnderWay)?;
    if control.shutdown.now() > Phase::Serving {
        return Err(HandoverError::ShuttingDown);
    }
    // A webhook that is being sent must not be sent twice. The server still serves.
    let webhooks = timeout(WEBHOOKS_TIMEOUT, control.webhooks.rest()).await;
    let webhooks = webhooks.map_err(|_| HandoverError::Webhooks)?;
    let mut stopped =
        Stopped { control, _under_way: under_way, sweeping: None, _webhooks: webhooks };
    let control = stopped.control.clone();
    // What the other nodes publish from now on is not lost. The server still serves.
    if let Some(cluster) = &control.cluster
        && !cluster.prepare().await
    {
        return Err(HandoverError::NotJoined);
    }
    let began_ms = now_ms();
    control.pause.set(true);
    let until = Instant::now() + REQUESTS_TIMEOUT;
    control.ask_all(|reply| WorkerRequest::Rest { until, reply }).await?;
    let until = Instant::now() + FAREWELL_TIMEOUT;
    control.ask_all(|reply| WorkerRequest::Stop { until, reply }).await?;
    stopped.sweeping = Some(control.sweeping.clone().lock_owned().await);
    let settled = control.settle().await?;
    let snapshot = control.write(began_ms, settled).await?;
    let SnapshotFile { writer, descriptors } = snapshot;
    let buffered = writer.finish()?;
    let file = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    let first: Vec<OwnedFd> = [file.into()].into_iter().chain(kept).collect();
    let stdin = descriptors.for_process(&first)?;
    Ok(Handover { stdin, stopped: Some(stopped) })
}

/// The state of the threads without connections, when there is nothing left to process.
struct Settled {
    webhooks: Option<SavedWebhooks>,
    cluster: Option<ClusterAtRest>,
}

impl HandoverControl {
    pub(super) fn new(
        pause: PauseHandle,
        workers: Vec<mpsc::UnboundedSender<WorkerRequest>>,
        passage: PassageExit,
        routes: &Routes,
    ) -> Self {
        let http = &routes.http;
        Self {
            pause,
            workers,
            passage: Arc::new(passage),
            webhooks: routes.consumers.webhooks.clone(),
            node: http.node.clone(),
            counters: http.server_counters.clone(),
            keys: http.keys.clone(),
            cluster: http.logs.as_ref().map(|cluster| cluster.handover.clone()),
            config: http.config.clone(),
            started: http.started,
            shutdown: http.shutdown.clone(),
            sweeping: Arc::default(),
            under_way: Arc::default(),
        }
    }

    /// Sends a request to all workers and waits for their replies.
    async fn ask_all<T>(
        &self,
        request: impl Fn(oneshot::Sender<T>) -> WorkerRequest,
    ) -> Result<Vec<T>, HandoverError> {
        let mut replies = Vec::new();
        for worker in &self.workers {
            let (reply, replied) = oneshot::channel();
            worker.send(request(reply)).map_err(|_| HandoverError::ThreadEnded)?;
            replies.push(replied);
        }
        let mut all = Vec::new();
        for replied in replies {
            all.push(replied.await.map_err(|_| HandoverError::ThreadEnded)?);
        }
        Ok(all)
    }

    /// Lets the threads process what they have for each other, until there is nothing left.
    async fn settle(&self) -> Result<Settled, HandoverError> {
        let mut before = None;
        loop {
            let webhooks = self.webhooks.save().await;
            let cluster = match &self.cluster {
                Some(cluster) => Some(cluster.rest().await.ok_or(HandoverError::Bus)?),
                None => None,
            };
            let mut counts = self.ask_all(WorkerRequest::Settle).await?;
            counts.extend(cluster.as_ref().map(|cluster| cluster.handled));
            if before.as_ref() == Some(&counts) {
                return Ok(Settled { webhooks, cluster });
            }
            before = Some(counts);
        }
    }

    async fn write(&self, began_ms: u64, settled: Settled) -> Result<SnapshotFile, HandoverError> {
        let file = memory_file()?;
        let mut snapshot = SnapshotFile::begin(file)?;
        let config = &self.config;
        snapshot.write(&Record::Server(SavedServer {
            host: config.host.clone(),
            port: config.port,
            restarts_in_place: config.restarts_in_place,
            history_path: config.history_path.clone(),
            began_ms,
        }))?;
        self.write_workers(&mut snapshot, worker::Part::Listeners).await?;
        let now = self.started.elapsed();
        snapshot.write(&Record::Node(self.node.save(now, since_1970())))?;
        self.node.save_contents(&mut |record| snapshot.write(&Record::Contents(record)))?;
        snapshot.write(&Record::Counters(self.counters.save()))?;
        self.keys.save(now, &mut |key| snapshot.write(&Record::Keys(key)))?;
        let Settled { webhooks, cluster } = settled;
        if let Some(saved) = webhooks {
            snapshot.write(&Record::Webhooks(saved))?;
        }
        if let Some(ClusterAtRest { saved, traffic, .. }) = cluster {
            snapshot.write(&Record::Cluster(saved))?;
            snapshot.write(&Record::BusTraffic(traffic))?;
        }
        self.write_workers(&mut snapshot, worker::Part::Connections).await?;
        Ok(snapshot)
    }

    /// Lets one worker after the other save a part of the snapshot.
    async fn write_workers(
        &self,
        snapshot: &mut SnapshotFile,
        part: worker::Part,
    ) -> Result<(), HandoverError> {
        for worker in &self.workers {
            self.passage.clear();
            let (reply, replied) = oneshot::channel();
            let request = WorkerRequest::Save { part, first: snapshot.descriptors.next, reply };
            worker.send(request).map_err(|_| HandoverError::ThreadEnded)?;
            let saved = replied.await.map_err(|_| HandoverError::ThreadEnded)??;
            snapshot.descriptors.append(self.passage.take(&saved.descriptors)?);
            snapshot.writer.append(&saved.records)?;
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn memory_file() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(File::from(memfd_create("clarim-snapshot", MemfdFlags::CLOEXEC)?))
}

#[cfg(not(target_os = "linux"))]
fn memory_file() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}
