//! The upkeep of what the workers share: sweeps of the directory and of idempotency keys, the certificate,
//! the end of the drain.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::Node;
use tokio::sync::Mutex;

use crate::http::{Http, IdempotencyKeys};
use crate::net::Certificate;
use crate::runtime::Sink;
use crate::sync::{Drain, Phase, ShutdownSignal};

/// Time between two checks whether all clients are gone.
const DRAIN_INTERVAL: Duration = Duration::from_millis(25);

/// Time between two sweeps of the channel directory.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The work of the upkeep thread.
#[derive(Debug)]
pub(super) struct Upkeep {
    certificate: Option<Arc<Certificate>>,
    node: Arc<Node<Sink>>,
    keys: Arc<IdempotencyKeys>,
    started: Instant,
    drain: Drain,
    /// Held during each sweep, so that a hand-over can keep them out.
    sweeping: Arc<Mutex<()>>,
}

impl Upkeep {
    pub(super) fn new(
        certificate: Option<Arc<Certificate>>,
        http: &Http,
        sweeping: Arc<Mutex<()>>,
    ) -> Self {
        Self {
            certificate,
            node: http.node.clone(),
            keys: http.keys.clone(),
            started: http.started,
            drain: http.drain(),
            sweeping,
        }
    }

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
            let _sweeping = self.sweeping.lock().await;
            self.node.sweep(self.started.elapsed());
            self.keys.sweep(self.started.elapsed());
        }
    }

    /// Returns once the clients are gone, or the drain time is over.
    async fn drained(&self, shutdown: &mut ShutdownSignal) {
        shutdown.reached(Phase::Draining).await;
        let mut last_seen = None;
        let Drain { time, grace, .. } = self.drain;
        let deadline = Instant::now() + time + grace.max(DRAIN_INTERVAL);
        while Instant::now() < deadline {
            if self.node.apps().total_connections() > 0 {
                last_seen = Some(Instant::now());
            }
            if last_seen.is_none_or(|at| at.elapsed() > grace) {
                break;
            }
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
    }
}
