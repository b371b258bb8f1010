//! The upkeep of what the workers share: sweeps of the directory and of idempotency keys, the certificate,
//! the end of the drain.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::Node;

use crate::http::IdempotencyKeys;
use crate::net::Certificate;
use crate::runtime::Sink;
use crate::sync::{Phase, ShutdownSignal};

/// Time that the server still listens after the last client was disconnected, since clients reconnect at
/// once. They get a code that makes them wait a second, by when a successor should listen. So this must be
/// well below a second.
const RECONNECT_GRACE: Duration = Duration::from_millis(500);

/// Time between two sweeps of the channel directory.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The work of the upkeep thread.
#[derive(Debug)]
pub(super) struct Upkeep {
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) node: Arc<Node<Sink>>,
    pub(super) keys: Arc<IdempotencyKeys>,
    pub(super) started: Instant,
    pub(super) drain: Duration,
}

impl Upkeep {
    /// Runs until all clients are gone after a shutdown.
    pub(super) async fn run(self, mut shutdown: ShutdownSignal) -> io::Result<()> {
        if let Some(certificate) = &self.certificate {
            tokio::task::spawn_local(certificate.clone().watch());
        }
        tokio::select! {
            () = self.sweep() => {}
            () = self.drained(&mut shutdown) => {}
        }
        Ok(())
    }

    async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.node.sweep(self.started.elapsed());
            self.keys.sweep(self.started.elapsed());
        }
    }

    /// Returns once the clients are gone, or the drain time is over.
    async fn drained(&self, shutdown: &mut ShutdownSignal) {
        shutdown.reached(Phase::Draining).await;
        let mut last_seen = None;
        let deadline = Instant::now() + self.drain + RECONNECT_GRACE;
        while Instant::now() < deadline {
            if self.node.apps().total_connections() > 0 {
                last_seen = Some(Instant::now());
            }
            if last_seen.is_none_or(|at| at.elapsed() > RECONNECT_GRACE) {
                break;
            }
            tokio::time::sleep(RECONNECT_GRACE / 20).await;
        }
    }
}
