//! Notifications to systemd (`Type=notify`). Without systemd they do nothing.

use std::time::Duration;

use clarim_server::Liveness;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// Reports that the server is listening.
pub(crate) fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Reports that the program is about to be replaced. [`notify_ready`] ends this.
pub(crate) fn notify_reloading() {
    let Ok(now) = NotifyState::monotonic_usec_now() else { return };
    notify(&[NotifyState::Reloading, now]);
}

/// Reports that the server is shutting down.
pub(crate) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

/// Returns the timeout of the watchdog (`WatchdogSec=`), if it is enabled.
pub(crate) fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Notifies the watchdog within each `timeout`, as long as every worker is running. If one is stuck, the
/// notifications stop, and systemd restarts the server.
pub(crate) async fn feed_watchdog(mut liveness: Liveness, timeout: Duration) {
    let mut pause = interval((timeout / 2).max(Liveness::MIN_INTERVAL));
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = None;
    loop {
        pause.tick().await;
        let stuck = liveness.stuck_worker();
        match stuck {
            None => notify(&[NotifyState::Watchdog]),
            Some(worker) if stuck != reported => {
                tracing::error!(worker, "worker is stuck; systemd will restart the server");
            }
            Some(_) => {}
        }
        reported = stuck;
    }
}
