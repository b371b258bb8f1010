//! The timer and the limits of the load generator's event loops.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// The channel of loads that use only one.
pub(crate) const CHANNEL: &str = "bench";
/// Time without any event after which missing deliveries count as lost.
pub(crate) const QUIET: Duration = Duration::from_secs(5);
/// Time that a run listens on after its last delivery: duplicates come late.
pub(crate) const AFTERMATH: Duration = Duration::from_millis(200);
/// Maximum duration of a load.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);
/// Maximum latency in microseconds: no delivery takes longer than a load may.
pub(crate) const MAX_LATENCY: u64 = 600_000_000;
/// First token of the publishers. Those of clients are below.
pub(crate) const PUBLISHERS: usize = 1 << 20;
/// Token of the timer.
pub(crate) const TIMER: Token = Token(usize::MAX - 1);

/// A timer that wakes an event loop. The loop's own timeouts are whole milliseconds, too coarse to publish on
/// time.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    pub(crate) fn register(registry: &Registry) -> Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Wakes the loop after `wait`, once.
    pub(crate) fn set(&self, wait: Duration) -> Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let wait = Itimerspec { it_interval: zero, it_value: Timespec::try_from(wait)? };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &wait)?;
        Ok(())
    }
}
