//! A worker's thread: one runtime for its sockets and its HTTP connections.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::{Refusal, Worker, WorkerId};
use clarim_protocol::{Frame, server};
use mio::net::TcpStream as ClientSocket;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, Interest};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::time::MissedTickBehavior;

use super::handover::{ParkedHttp, RestoredWorker, SavedHttp, WorkerHandover, WorkerRequest};
use super::pusher::ServedProtocol;
use super::routes::Routes;
use crate::http::{Client, Http, Http1End, Upgraded, serve_http1, serve_http2};
use crate::net::{
    LocalStream, PassageEntrance, SecureStream, TlsAcceptor, TlsStream, Transport, is_http2,
    platform, take_decrypted, watch,
};
use crate::runtime::{
    Adopted, ClientPermit, ConnectionPermit, Engine, EngineSettings, HandshakeParams, Heartbeat,
    Inbox, Incoming, Liveness, NewConnection, OpenHttp, QueueLimits, SWEEP_INTERVAL, WorkerQuery,
    handover,
};
use crate::sync::{Drain, Phase, ShutdownSignal};

/// Time for a refused client to read the reason, and for a client that is closed to close its side.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

// An idle worker makes a turn with each sweep, and several of them must fit between two checks of its
// liveness.
const _: () = assert!(SWEEP_INTERVAL.as_millis() * 3 <= Liveness::MIN_INTERVAL.as_millis());

/// The work of a worker's thread. Made on another thread than it runs on.
#[derive(Debug)]
pub(super) struct WorkerTask {
    pub(super) id: WorkerId,
    pub(super) routes: Routes,
    pub(super) inputs: WorkerInputs,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) heartbeat: Heartbeat,
}

/// The inputs of one worker.
#[derive(Debug)]
pub(super) struct WorkerInputs {
    /// Empty if connections come from another HTTP server alone.
    pub(super) listeners: Vec<TcpListener>,
    pub(super) connections: UnboundedReceiver<NewConnection>,
    pub(super) queries: Receiver<WorkerQuery>,
    pub(super) requests: UnboundedReceiver<WorkerRequest>,
    /// The way of descriptors that are handed over.
    pub(super) passage: Arc<PassageEntrance>,
    /// Present if the server goes on for another process.
    pub(super) restored: Option<RestoredWorker>,
}

impl WorkerTask {
    /// Runs the worker until it has drained.
    ///
    /// # Errors
    /// If the operating system refuses something that the worker needs.
    pub(super) async fn run(self) -> io::Result<()> {
        #[cfg(feature = "descriptor-tables")]
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES)?;
        let Self { id, routes, inputs, tls, heartbeat } = self;
        let WorkerInputs { listeners, mut connections, mut queries, restored, .. } = inputs;
        let http = &routes.http;
        let inbox = http.node.sink().inboxes.of(id);
        let _close_inbox = CloseInbox(inbox.clone());
        http.counters.thread.set(platform::thread_id());
        let engine = engine(http, id, inbox.clone(), restored)?;
        #[expect(
            deprecated,
            reason = "sound here: the engine's poll stays open as long as registered"
        )]
        let readiness =
            AsyncFd::with_interest(PollFd(engine.borrow().poll_fd()), Interest::READABLE)?;
        let shutdown = http.shutdown.clone();
        let drain = http.drain();
        let listeners: io::Result<Vec<_>> = listeners.into_iter().map(watch).collect();
        let listeners = Rc::new(listeners?);
        for n in 0..listeners.len() {
            tokio::task::spawn_local(accept(id, listeners.clone(), n, http.clone()));
        }
        let queried = engine.clone();
        tokio::task::spawn_local(async move {
            while let Some(query) = queries.recv().await {
                queried.borrow_mut().answer(query);
            }
        });
        // Each connection that is still HTTP holds a weak count of it.
        let http_connections: Rc<()> = Rc::default();
        let handover = WorkerHandover {
            id,
            passage: inputs.passage,
            engine: engine.clone(),
            acceptor: http.acceptor.clone(),
            origins: http.origins.clone(),
            listeners: Rc::downgrade(&listeners),
            http_connections: http_connections.clone(),
            parked: Rc::default(),
            is_frozen: Rc::default(),
        };
        drop(listeners);
        let parked = handover.parked.clone();
        let reception =
            Rc::new(Reception { routes: Rc::new(routes), engine: engine.clone(), tls, parked });
        let is_frozen = handover.is_frozen.clone();
        tokio::task::spawn_local(handover.run(inputs.requests));
        let counted = http_connections.clone();
        tokio::task::spawn_local(async move {
            while let Some(connection) = connections.recv().await {
                let reception = reception.clone();
                let count = Rc::downgrade(&counted);
                tokio::task::spawn_local(async move {
                    reception.serve(connection).await;
                    drop(count);
                });
            }
        });
        let turns = Turns {
            engine: &engine,
            readiness: &readiness,
            inbox: &inbox,
            http_connections: &http_connections,
            is_frozen: &is_frozen,
        };
        turns.run(shutdown, drain, &heartbeat).await
    }
}

