//! Recovery of missed events on channels with history. A pure state machine for one channel: it knows the
//! position, tells which events are new, and when events were missed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A position in the history of a channel: after the event with this offset.
///
/// A backend reads it before it reads the state that it sends to the client, which then
/// [subscribes since](crate::Client::subscribe_since) that position.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Position {
    /// Names the history that the offset belongs to. Opaque: only compare it for equality.
    pub epoch: String,
    /// The offset of the last event before the position; 0 at the beginning.
    pub offset: u64,
}

impl Position {
    /// The position after the event with this offset.
    pub fn new(epoch: impl Into<String>, offset: u64) -> Self {
        Self { epoch: epoch.into(), offset }
    }
}

/// The reason for which missed events are not replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GapReason {
    /// The missed events are no longer kept.
    Expired,
    /// More events were missed than the server replays.
    TooMany,
    /// The history began anew, for example after a restart without a store.
    Epoch,
    /// The node had lost the connection to the other nodes.
    Bus,
    /// The server kept no history of this channel, and the connection was interrupted.
    NoHistory,
    /// The server can't use the position, or gave another reason.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "expired",
            Self::TooMany => "too_many",
            Self::Epoch => "epoch",
            Self::Bus => "bus",
            Self::NoHistory => "no_history",
            Self::Unknown => "unknown",
        })
    }
}

/// The position that a subscription names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Since {
    #[serde(flatten)]
    pub(crate) position: Position,
    /// The id of the connection that reached the position. Events that excluded it are not replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket_id: Option<String>,
}

/// Where a subscription to a channel with history starts: a part of the data of `subscription_succeeded`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Start {
    #[serde(flatten)]
    pub(crate) position: Position,
    /// Whether nothing since the named position is missing.
    #[serde(default)]
    pub(crate) recovered: bool,
}

/// The data of `clarim:gap`.
#[derive(Debug, Deserialize)]
pub(crate) struct Gap {
    pub(crate) reason: GapReason,
    /// On channels with history, everything after this position follows.
    #[serde(flatten)]
    pub(crate) position: Option<Position>,
}

/// Whether an event is for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    New,
    /// The application has it, or the subscription to come replays it.
    Duplicate,
    /// New, but the server did not announce that earlier ones are missing.
    AfterGap,
}

/// The state of the subscription on the current connection.
#[derive(Debug)]
enum Stage {
    /// There is none yet.
    Pending,
    Live,
    /// The named position was not recovered. The server's next message is the gap. If the connection breaks
    /// before it, the old position is named again, so that the gap is not lost.
    GapDue(Since),
}

/// What the client knows of a channel's history.
#[derive(Debug)]
pub(crate) struct Recovery {
    reached: Option<Since>,
    /// The offset of the last event of this epoch that the application got. A subscription may start at the
    /// last event of a cache channel and repeat it, so it can be lower than the position.
    handled: u64,
    /// Whether the channel was subscribed before.
    was_subscribed: bool,
    stage: Stage,
}

impl Recovery {
    /// Begins at a position that the application has got from its backend, if any.
    pub(crate) fn since(position: Option<Position>) -> Self {
        let reached = position.map(|position| Since { position, socket_id: None });
        Self { reached, handled: 0, was_subscribed: false, stage: Stage::Pending }
    }

    /// The position that the next subscription names.
    pub(crate) fn named(&self) -> Option<Since> {
        self.reached.clone()
    }

    pub(crate) fn position(&self) -> Option<&Position> {
        self.reached.as_ref().map(|since| &since.position)
    }

    /// The connection was lost. Numbered events count again after the next subscription.
    pub(crate) fn interrupted(&mut self) {
        self.stage = Stage::Pending;
    }

    /// The server has accepted the subscription. Returns a gap that it doesn't announce.
    pub(crate) fn started(
        &mut self,
        start: Option<Start>,
        socket_id: Option<String>,
    ) -> Option<GapReason> {
        let was_subscribed = std::mem::replace(&mut self.was_subscribed, true);
        self.stage = Stage::Live;
        match (start, &mut self.reached) {
            (Some(Start { position, recovered: true }), Some(reached))
                if reached.position.epoch == position.epoch =>
            {
                // Events of an earlier subscription may have moved the position after it was named.
                reached.position.offset = reached.position.offset.max(position.offset);
                reached.socket_id = socket_id;
                None
            }
            (Some(Start { position, .. }), Some(_)) => {
                self.stage = Stage::GapDue(Since { position, socket_id });
                None
            }
            (Some(Start { position, .. }), None) => {
                self.reach(Since { position, socket_id });
                was_subscribed.then_some(GapReason::NoHistory)
            }
            (None, reached) => {
                let is_interrupted = reached.take().is_some() || was_subscribed;
                is_interrupted.then_some(GapReason::NoHistory)
            }
        }
    }

    /// The server has announced a gap. On channels with history, everything after `position` follows.
    pub(crate) fn gap(&mut self, position: Option<Position>, socket_id: Option<String>) {
        self.stage = Stage::Live;
        match position {
            Some(position) => self.reach(Since { position, socket_id }),
            None => self.reached = None,
        }
    }

    /// Takes the offset of an event.
    pub(crate) fn take(&mut self, offset: u64) -> Arrival {
        let arrival = match std::mem::replace(&mut self.stage, Stage::Live) {
            Stage::Pending => {
                // It belongs to an earlier subscription of the same connection.
                self.stage = Stage::Pending;
                return Arrival::Duplicate;
            }
            Stage::Live => Arrival::New,
            Stage::GapDue(start) => {
                self.reach(start);
                Arrival::AfterGap
            }
        };
        let Some(Since { position, .. }) = &mut self.reached else { return arrival };
        if offset <= self.handled {
            return Arrival::Duplicate;
        }
        self.handled = offset;
        position.offset = position.offset.max(offset);
        arrival
    }

    fn reach(&mut self, start: Since) {
        let Since { position: Position { epoch, offset }, .. } = &start;
        let is_same = self.position().is_some_and(|reached| reached.epoch == *epoch);
        self.handled = if is_same { self.handled.min(*offset) } else { 0 };
        self.reached = Some(start);
    }
}

#[cfg(test)]
mod tests;
