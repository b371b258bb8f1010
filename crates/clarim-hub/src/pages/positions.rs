//! The positions of a page: by channel, what it has acknowledged.

use clarim_protocol::{ChannelName, Position};
use smallvec::SmallVec;

use crate::snapshot::{SavedPosition, SnapshotError};

/// A channel with history, and the position behind the last event that the page has acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) channel: ChannelName,
    pub(crate) position: Position,
}

/// The offset of a page that has not acknowledged a gap yet. It gets the gap again.
pub(super) const BEFORE_GAP: u64 = u64::MAX;

/// Positions by channel, sorted by name. Most pages have few channels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Positions {
    list: SmallVec<[Acknowledged; 1]>,
}

impl FromIterator<Acknowledged> for Positions {
    fn from_iter<I: IntoIterator<Item = Acknowledged>>(all: I) -> Self {
        let mut list: SmallVec<_> = all.into_iter().collect();
        list.sort_unstable_by(|one, other| order(one, &other.channel));
        Self { list }
    }
}

fn order(known: &Acknowledged, channel: &ChannelName) -> std::cmp::Ordering {
    known.channel.as_str().cmp(channel.as_str())
}

impl Positions {
    /// Returns what a snapshot keeps of them.
    pub(super) fn save(&self) -> Vec<SavedPosition> {
        let known = self.list.iter().map(|known| SavedPosition {
            channel: known.channel.to_string(),
            position: known.position,
        });
        known.collect()
    }

    pub(super) fn restored(saved: &[SavedPosition]) -> Result<Self, SnapshotError> {
        let known = saved.iter().map(|saved| {
            let channel = ChannelName::parse(&saved.channel, usize::MAX)
                .map_err(|error| SnapshotError::invalid(error.to_string()))?;
            Ok(Acknowledged { channel, position: saved.position })
        });
        known.collect()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Acknowledged> {
        self.list.iter()
    }

    fn find(&self, channel: &ChannelName) -> Result<usize, usize> {
        self.list.binary_search_by(|known| order(known, channel))
    }

    pub(super) fn get(&self, channel: &ChannelName) -> Option<Position> {
        self.find(channel).ok().map(|at| self.list[at].position)
    }

    /// Returns the position of a channel. A channel that is not known gets this one.
    pub(super) fn get_or_add(&mut self, channel: &ChannelName, position: Position) -> Position {
        match self.find(channel) {
            Ok(at) => self.list[at].position,
            Err(at) => {
                self.list.insert(at, Acknowledged { channel: channel.clone(), position });
                position
            }
        }
    }

    pub(super) fn remove(&mut self, channel: &ChannelName) {
        if let Ok(at) = self.find(channel) {
            self.list.remove(at);
        }
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&ChannelName) -> bool) {
        self.list.retain(|known| keep(&known.channel));
        self.list.shrink_to_fit();
    }

    /// Moves on to other positions. Channels that are not known are left out.
    pub(super) fn advance(&mut self, to: &Self) {
        let mut known = self.list.iter_mut().peekable();
        for new in &to.list {
            while known.next_if(|known| order(known, &new.channel).is_lt()).is_some() {}
            if let Some(known) = known.next_if(|known| known.channel == new.channel) {
                known.position = new.position;
            }
        }
    }

    /// Goes back to other positions where those are older, or cannot be compared.
    pub(super) fn lower(&mut self, to: &Self) {
        for old in &to.list {
            let known = self.get_or_add(&old.channel, old.position);
            // No position is older than one before a gap.
            let age = |position: Position| position.offset.wrapping_sub(BEFORE_GAP);
            let is_older = age(old.position) <= age(known);
            if (is_older || old.position.epoch != known.epoch)
                && let Ok(at) = self.find(&old.channel)
            {
                self.list[at].position = old.position;
            }
        }
    }

    /// Returns its bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let names: usize = self.list.iter().map(|known| known.channel.as_str().len()).sum();
        let list = if self.list.spilled() { self.list.capacity() } else { 0 };
        names + list * size_of::<Acknowledged>()
    }
}

#[cfg(test)]
mod tests {
    use clarim_protocol::Epoch;
    use std::num::NonZeroU64;

    use super::*;

    fn name(name: &str) -> ChannelName {
        ChannelName::parse(name, 200).unwrap()
    }

    fn positions(all: &[(&str, u64)]) -> Positions {
        let epoch = Epoch(NonZeroU64::MIN);
        all.iter()
            .map(|(channel, offset)| {
                let position = Position { epoch, offset: *offset };
                Acknowledged { channel: name(channel), position }
            })
            .collect()
    }

    fn shown(positions: &Positions) -> Vec<(&str, u64)> {
        positions.iter().map(|it| (it.channel.as_str(), it.position.offset)).collect()
    }

    #[test]
    fn positions_advance_channel_by_channel() {
        let mut known = positions(&[("c", 1), ("a", 1), ("e", 1)]);
        known.advance(&positions(&[("e", 5), ("d", 4), ("a", 3), ("b", 2), ("f", 9)]));
        assert_eq!(shown(&known), [("a", 3), ("c", 1), ("e", 5)]);
        known.remove(&name("c"));
        assert_eq!(shown(&known), [("a", 3), ("e", 5)]);
    }

    #[test]
    fn the_older_of_two_positions_counts() {
        let mut known = positions(&[("a", 7), ("b", 1)]);
        known.lower(&positions(&[("a", 3), ("b", 5), ("c", 2)]));
        assert_eq!(shown(&known), [("a", 3), ("b", 1), ("c", 2)]);
        known.lower(&positions(&[("a", BEFORE_GAP)]));
        known.lower(&positions(&[("a", 1)]));
        assert_eq!(shown(&known), [("a", BEFORE_GAP), ("b", 1), ("c", 2)]);
        let mut other = positions(&[("a", 9)]);
        other.list[0].position.epoch = Epoch(NonZeroU64::MAX);
        known.lower(&other);
        assert_eq!(known.get(&name("a")).unwrap().epoch, Epoch(NonZeroU64::MAX));
    }

    #[test]
    fn many_channels_are_acknowledged_in_one_pass() {
        let all: Vec<_> = (0..100_000).map(|n| n.to_string()).collect();
        let at = |offset| -> Positions {
            positions(&all.iter().map(|name| (name.as_str(), offset)).collect::<Vec<_>>())
        };
        let mut known = at(1);
        let to = at(2);
        let began = std::time::Instant::now();
        known.advance(&to);
        // Comparing each with each takes more than a minute.
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
        assert!(known.iter().all(|known| known.position.offset == 2));
    }
}
