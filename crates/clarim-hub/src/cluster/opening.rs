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
    /// How many nodes will answer, once that is known.
    expected: Option<usize>,
    answered: SmallVec<[NodeId; 4]>,
    /// It is open then, whoever has answered.
    until: Duration,
}

impl Openings {
    pub(super) fn begin(&mut self, channel: ChannelKey, until: Duration) {
        self.0.insert(channel, Opening { expected: None, answered: SmallVec::new(), until });
    }

    pub(super) fn is_opening(&self, channel: &ChannelKey) -> bool {
        self.0.contains_key(channel)
    }

    /// The others have been asked. `answers`: how many will answer; if nobody knows, those who do so by
    /// `grace` count.
    pub(super) fn asked(&mut self, channel: &ChannelKey, answers: Option<usize>, grace: Duration) {
        if let Some(opening) = self.0.get_mut(channel) {
            match answers {
                Some(answers) => opening.expected = Some(answers),
                None => opening.until = opening.until.min(grace),
            }
        }
    }

    /// A node has answered. Whether that was waited for.
    pub(super) fn answered(&mut self, channel: &ChannelKey, node: NodeId) -> bool {
        let Some(opening) = self.0.get_mut(channel) else { return false };
        if !opening.answered.contains(&node) {
            opening.answered.push(node);
        }
        true
    }

    pub(super) fn is_ready(&self, channel: &ChannelKey) -> bool {
        self.0.get(channel).is_some_and(|opening| {
            opening.expected.is_some_and(|expected| opening.answered.len() >= expected)
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
            .filter_map(|(channel, opening)| {
                opening.expected = Some(opening.expected?.saturating_sub(1));
                Some(channel.clone())
            })
            .collect()
    }
}
