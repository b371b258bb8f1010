//! Totals of a node. They are kept up to date, so reading them costs the same with one channel and with a
//! million.

use clarim_protocol::{ChannelKind, GapReason, Start};

use crate::snapshot::SavedRecoveries;

/// The current totals of a node or of one of its shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Channels with subscribers, by [kind](ChannelKind::ALL).
    pub channels: [usize; ChannelKind::ALL.len()],
    /// Subscriptions of connections.
    pub subscriptions: usize,
    /// Users on presence channels, once per channel.
    pub members: usize,
}

impl Totals {
    pub(crate) fn channels_mut(&mut self, kind: ChannelKind) -> &mut usize {
        &mut self.channels[kind.index()]
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        for (ours, theirs) in self.channels.iter_mut().zip(other.channels) {
            *ours += theirs;
        }
        self.subscriptions += other.subscriptions;
        self.members += other.members;
    }
}

/// What became of clients that named a position in the history of a channel, since the node's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recoveries {
    /// Subscriptions that missed nothing.
    pub recovered: u64,
    /// Events that were replayed, those of a rewind too.
    pub replayed: u64,
    /// Subscriptions that got a gap, by [reason](GapReason::ALL).
    pub gaps: [u64; GapReason::ALL.len()],
}

impl Recoveries {
    /// Returns what a snapshot keeps of them.
    pub(crate) fn save(&self) -> SavedRecoveries {
        let Self { recovered, replayed, gaps } = *self;
        let gaps = GapReason::ALL.into_iter().zip(gaps).filter(|(_, count)| *count > 0);
        SavedRecoveries { recovered, replayed, gaps: gaps.collect() }
    }

    pub(crate) fn count(&mut self, start: Option<&Start>, gap: Option<GapReason>) {
        self.recovered += u64::from(start.is_some_and(|start| start.recovered));
        self.replayed += start.map_or(0, |start| start.missed as u64);
        if let Some(gap) = gap {
            self.gaps[gap as usize] += 1;
        }
    }
}

impl From<&SavedRecoveries> for Recoveries {
    fn from(saved: &SavedRecoveries) -> Self {
        let SavedRecoveries { recovered, replayed, gaps: saved } = saved;
        let mut gaps = [0; GapReason::ALL.len()];
        for (reason, count) in saved {
            gaps[*reason as usize] += count;
        }
        Self { recovered: *recovered, replayed: *replayed, gaps }
    }
}

impl std::ops::AddAssign for Recoveries {
    fn add_assign(&mut self, other: Self) {
        self.recovered += other.recovered;
        self.replayed += other.replayed;
        for (ours, theirs) in self.gaps.iter_mut().zip(other.gaps) {
            *ours += theirs;
        }
    }
}
