//! Signals.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
pub(crate) struct StopSignals {
    terminate: io::Result<Signal>,
    interrupt: io::Result<Signal>,
}

impl StopSignals {
    /// Listens from now on. Needs the context of a runtime.
    pub(crate) fn listen() -> Self {
        Self {
            terminate: signal(SignalKind::terminate()),
            interrupt: signal(SignalKind::interrupt()),
        }
    }

    /// Returns the name of the next signal.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            () = received(&mut self.terminate) => "SIGTERM",
            () = received(&mut self.interrupt) => "SIGINT",
        }
    }
}

/// SIGHUP.
pub(crate) struct ReloadSignal(io::Result<Signal>);

impl ReloadSignal {
    /// Listens from now on. Needs the context of a runtime.
    pub(crate) fn listen() -> Self {
        Self(signal(SignalKind::hangup()))
    }

    /// Returns at the next signal.
    pub(crate) async fn next(&mut self) {
        received(&mut self.0).await;
    }
}

/// SIGUSR2.
pub(crate) struct RestartSignal(io::Result<Signal>);

impl RestartSignal {
    /// Listens from now on. Needs the context of a runtime.
    pub(crate) fn listen() -> Self {
        Self(signal(SignalKind::user_defined2()))
    }

    /// Returns at the next signal.
    pub(crate) async fn next(&mut self) {
        received(&mut self.0).await;
    }
}

/// Returns at the next signal. Never returns if the signal can't be listened to.
async fn received(signal: &mut io::Result<Signal>) {
    match signal {
        Ok(signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}
