//! A worker's thread: one runtime for its sockets and its HTTP connections.

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::{Refusal, WorkerId};
use clarim_protocol::{Frame, server};
use rustix::thread::gettid;
use rustls::ServerConfig;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio_rustls::TlsAcceptor;

use crate::accept::{Arrival, Doors, Guest, accept, watch};
use crate::engine::{Adopted, Engine, SWEEP_INTERVAL};
use crate::http::{Http, Upgraded, serve_http1, serve_http2};
use crate::inbox::Inbox;
use crate::inspector::Ask;
use crate::phase::{Follow, Phase};
use crate::pulse::{Liveness, Pulse};
use crate::transport::{Tls, Transport};

/// How long a refused client may take to read why, and a request that has begun may take to be answered
/// once everything else is done.
const FAREWELL: Duration = Duration::from_secs(5);

// An idle worker runs with each sweep, so more than one has to fit between two checks.
const _: () = assert!(SWEEP_INTERVAL.as_millis() * 3 <= Liveness::MIN_INTERVAL.as_millis());

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) id: WorkerId,
    pub(crate) http: Http,
    /// Without it the worker waits for those who come by another way.
    pub(crate) listener: Option<TcpListener>,
    pub(crate) doors: Arc<Doors>,
    pub(crate) arrivals: UnboundedReceiver<Arrival>,
    /// What the inspector asks.
    pub(crate) asks: Receiver<Ask>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) pulse: Pulse,
}

/// Runs a worker until it has drained.
///
/// # Errors
/// When the operating system refuses what no worker can do without.
pub(crate) async fn run(plan: Plan) -> io::Result<()> {
    #[cfg(feature = "descriptor-tables")]
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES)?;
    let Plan { id, http, doors, mut arrivals, mut asks, pulse, .. } = plan;
    let _closing = Closing(http.node.post().of(id));
    let counters = http.counters.clone();
    counters.thread.set(u64::from(gettid().as_raw_nonzero().get().unsigned_abs()));
    let engine = Engine::new(id, &http.node, http.started, &http.settings, counters)?;
    #[expect(deprecated, reason = "sound here: the engine's poll stays open as long as registered")]
    let readiness = AsyncFd::with_interest(Readiness(engine.poll_fd()), Interest::READABLE)?;
    let engine = Rc::new(RefCell::new(engine));
    let inbox = http.node.post().of(id);
    let (phase, drain) = (http.phase.clone(), http.settings.drain);
    if let Some(listener) = plan.listener {
        let (listener, mut closed) = (watch(listener)?, phase.clone());
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = accept(listener, id, doors) => {}
                () = closed.reached(Phase::Closed) => {}
            }
        });
    }
    let asked = engine.clone();
    tokio::task::spawn_local(async move {
        while let Some(ask) = asks.recv().await {
            asked.borrow_mut().inspect(ask);
        }
    });
    let tls = plan.tls.map(TlsAcceptor::from);
    let reception = Rc::new(Reception { http: Rc::new(http), engine: engine.clone(), tls });
    // Each connection that is still HTTP holds a weak count of it.
    let visits: Rc<()> = Rc::default();
    let visiting = visits.clone();
    tokio::task::spawn_local(async move {
        while let Some(arrival) = arrivals.recv().await {
            let (reception, visit) = (reception.clone(), Rc::downgrade(&visiting));
            tokio::task::spawn_local(async move {
                reception.welcome(arrival).await;
                drop(visit);
            });
        }
    });
    let driven = Driven { engine: &engine, readiness: &readiness, inbox: &inbox, visits: &visits };
    driven.drive(phase, drain, &pulse).await
}

/// However a worker ends: whoever waits for it to hand something out waits no longer.
struct Closing(Arc<Inbox>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The engine and what it waits for.
struct Driven<'a> {
    engine: &'a RefCell<Engine>,
    readiness: &'a AsyncFd<Readiness>,
    inbox: &'a Inbox,
    visits: &'a Rc<()>,
}