fn engine(
    http: &Http,
    id: WorkerId,
    inbox: Arc<Inbox>,
    restored: Option<RestoredWorker>,
) -> io::Result<Rc<RefCell<Engine<ServedProtocol>>>> {
    let queue =
        QueueLimits { bytes: http.config.outbox_bytes, timeout: http.config.outbox_timeout };
    let compression = http.config.compression;
    let settings = EngineSettings { started: http.started, queue, compression };
    let counters = http.counters.clone();
    let Some(RestoredWorker { hub, sockets, http: requesting, mut descriptors }) = restored else {
        let hub = Worker::new(id, http.node.clone());
        return Ok(Rc::new(RefCell::new(Engine::new(hub, inbox, settings, counters)?)));
    };
    let mut engine = Engine::new(hub, inbox, settings, counters)?;
    for SavedHttp { descriptor, peer, early } in requesting {
        let stream = descriptors.take(descriptor)?.into();
        http.acceptor.restore_http(id, stream, peer, early);
    }
    handover::restore(&mut engine, sockets, &mut descriptors);
    let engine = Rc::new(RefCell::new(engine));
    if let Some(cluster) = http.logs.clone() {
        // Clients wait as new ones do, until the node knows what happened on the other nodes, and can read
        // histories.
        handover::stop(&mut engine.borrow_mut());
        let stopped = engine.clone();
        tokio::task::spawn_local(async move {
            cluster.joined().await;
            handover::resume(&mut stopped.borrow_mut());
        });
    }
    Ok(engine)
}

/// Closes the inbox of a worker, however it ends, so that nobody waits for its deliveries any more.
struct CloseInbox(Arc<Inbox>);

impl Drop for CloseInbox {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The engine and the events that it waits for.
struct Turns<'a> {
    engine: &'a RefCell<Engine<ServedProtocol>>,
    readiness: &'a AsyncFd<PollFd>,
    inbox: &'a Inbox,
    http_connections: &'a Rc<()>,
    /// Whether the engine gets no turn, since it was saved.
    is_frozen: &'a Cell<bool>,
}

impl Turns<'_> {
    /// Gives the engine its turns until all connections are gone after a shutdown.
    async fn run(
        self,
        mut shutdown: ShutdownSignal,
        drain: Drain,
        heartbeat: &Heartbeat,
    ) -> io::Result<()> {
        let Self { engine, readiness, inbox, http_connections, is_frozen } = self;
        let mut tick = tokio::time::interval(SWEEP_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut deadline = None;
        loop {
            heartbeat.beat();
            if is_frozen.get() {
                tick.tick().await;
                continue;
            }
            // Checked in each turn: under load there may be no pause in which to wait for it.
            if deadline.is_none() && shutdown.now() >= Phase::Draining {
                deadline = Some(Instant::now() + drain.time + drain.patience);
                engine.borrow_mut().drain(drain);
            }
            let has_more = engine.borrow_mut().turn()?;
            if let Some(deadline) = deadline
                && shutdown.now() == Phase::Closed
                && (engine.borrow().is_drained() || Instant::now() > deadline)
                // Requests in progress are answered, but a silent connection delays nothing.
                && (Rc::weak_count(http_connections) == 0 || Instant::now() > deadline)
            {
                return Ok(());
            }
            if has_more || !inbox.fall_asleep() {
                // Unlike waking itself, this lets the runtime look at the HTTP sockets first.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = inbox.woken() => {}
                ready = readiness.readable() => ready?.clear_ready(),
                _ = tick.tick() => {}
                () = shutdown.reached(Phase::Draining), if deadline.is_none() => {}
            }
            inbox.wake_up();
        }
    }
}

/// Accepts connections until the server has closed, with pauses for hand-overs.
async fn accept(id: WorkerId, listeners: Rc<Vec<AsyncFd<TcpListener>>>, n: usize, http: Http) {
    let Http { acceptor, shutdown: mut closed, mut pause, .. } = http;
    loop {
        tokio::select! {
            biased;
            () = closed.reached(Phase::Closed) => return,
            () = pause.begun() => {}
            () = acceptor.run(id, &listeners[n]) => return,
        }
        tokio::select! {
            () = closed.reached(Phase::Closed) => return,
            () = pause.ended() => {}
        }
    }
}

/// Serves connections until the engine has them.
struct Reception {
    routes: Rc<Routes>,
    engine: Rc<RefCell<Engine<ServedProtocol>>>,
    tls: Option<TlsAcceptor>,
    /// Connections that wait for a request while the server is about to hand over.
    parked: Rc<RefCell<Vec<ParkedHttp>>>,
}

impl Reception {
    /// Serves a connection until the engine has it, or it ends.
    async fn serve(&self, connection: NewConnection) {
        let NewConnection { incoming, permit } = connection;
        let (stream, handshake) = match incoming {
            Incoming::Http { stream, peer, early, http } => {
                let accepted = AcceptedHttp { stream, peer, early };
                return self.serve_http(accepted, &http, &permit).await;
            }
            Incoming::Local { stream, handshake } => {
                let upgraded = Upgraded { stream, response: Vec::new(), handshake };
                return Box::pin(self.adopt(upgraded, &permit, local_transport)).await;
            }
            Incoming::WebSocket { stream, handshake } => (stream, handshake),
        };
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        let upgraded = Upgraded { stream, response: Vec::new(), handshake };
        Box::pin(self.adopt(upgraded, &permit, plain_transport)).await;
    }

