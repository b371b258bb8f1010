//! The live connection of a page, and what it has been asked to acknowledge.

use std::time::Duration;

use clarim_protocol::ChannelName;

use super::positions::Positions;
use crate::address::ConnectionAddr;
use crate::snapshot::{SavedLive, SavedRequest, SnapshotError};

/// Time after which a page that has not replied is asked again: as long as a message may wait for a slow
/// client. The request or its reply may have been lost.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// A live connection of a page.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) addr: ConnectionAddr,
    /// It has got past events or a gap, which its worker does not count as changes.
    pub(super) is_behind: bool,
    /// The number of the last request.
    number: u32,
    /// Of its worker's changes: the last that the page has been asked to acknowledge.
    asked_until: u64,
    /// The request that it has not replied to.
    asked: Option<Box<Asked>>,
}

#[derive(Debug)]
struct Asked {
    at: Duration,
    positions: Positions,
}

impl Live {
    pub(super) fn new(addr: ConnectionAddr, changes: u64) -> Self {
        Self { addr, is_behind: false, number: 0, asked_until: changes, asked: None }
    }

    /// Returns what a snapshot keeps of it. `changes`: the number of changes of its worker so far.
    pub(super) fn save(&self, changes: u64) -> SavedLive {
        let asked = self
            .asked
            .as_ref()
            .map(|asked| SavedRequest { at: asked.at.into(), positions: asked.positions.save() });
        let is_behind = self.is_behind || self.asked_until != changes;
        SavedLive { is_behind, number: self.number, asked }
    }

    pub(super) fn restored(
        addr: ConnectionAddr,
        changes: u64,
        saved: &SavedLive,
    ) -> Result<Self, SnapshotError> {
        let asked = saved.asked.as_ref().map(|asked| -> Result<_, SnapshotError> {
            let positions = Positions::restored(&asked.positions)?;
            Ok(Box::new(Asked { at: asked.at.get(), positions }))
        });
        Ok(Self {
            is_behind: saved.is_behind,
            number: saved.number,
            asked: asked.transpose()?,
            ..Self::new(addr, changes)
        })
    }

    /// Makes a request, see `Page::ask`. Returns its number.
    pub(super) fn ask(
        &mut self,
        changes: u64,
        now: Duration,
        sent: impl FnOnce(Option<u64>) -> Positions,
    ) -> Option<u64> {
        if let Some(asked) = &self.asked {
            if now < asked.at + ASK_AGAIN {
                return None;
            }
            // The next request includes what it was about.
            self.asked = None;
            self.is_behind = true;
        }
        if self.asked_until == changes && !self.is_behind {
            return None;
        }
        let positions = sent((!self.is_behind).then_some(self.asked_until));
        self.asked_until = changes;
        self.is_behind = false;
        if positions.is_empty() {
            return None;
        }
        self.number = self.number.wrapping_add(1);
        self.asked = Some(Box::new(Asked { at: now, positions }));
        Some(u64::from(self.number))
    }

    /// Takes the reply with a number. Returns what it acknowledges; `None` if it replies to no request.
    pub(super) fn acknowledge(&mut self, number: u64) -> Option<Positions> {
        let is_it = number == u64::from(self.number);
        self.asked.take_if(|_| is_it).map(|asked| asked.positions)
    }

    /// Forgets a channel that the page has unsubscribed from. It may subscribe again, from another position,
    /// before it acknowledges.
    pub(super) fn unsubscribed(&mut self, channel: &ChannelName) {
        if let Some(asked) = &mut self.asked {
            asked.positions.remove(channel);
        }
    }
}
