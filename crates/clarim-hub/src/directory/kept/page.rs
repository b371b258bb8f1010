//! Reading the history of a channel, page by page.

use clarim_protocol::rest::HistoryDirection;
use clarim_protocol::{Frame, GapReason, Position};

/// A part of the history of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The last event that the reader has: the events after it are read or, backward, those before it.
    pub since: Option<Position>,
    /// The order of the events.
    pub direction: HistoryDirection,
    /// Maximum number of events.
    pub limit: usize,
    /// Maximum size of the events, in bytes. One event is returned whatever its size.
    pub bytes: usize,
}

impl HistoryQuery {
    /// Takes the events of one page. Returns whether there are more.
    pub(super) fn take(
        &self,
        all: impl Iterator<Item = HistoryEvent>,
    ) -> (Vec<HistoryEvent>, bool) {
        let mut events = Vec::new();
        let mut bytes = 0;
        for event in all {
            bytes += event.frame.payload().len();
            if events.len() == self.limit || (bytes > self.bytes && !events.is_empty()) {
                return (events, true);
            }
            events.push(event);
        }
        (events, false)
    }
}

/// Events of the history of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The position behind the newest event of the channel.
    pub position: Position,
    /// The events, in the order of the query.
    pub events: Vec<HistoryEvent>,
    /// Whether more events follow in the direction of the query.
    pub has_more: bool,
    /// Why the events after the position of the query can't be read. Then there are no events.
    pub gap: Option<GapReason>,
}

/// An event of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEvent {
    /// Its offset.
    pub offset: u64,
    /// The event as subscribers have got it.
    pub frame: Frame,
}
