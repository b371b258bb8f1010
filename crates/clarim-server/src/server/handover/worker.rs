//! A worker's part of a hand-over.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::super::pusher::ServedProtocol;
use super::snapshot::{Record, SavedHttp, SavedListener, SnapshotSink};
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
    /// Writes a part of the snapshot. After that, the worker does nothing.
    Save {
        sink: Box<SnapshotSink>,
        part: Part,
        reply: oneshot::Sender<io::Result<Box<SnapshotSink>>>,
    },
    /// Goes on as before.
    Resume,
}

/// The parts of a snapshot that workers write.
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
#[derive(Debug, Clone)]
pub(in crate::server) struct WorkerHandover {
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
            WorkerRequest::Save { mut sink, part, reply } => {
                let saved = match part {
                    Part::Listeners => self.save_listeners(&mut sink),
                    Part::Connections => self.save_connections(&mut sink),
                };
                let _ = reply.send(saved.map(|()| sink));
            }
            WorkerRequest::Resume => {
                self.is_frozen.set(false);
                handover::resume(&mut self.engine.borrow_mut());
                for ParkedHttp { stream, peer, early } in self.parked.take() {
                    let Ok(stream) = stream.into_std() else { continue };
                    self.acceptor.restore_http(stream, peer, early);
                }
            }
        }
    }

    fn save_listeners(&self, sink: &mut SnapshotSink) -> io::Result<()> {
        let Some(listeners) = self.listeners.upgrade() else { return Ok(()) };
        for listener in &*listeners {
            let descriptor = sink.descriptors.add(listener.get_ref().as_fd())?;
            sink.write(&Record::Listener(SavedListener { descriptor }))?;
        }
        Ok(())
    }

    fn save_connections(&self, sink: &mut SnapshotSink) -> io::Result<()> {
        self.is_frozen.set(true);
        for ParkedHttp { stream, peer, early } in &*self.parked.borrow() {
            let descriptor = sink.descriptors.add(stream.as_fd())?;
            let peer = *peer;
            sink.write(&Record::Http(SavedHttp { descriptor, peer, early: early.clone() }))?;
        }
        let SnapshotSink { writer, descriptors } = sink;
        let origins = self.origins.as_deref();
        let mut saver = EngineSaver {
            write: &mut |record| writer.write(&Record::Engine(record)),
            descriptors,
            origin: &|id| Some(origins?.text(id)?.to_string()),
        };
        handover::save(&self.engine.borrow(), &mut saver)
    }
}
