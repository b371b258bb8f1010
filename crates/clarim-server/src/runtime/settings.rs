//! The settings of an engine.

use std::time::Instant;

use super::sockets::QueueLimits;

/// The settings of an engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineSettings {
    /// The node's zero of time, the same for all its workers.
    pub(crate) started: Instant,
    /// Limits of a connection's send queue.
    pub(crate) queue: QueueLimits,
    /// Whether compression may be negotiated.
    pub(crate) compression: bool,
}
