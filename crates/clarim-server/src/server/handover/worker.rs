//! A worker's part of a hand-over.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::WorkerId;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::super::pusher::ServedProtocol;
use super::snapshot::{Record, SavedHttp, SavedListener, SavedPart, SnapshotPart};
use crate::net::PassageEntrance;
use crate::runtime::handover::{self, EngineSaver};
use crate::runtime::{Acceptor, Engine, Origins};

/// Pause between two checks whether something has come to rest.
const PAUSE: Duration = Duration::from_millis(1);

/// A request to a worker.
#[derive(Debug)]
pub(in crate::server) enum WorkerRequest {
    /// Disconnects the clients that cannot be handed over, and waits until no HTTP request is in progress.
    Rest { until: Instant, reply: oneshot::Sender<()> },
    /// Reads nothing of clients from now on.
    Stop { until: Instant, reply: oneshot::Sender<()> },
    /// Processes the inbox. The reply is the number of messages so far.
    Settle(oneshot::Sender<u64>),
    /// Saves a part of the snapshot, with descriptors from the number `first` on. After that, the worker does
    /// nothing.
    Save { part: Part, first: u32, reply: oneshot::Sender<io::Result<SavedPart>> },
    /// Goes on as before.
    Resume,
}

/// The parts of a snapshot that workers save.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) enum Part {
    Listeners,
    Connections,
}

/// An HTTP connection that waits for a request.
#[derive(Debug)]
pub(in crate::server) struct ParkedHttp {
    pub(in crate::server) stream: TcpStream,
    pub(in crate::server) peer: Option<IpAddr>,
    pub(in crate::server) early: Vec<u8>,
}

/// What a worker needs for a hand-over.
#[derive(Debug)]
pub(in crate::server) struct WorkerHandover {
    pub(in crate::server) id: WorkerId,
    /// The way of saved descriptors.
    pub(in crate::server) passage: Arc<PassageEntrance>,
    pub(in crate::server) engine: Rc<RefCell<Engine<ServedProtocol>>>,
    pub(in crate::server) acceptor: Arc<Acceptor>,
    pub(in crate::server) origins: Option<Arc<Origins>>,
    /// Gone once the server has closed.
    pub(in crate::server) listeners: Weak<Vec<AsyncFd<TcpListener>>>,
    /// Each connection that is HTTP holds a weak count of it.
    pub(in crate::server) http_connections: Rc<()>,
    pub(in crate::server) parked: Rc<RefCell<Vec<ParkedHttp>>>,
    /// Whether the engine gets no turn.
    pub(in crate::server) is_frozen: Rc<Cell<bool>>,
}

impl WorkerHandover {
    /// Handles requests until there are no more.
    pub(in crate::server) async fn run(self, mut requests: mpsc::UnboundedReceiver<WorkerRequest>) {
        while let Some(request) = requests.recv().await {
            self.handle(request).await;
        }
    }

    async fn handle(&self, request: WorkerRequest) {
        // A receiver of a reply that is gone has given up, and resumes the server.
        match request {
            WorkerRequest::Rest { until, reply } => {
                handover::send_others_away(&mut self.engine.borrow_mut());
                // Connections that were accepted last become HTTP connections in this pause.
                tokio::time::sleep(PAUSE).await;
                while Rc::weak_count(&self.http_connections) > 0 && Instant::now() < until {
                    tokio::time::sleep(PAUSE).await;
                }
                let _ = reply.send(());
            }
            WorkerRequest::Stop { until, reply } => {
                handover::stop(&mut self.engine.borrow_mut());
                while handover::has_farewells(&self.engine.borrow()) && Instant::now() < until {
                    tokio::time::sleep(PAUSE).await;
                }
                handover::give_up_others(&mut self.engine.borrow_mut());
                let _ = reply.send(());
            }
            WorkerRequest::Settle(reply) => {
                let _ = reply.send(handover::settle(&mut self.engine.borrow_mut()));
            }
            WorkerRequest::Save { part, first, reply } => {
                let _ = reply.send(self.save(part, first));
            }
            WorkerRequest::Resume => {
                self.is_frozen.set(false);
                handover::resume(&mut self.engine.borrow_mut());
                for ParkedHttp { stream, peer, early } in self.parked.take() {
                    let Ok(stream) = stream.into_std() else { continue };
                    self.acceptor.restore_http(self.id, stream, peer, early);
                }
            }
        }
    }

    fn save(&self, part: Part, first: u32) -> io::Result<SavedPart> {
        let mut snapshot = SnapshotPart::starting_at(first);
        match part {
            Part::Listeners => self.save_listeners(&mut snapshot)?,
            Part::Connections => self.save_connections(&mut snapshot)?,
        }
        let SnapshotPart { records, descriptors } = snapshot;
        let descriptors = self.passage.put(&descriptors.finish()?)?;
        Ok(SavedPart { records, descriptors })
    }

    fn save_listeners(&self, snapshot: &mut SnapshotPart) -> io::Result<()> {
        let Some(listeners) = self.listeners.upgrade() else { return Ok(()) };
        for listener in &*listeners {
            let listener = listener.get_ref().as_fd().try_clone_to_owned()?;
            let descriptor = snapshot.descriptors.add(listener)?;
            snapshot.write(&Record::Listener(SavedListener { descriptor }))?;
        }
        Ok(())
    }

    fn save_connections(&self, snapshot: &mut SnapshotPart) -> io::Result<()> {
        self.is_frozen.set(true);
        for ParkedHttp { stream, peer, early } in &*self.parked.borrow() {
            let descriptor = snapshot.descriptors.add(stream.as_fd().try_clone_to_owned()?)?;
            let peer = *peer;
            snapshot.write(&Record::Http(SavedHttp { descriptor, peer, early: early.clone() }))?;
        }
        let SnapshotPart { records, descriptors } = snapshot;
        let origins = self.origins.as_deref();
        let mut saver = EngineSaver {
            write: &mut |record| records.add(&Record::Engine(record)),
            descriptors,
            origin: &|id| Some(origins?.text(id)?.to_string()),
        };
        handover::save(&self.engine.borrow(), &mut saver)
    }
}
