//! The requests of a page.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::http::body::BudgetShare;

/// Length of a stream's text, in UTF-16 units, after which pusher-js replaces it by a new one. It ignores
/// lines that arrive in between, so none are sent.
const MAX_STREAM: usize = 256 << 10;

/// The way in which a page receives lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// One response that does not end.
    Streaming,
    /// A response for each line.
    Polling,
}

/// A request that is answered with lines.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) transport: Transport,
    pub(super) lines: mpsc::Sender<Bytes>,
    /// UTF-16 units written so far.
    pub(super) written: usize,
}

impl Listener {
    pub(super) fn new(transport: Transport, lines: mpsc::Sender<Bytes>) -> Self {
        Self { transport, lines, written: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.transport == Transport::Streaming && self.written > MAX_STREAM
    }
}

/// A request of the page, with its number.
#[derive(Debug)]
pub(super) enum PageRequest {
    Listen {
        n: Option<u64>,
        listener: Listener,
    },
    /// The messages count as a body of an unknown sender until they are handled.
    Send {
        n: Option<u64>,
        messages: Vec<String>,
        share: BudgetShare,
    },
}

impl PageRequest {
    pub(super) fn is_polling(&self) -> bool {
        match self {
            Self::Listen { listener, .. } => listener.transport == Transport::Polling,
            Self::Send { .. } => false,
        }
    }
}