impl Driven<'_> {
    /// Gives the engine its turns until everybody has gone after a stop.
    async fn drive(self, mut phase: Follow, drain: Duration, pulse: &Pulse) -> io::Result<()> {
        let Self { engine, readiness, inbox, visits } = self;
        let mut tick = tokio::time::interval(SWEEP_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut patience = None;
        loop {
            pulse.beat();
            // Looked at in each turn: under load there may be no pause to wait for it in.
            if patience.is_none() && phase.now() >= Phase::Draining {
                patience = Some(Instant::now() + drain + FAREWELL);
                engine.borrow_mut().drain(drain);
            }
            let more = engine.borrow_mut().turn()?;
            if let Some(patience) = patience
                && phase.now() == Phase::Closed
                && engine.borrow().is_drained()
                // Requests that have begun are answered, but a silent connection holds nobody up.
                && (Rc::weak_count(visits) == 0 || Instant::now() > patience)
            {
                return Ok(());
            }
            if more || !inbox.fall_asleep() {
                // Unlike a wake-up of itself, this lets the runtime look at the HTTP sockets first.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = inbox.woken() => {}
                ready = readiness.readable() => ready?.clear_ready(),
                _ = tick.tick() => {}
                () = phase.reached(Phase::Draining), if patience.is_none() => {}
            }
            inbox.wake_up();
        }
    }
}

/// Where connections are until the engine has them.
struct Reception {
    http: Rc<Http>,
    engine: Rc<RefCell<Engine>>,
    tls: Option<TlsAcceptor>,
}

impl Reception {
    /// Serves one connection until the engine has it, or it ends.
    async fn welcome(&self, arrival: Arrival) {
        let Arrival { stream, guest, handshake } = arrival;
        let Ok(stream) = TcpStream::from_std(stream) else {
            return;
        };
        if let (Some(tls), None) = (&self.tls, &handshake) {
            // On the heap, so that the task of a plain connection is no larger for it.
            return Box::pin(self.welcome_tls(tls, stream, guest)).await;
        }
        let upgraded = match handshake {
            Some((early, verdict)) => Some(Upgraded { stream, answer: Vec::new(), early, verdict }),
            None => serve_http1(self.http.clone(), stream).await,
        };
        if let Some(upgraded) = upgraded {
            self.adopt(upgraded, guest, |stream| plain(stream).map(Transport::Plain)).await;
        }
    }

    async fn welcome_tls(&self, tls: &TlsAcceptor, stream: TcpStream, guest: Guest) {
        let limit = self.http.settings.handshake_timeout;
        let Ok(Ok(stream)) = tokio::time::timeout(limit, tls.accept(stream)).await else {
            return;
        };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return serve_http2(self.http.clone(), stream).await;
        }
        if let Some(upgraded) = serve_http1(self.http.clone(), stream).await {
            self.adopt(upgraded, guest, |stream| {
                let (stream, session) = stream.into_inner();
                Ok(Transport::Tls(Box::new(Tls { stream: plain(stream)?, session })))
            })
            .await;
        }
    }

    /// Hands a connection over to the engine, or tells it why not.
    async fn adopt<S: AsyncWrite + AsyncReadExt + Unpin>(
        &self,
        upgraded: Upgraded<S>,
        guest: Guest,
        transport: impl FnOnce(S) -> io::Result<Transport>,
    ) {
        let Upgraded { mut stream, answer, early, verdict } = upgraded;
        let apps = self.http.node.apps();
        let refusal = match verdict {
            Err(refusal) => refusal,
            Ok(agreed) => match apps.admit(agreed.app) {
                Err(refusal) => refusal,
                Ok(()) => {
                    let Ok(transport) = transport(stream) else {
                        apps.release(agreed.app);
                        return;
                    };
                    let adopted = Adopted { agreed, transport, answer: &answer, early: &early };
                    return self.engine.borrow_mut().adopt(adopted, guest);
                }
            },
        };
        self.http.metrics.refuse(refusal.code);
        tracing::info!(code = refusal.code.get(), reason = refusal.message, "connection refused");
        // The client may be gone already; then it needs no reason.
        let _ = tokio::time::timeout(FAREWELL, refuse(&mut stream, &answer, &refusal)).await;
    }
}

/// Says why, as an error frame and as a close code, and waits until the client has read it: closing at once
/// could make the kernel drop what is on its way.
async fn refuse<S: AsyncWrite + AsyncReadExt + Unpin>(
    stream: &mut S,
    answer: &[u8],
    refusal: &Refusal,
) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.write_all(server::error(refusal.code, &refusal.message).bytes()).await?;
    stream.write_all(Frame::close(refusal.code, &refusal.message).bytes()).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

fn plain(stream: TcpStream) -> io::Result<mio::net::TcpStream> {
    Ok(mio::net::TcpStream::from_std(stream.into_std()?))
}

/// The engine's own poll, as something that the runtime can wait for. The engine closes it.
#[derive(Debug)]
struct Readiness(RawFd);

impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
