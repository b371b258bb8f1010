//! Gaps of logs across a hand-over.

use clarim_protocol::GapReason;
use hashbrown::HashMap;

use crate::address::ChannelKey;
use crate::app::Apps;
use crate::snapshot::SavedLogGap;

/// The gaps of a restored node, of which subscribers are to be notified when the logs have been read.
#[derive(Debug, Default)]
pub(in crate::cluster) struct LogGaps(HashMap<ChannelKey, GapReason, foldhash::fast::RandomState>);

impl LogGaps {
    /// Returns what a snapshot keeps of a gap.
    pub(in crate::cluster) fn save(
        channel: &ChannelKey,
        reason: GapReason,
        apps: &Apps,
    ) -> SavedLogGap {
        let app = apps.get(channel.app).id.clone();
        SavedLogGap { app, channel: channel.name.to_string(), reason }
    }

    pub(in crate::cluster) fn restored(saved: &[SavedLogGap], apps: &Apps) -> Self {
        let gaps = saved.iter().filter_map(|SavedLogGap { app, channel, reason }| {
            let channel = ChannelKey::restored(apps.find_by_id(app)?, channel).ok()?;
            Some((channel, *reason))
        });
        Self(gaps.collect())
    }

    /// Takes the gap of a channel whose log is followed again.
    pub(super) fn take(&mut self, channel: &ChannelKey) -> Option<GapReason> {
        if self.0.is_empty() { None } else { self.0.remove(channel) }
    }
}
