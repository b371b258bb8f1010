//! The other side of a hand-over: a server that goes on from a snapshot.

use std::fs::File;
use std::io::{self, BufReader, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clarim_hub::snapshot::{
    SavedConnection, SavedNode, SavedWorker, SnapshotError, SnapshotReader,
};
use clarim_hub::{Worker, WorkerId, WorkerRestorer};
use clarim_protocol::{Code, Frame};

use super::super::consumers::SavedWebhooks;
use super::super::{BoundServer, Server, StartError};
use super::snapshot::{Record, SavedHttp, SavedServer};
use crate::clock::since_1970;
use crate::cluster::{SavedClusterState, SavedTraffic};
use crate::config::ServerConfig;
use crate::http::Http;
use crate::net::{Descriptors, ForThread, Listeners, ReceivedDescriptors, receive};
use crate::runtime::handover::EngineRecord;
use crate::runtime::{RestoredSocket, SavedSocket, Sink};

/// What a predecessor has handed over: the other end of
/// [`HandoverHandle::hand_over`](super::HandoverHandle::hand_over).
#[derive(Debug)]
pub struct Inherited {
    kept: Vec<OwnedFd>,
    listeners: Vec<TcpListener>,
    server: SavedServer,
    restoration: Restoration,
}

impl Inherited {
    /// Receives what a predecessor has handed over. `socket`: usually the standard input, where the
    /// predecessor has put [its socket](super::Handover::stdin).
    ///
    /// # Errors
    /// If it is something else, or the snapshot is of a version that this release doesn't read.
    pub fn receive(socket: impl AsFd) -> Result<Self, StartError> {
        let failed = |source: io::Error| StartError::Handover { source: source.into() };
        let received = receive(socket.as_fd()).map_err(failed)?;
        let ReceivedDescriptors { first, others } = received;
        let mut first = first.into_iter();
        let snapshot = first.next().ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
        let mut snapshot = File::from(snapshot);
        snapshot.rewind().map_err(failed)?;
        Self::read(snapshot, first.collect(), others)
            .map_err(|source| StartError::Handover { source })
    }

    fn read(
        snapshot: File,
        kept: Vec<OwnedFd>,
        mut descriptors: Descriptors,
    ) -> Result<Self, SnapshotError> {
        let mut reader = SnapshotReader::begin(BufReader::with_capacity(64 << 10, snapshot))?;
        let mut server = None;
        let mut listeners = Vec::new();
        let node = loop {
            match reader.read()?.ok_or(SnapshotError::Truncated)? {
                Record::Server(saved) => server = Some(saved),
                Record::Listener(saved) => {
                    listeners.push(descriptors.take(saved.descriptor)?.into());
                }
                Record::Node(node) => break node,
                _ => {}
            }
        };
        let server = server.ok_or(SnapshotError::Truncated)?;
        let history_path = server.history_path.clone();
        let began_ms = server.began_ms;
        let restoration = Restoration { reader, descriptors, node, history_path, began_ms };
        Ok(Self { kept, listeners, server, restoration })
    }

    /// Takes the further descriptors that the predecessor has passed on.
    pub fn take_kept(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.kept)
    }

    /// Listens where the predecessor did. If the configured address is another one now, it is bound.
    ///
    /// # Errors
    /// If a new address is in use or not available.
    pub fn bind(self, mut config: ServerConfig) -> Result<BoundServer, StartError> {
        let SavedServer { host, port, restarts_in_place, .. } = &self.server;
        config.restarts_in_place |= restarts_in_place;
        let is_same = *host == config.host && (*port == config.port || config.port == 0);
        let listeners = match is_same && !self.listeners.is_empty() {
            true => Listeners::inherited(self.listeners),
            false => Listeners::bind(&config.host, config.port, config.workers),
        };
        let listeners = listeners.map_err(|source| StartError::Listen { source })?;
        Ok(BoundServer { config, listeners, restoration: Some(self.restoration) })
    }

    /// Goes on for a predecessor without a port.
    ///
    /// # Errors
    /// As [`Server::without_port`], or if the snapshot is invalid.
    pub fn without_port(
        self,
        config: ServerConfig,
        apps: Vec<clarim_hub::app::App>,
    ) -> Result<Server, StartError> {
        let config = ServerConfig { tls: None, ..config };
        Server::start_on(None, config, apps, false, Some(self.restoration))
    }
}

/// The rest of a snapshot, from which a server is restored.
#[derive(Debug)]
pub(in crate::server) struct Restoration {
    reader: SnapshotReader<BufReader<File>>,
    descriptors: Descriptors,
    pub(in crate::server) node: SavedNode,
    /// The file of the predecessor's histories.
    pub(in crate::server) history_path: Option<PathBuf>,
    began_ms: u64,
}

/// A worker that was restored.
#[derive(Debug)]
pub(in crate::server) struct RestoredWorker {
    pub(in crate::server) hub: Worker<Sink>,
    pub(in crate::server) sockets: Vec<RestoredSocket>,
    pub(in crate::server) http: Vec<SavedHttp>,
    /// The descriptors of both.
    pub(in crate::server) descriptors: Descriptors,
}

/// The restored parts of a server.
#[derive(Default)]
pub(in crate::server) struct Restored {
    pub(in crate::server) workers: Vec<RestoredWorker>,
    pub(in crate::server) webhooks: Option<SavedWebhooks>,
    /// Present if the predecessor was in a cluster.
    pub(in crate::server) cluster: Option<SavedClusterState>,
}

