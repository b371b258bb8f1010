//! Primitives that threads share: counters, bounded queues and the shutdown signal.

mod backlog;
mod counter;
mod pause;
mod queue;
mod shutdown;

pub(crate) use backlog::{BacklogReceiver, BacklogSender, backlog};
pub(crate) use counter::{BETWEEN_WARNINGS, BUCKETS, Counter, DropCounter, Histogram};
pub(crate) use pause::{PauseHandle, PauseSignal};
pub(crate) use queue::{ByteQueue, ByteQueueReceiver, Queued, WeakByteQueue, byte_queue};
pub(crate) use shutdown::{Drain, Phase, ShutdownHandle, ShutdownSignal};
