//! Channels that are being opened: the bus has to confirm that they are listened to and, where nodes need to
//! know of each other, the others have to say what they have.

use std::time::Duration;

use clarim_protocol::cluster::NodeId;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::entry::ChannelKey;

#[derive(Debug, Default)]
pub(super) struct Openings(HashMap<ChannelKey, Opening, foldhash::fast::RandomState>);

#[derive(Debug)]
struct Opening {
    /// How many nodes will answer, as the bus has counted those who have got the question.
    counted: Option<usize>,
    /// How many will, as one of them has said. A bus need not count.
    claimed: Option<usize>,
    answered: SmallVec<[NodeId; 4]>,
    /// It is open then, whoever has answered.
    until: Duration,
}

impl Openings {
    pub(super) fn begin(&mut self, channel: ChannelKey, until: Duration) {
        let (counted, claimed, answered) = (None, None, SmallVec::new());
        self.0.insert(channel, Opening { counted, claimed, answered, until });
    }

    pub(super) fn is_opening(&self, channel: &ChannelKey) -> bool {
        self.0.contains_key(channel)
    }

    /// The others have been asked. `counted`: how many have got the question, if the bus knows.
    pub(super) fn asked(&mut self, channel: &ChannelKey, counted: Option<usize>) {
        if let Some(opening) = self.0.get_mut(channel) {
            opening.counted = counted;
        }
    }

    /// A node has answered; `claimed`: that there will be so many answers. Whether it was waited for.
    pub(super) fn answered(
        &mut self,
        channel: &ChannelKey,
        node: NodeId,
        claimed: Option<u32>,
    ) -> bool {
        let Some(opening) = self.0.get_mut(channel) else { return false };
        if !opening.answered.contains(&node) {
            opening.answered.push(node);
        }
        opening.claimed = opening.claimed.max(claimed.map(|nodes| nodes as usize));
        true
    }

    pub(super) fn is_ready(&self, channel: &ChannelKey) -> bool {
        self.0.get(channel).is_some_and(|opening| {
            let expected = opening.counted.or(opening.claimed);
            expected.is_some_and(|expected| opening.answered.len() >= expected)
        })
    }

    /// Whether it was being opened.
    pub(super) fn remove(&mut self, channel: &ChannelKey) -> bool {
        let was = self.0.remove(channel).is_some();
        if self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to_fit();
        }
        was
    }

    pub(super) fn take_all(&mut self) -> Vec<ChannelKey> {
        std::mem::take(&mut self.0).into_keys().collect()
    }

    /// Those for which it has been waited long enough.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<ChannelKey> {
        self.0.extract_if(|_, opening| opening.until <= now).map(|(channel, _)| channel).collect()
    }

    /// A node that has gone will not answer. The channels that were waiting for it, perhaps.
    pub(super) fn lose(&mut self, node: NodeId) -> Vec<ChannelKey> {
        let waiting = self.0.iter_mut().filter(|(_, opening)| !opening.answered.contains(&node));
        waiting
            .map(|(channel, opening)| {
                for expected in [&mut opening.counted, &mut opening.claimed] {
                    *expected = expected.map(|nodes| nodes.saturating_sub(1));
                }
                channel.clone()
            })
            .collect()
    }
}