impl Restoration {
    /// The node's zero of time.
    pub(in crate::server) fn started(&self) -> Instant {
        let age = self.node.time_at(since_1970());
        let now = Instant::now();
        // The process is older than that only if the clock was set.
        now.checked_sub(age).unwrap_or(now)
    }

    /// When the predecessor stopped.
    pub(in crate::server) fn paused_since(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.began_ms)
    }

    /// Restores a server before its threads start.
    pub(in crate::server) fn restore(mut self, http: &Http) -> Result<Restored, SnapshotError> {
        let node = &http.node;
        let now = http.now();
        node.restore(&self.node, now);
        let mut workers = Workers::new(http, &self.node);
        let mut webhooks = None;
        let mut cluster = None;
        let mut traffic = SavedTraffic::default();
        while let Some(record) = self.reader.read()? {
            match record {
                Record::Contents(record) => node.restore_record(record, now)?,
                Record::Counters(saved) => http.server_counters.restore(&saved),
                Record::Keys(saved) => http.keys.restore(saved, now),
                Record::Webhooks(saved) => webhooks = Some(saved),
                Record::Cluster(saved) => cluster = Some(saved),
                Record::BusTraffic(saved) => traffic = saved,
                Record::Http(saved) => {
                    let descriptor = self.descriptors.take(saved.descriptor)?;
                    workers.add_http(saved, descriptor)?;
                }
                Record::Engine(EngineRecord::Worker(saved)) => workers.begin(&saved),
                Record::Engine(EngineRecord::Frame(frame)) => workers.frames.push(frame),
                Record::Engine(EngineRecord::Connection { hub, socket }) => {
                    let descriptor = self.descriptors.take(socket.descriptor)?;
                    workers.add(&hub, *socket, descriptor)?;
                }
                Record::Server(_) | Record::Listener(_) | Record::Node(_) => {}
            }
        }
        let workers = workers.finish()?;
        node.finish_restore(now);
        let cluster = cluster.map(|cluster| SavedClusterState { cluster, traffic });
        Ok(Restored { workers, webhooks, cluster })
    }
}

/// A worker that is being restored.
struct RestoringWorker {
    hub: WorkerRestorer<Sink>,
    sockets: Vec<RestoredSocket>,
    http: Vec<SavedHttp>,
    descriptors: ForThread,
}

/// The workers that are being restored.
struct Workers<'a> {
    http: &'a Http,
    node: &'a SavedNode,
    workers: Vec<RestoringWorker>,
    /// The frames of the current saved worker.
    frames: Vec<Bytes>,
}

impl<'a> Workers<'a> {
    fn new(http: &'a Http, node: &'a SavedNode) -> Self {
        let count = http.config.workers.get();
        let worker = |id| RestoringWorker {
            hub: WorkerRestorer::new(WorkerId(id), http.node.clone(), node),
            sockets: Vec::new(),
            http: Vec::new(),
            descriptors: ForThread::default(),
        };
        Self { http, node, workers: (0..count).map(worker).collect(), frames: Vec::new() }
    }

    fn begin(&mut self, saved: &SavedWorker) {
        self.frames.clear();
        self.workers.iter_mut().for_each(|worker| worker.hub.add_worker(saved));
    }

    /// Adds an HTTP connection, to any worker.
    fn add_http(&mut self, mut http: SavedHttp, stream: OwnedFd) -> Result<(), SnapshotError> {
        let at = http.descriptor as usize % self.workers.len().max(1);
        let Some(worker) = self.workers.get_mut(at) else { return Ok(()) };
        http.descriptor = worker.descriptors.add(stream)?;
        worker.http.push(http);
        Ok(())
    }

    fn add(
        &mut self,
        hub: &SavedConnection,
        mut saved: SavedSocket,
        stream: OwnedFd,
    ) -> Result<(), SnapshotError> {
        let count = self.http.config.workers.get();
        let worker_id = WorkerRestorer::<Sink>::worker_of(self.node, hub, count);
        let Some(worker) = self.workers.get_mut(usize::from(worker_id.0)) else {
            return Err(SnapshotError::Truncated);
        };
        let Some(id) = worker.hub.add(hub)? else {
            // The app was removed. The kernel's buffer has room, unless the client is slow.
            let frame = Frame::close(Code::APP_DISABLED, "Application disabled");
            let _ = TcpStream::from(stream).write_all(frame.bytes());
            return Ok(());
        };
        saved.descriptor = worker.descriptors.add(stream)?;
        let frame = |number: &u32| self.frames.get(*number as usize).cloned();
        let frames: Option<Vec<Bytes>> = saved.frames.iter().map(frame).collect();
        let origins = self.http.origins.as_ref();
        let origin = origins.zip(saved.origin.as_ref()).map(|(origins, text)| origins.id(text));
        worker.sockets.push(RestoredSocket {
            id,
            frames: frames.ok_or(SnapshotError::Truncated)?,
            origin: origin.unwrap_or_default(),
            permit: self.http.acceptor.restore_client(worker_id, saved.address),
            saved,
        });
        Ok(())
    }

    fn finish(self) -> Result<Vec<RestoredWorker>, SnapshotError> {
        let finish = |worker: RestoringWorker| {
            let RestoringWorker { hub, sockets, http, descriptors } = worker;
            let descriptors = descriptors.finish()?;
            Ok(RestoredWorker { hub: hub.finish(), sockets, http, descriptors })
        };
        self.workers.into_iter().map(finish).collect()
    }
}