    /// Serves a connection of the server's own port. It may be closed while it waits for a request.
    async fn serve_http(&self, accepted: AcceptedHttp, http: &OpenHttp, permit: &ConnectionPermit) {
        let AcceptedHttp { stream, peer, early } = accepted;
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        let connection = &http.connection;
        let client = Client { peer, connection: Some(connection.clone()) };
        let served = async {
            match &self.tls {
                // Boxed, so that the task of a plain connection is not larger for it.
                Some(tls) => Box::pin(self.serve_tls(tls, stream, client, permit)).await,
                None => match serve_http1(self.routes.clone(), stream, early, client).await {
                    Http1End::Closed => {}
                    Http1End::Upgraded(upgraded) => {
                        self.adopt(upgraded, permit, plain_transport).await;
                    }
                    Http1End::Parked { stream, early } => {
                        self.parked.borrow_mut().push(ParkedHttp { stream, peer, early });
                    }
                },
            }
        };
        tokio::select! {
            () = served => {}
            () = connection.closed() => {}
        }
    }

    async fn serve_tls(
        &self,
        tls: &TlsAcceptor,
        stream: TcpStream,
        client: Client,
        permit: &ConnectionPermit,
    ) {
        let timeout = self.http().config.handshake_timeout;
        let Ok(Ok(stream)) = tokio::time::timeout(timeout, tls.accept(stream)).await else {
            return;
        };
        if is_http2(&stream) {
            return serve_http2(self.routes.clone(), stream, client).await;
        }
        // A connection that waits for a request is closed before a hand-over, as after a while without one.
        if let Http1End::Upgraded(mut upgraded) =
            serve_http1(self.routes.clone(), stream, Vec::new(), client).await
        {
            let Ok(decrypted) = take_decrypted(&mut upgraded.stream) else { return };
            let early = &mut upgraded.handshake.early;
            *early = [&early[..], &decrypted].concat().into();
            self.adopt(upgraded, permit, secure_transport).await;
        }
    }

    /// Hands a connection to the engine, or tells the client why it is refused.
    async fn adopt<S: AsyncWrite + AsyncReadExt + Unpin>(
        &self,
        upgraded: Upgraded<S>,
        permit: &ConnectionPermit,
        transport: impl FnOnce(S) -> io::Result<Transport>,
    ) {
        let Upgraded { mut stream, response, handshake } = upgraded;
        let apps = self.http().node.apps();
        let admitted = handshake.admission.and_then(|params| {
            let permit = permit.admit(params.address)?;
            apps.admit(params.app)?;
            Ok(Admitted { params, permit })
        });
        let refusal = match admitted {
            Err(refusal) => refusal,
            Ok(Admitted { params, permit }) => {
                let Ok(transport) = transport(stream) else {
                    return apps.release(params.app);
                };
                let early = &handshake.early;
                let adopted = Adopted { params, transport, answer: &response, early, permit };
                return self.engine.borrow_mut().adopt(adopted);
            }
        };
        self.http().server_counters.refuse(&refusal);
        // The client may be gone already.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, refuse(&mut stream, &response, &refusal)).await;
    }

    fn http(&self) -> &Http {
        &self.routes.http
    }
}

/// An HTTP connection of the server's own port.
struct AcceptedHttp {
    stream: std::net::TcpStream,
    peer: Option<IpAddr>,
    /// What was read from it before a hand-over.
    early: Vec<u8>,
}

/// Sends the reason as an error frame and as a close frame, and waits until the client has read it. Closing
/// at once could make the kernel drop bytes that are on their way.
async fn refuse<S: AsyncWrite + AsyncReadExt + Unpin>(
    stream: &mut S,
    response: &[u8],
    refusal: &Refusal,
) -> io::Result<()> {
    stream.write_all(response).await?;
    stream.write_all(server::error(refusal.code, &refusal.message).bytes()).await?;
    stream.write_all(Frame::close(refusal.code, &refusal.message).bytes()).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// A client that may connect.
struct Admitted {
    params: HandshakeParams,
    permit: ClientPermit,
}

fn local_transport(stream: DuplexStream) -> io::Result<Transport> {
    Ok(Transport::Local(Box::new(LocalStream::new(stream))))
}

fn secure_transport(stream: TlsStream) -> io::Result<Transport> {
    SecureStream::new(stream).map(Transport::Secure)
}

fn plain_transport(stream: TcpStream) -> io::Result<Transport> {
    Ok(Transport::Plain(ClientSocket::from_std(stream.into_std()?)))
}

/// The descriptor of the engine's poll, which the engine closes.
#[derive(Debug)]
struct PollFd(RawFd);

impl AsRawFd for PollFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
