//! The shadows that this node keeps as a backup.

use std::collections::VecDeque;
use std::time::Duration;

use clarim_cluster::{Departure, NodeId, Shadow};
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::address::ChannelKey;

/// Shadows by channel.
#[derive(Debug, Default)]
pub(crate) struct Shadows {
    by_channel: HashMap<ChannelKey, SmallVec<[Shadow; 1]>, foldhash::fast::RandomState>,
    /// Channels whose node has gone, and that are to be opened.
    unopened: VecDeque<ChannelKey>,
}

impl Shadows {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_channel.is_empty()
    }

    /// Adds a shadow that was saved.
    pub(crate) fn insert(&mut self, key: ChannelKey, shadow: Shadow) {
        if shadow.departure.is_some() {
            self.unopened.push_back(key.clone());
        }
        self.by_channel.entry(key).or_default().push(shadow);
    }

    /// Returns the shadow of a node.
    pub(crate) fn find(&mut self, key: &ChannelKey, node: NodeId) -> Option<&mut Shadow> {
        self.by_channel.get_mut(key)?.iter_mut().find(|shadow| shadow.node == node)
    }

    /// Returns the shadow of a node, creating it if necessary.
    pub(crate) fn find_or_add(
        &mut self,
        key: &ChannelKey,
        node: NodeId,
        now: Duration,
    ) -> &mut Shadow {
        let shadows = self.by_channel.entry(key.clone()).or_default();
        let at = shadows.iter().position(|shadow| shadow.node == node).unwrap_or_else(|| {
            shadows.push(Shadow::new(node, now));
            shadows.len() - 1
        });
        &mut shadows[at]
    }

    /// Removes the shadow of a node.
    pub(crate) fn remove(&mut self, key: &ChannelKey, node: NodeId) {
        let Some(shadows) = self.by_channel.get_mut(key) else { return };
        shadows.retain(|shadow| shadow.node != node);
        if shadows.is_empty() {
            self.by_channel.remove(key);
            self.shrink();
        }
    }

    /// Removes all shadows of a node.
    pub(crate) fn remove_node(&mut self, node: NodeId) {
        self.retain(|shadow| shadow.node != node);
    }

    /// Removes the shadows of nodes from which nothing has come since `since`.
    pub(crate) fn remove_silent(&mut self, since: Duration) {
        self.retain(|shadow| !shadow.is_silent_since(since));
    }

    /// Records that a node has gone. Returns the channels of which it has a shadow.
    pub(crate) fn depart(&mut self, node: NodeId, departure: Departure) -> Vec<ChannelKey> {
        let mut keys = Vec::new();
        for (key, shadows) in &mut self.by_channel {
            for shadow in shadows.iter_mut().filter(|shadow| shadow.node == node) {
                shadow.departure = Some(departure);
                keys.push(key.clone());
            }
        }
        keys
    }

    /// Records that a channel is to be opened, because its node has gone.
    pub(crate) fn open_later(&mut self, key: ChannelKey) {
        self.unopened.push_back(key);
    }

    /// Takes a channel that is to be opened.
    pub(crate) fn take_unopened(&mut self) -> Option<ChannelKey> {
        while let Some(key) = self.unopened.pop_front() {
            if self.has_departed(&key) {
                return Some(key);
            }
        }
        self.unopened = VecDeque::new();
        None
    }

    /// Whether a node has gone that was alone on a channel.
    pub(crate) fn has_departed(&self, key: &ChannelKey) -> bool {
        self.of(key).iter().any(|shadow| shadow.departure.is_some())
    }

    /// Takes the shadows of nodes that have gone.
    pub(crate) fn take_departed(&mut self, key: &ChannelKey) -> SmallVec<[Shadow; 1]> {
        let Some(shadows) = self.by_channel.get_mut(key) else { return SmallVec::new() };
        let taken = std::mem::take(shadows);
        let is_departed = |shadow: &Shadow| shadow.departure.is_some();
        let (departed, others): (SmallVec<_>, SmallVec<_>) =
            taken.into_iter().partition(is_departed);
        *shadows = others;
        if shadows.is_empty() {
            self.by_channel.remove(key);
            self.shrink();
        }
        departed
    }

    /// Returns all shadows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ChannelKey, &Shadow)> {
        self.by_channel
            .iter()
            .flat_map(|(key, shadows)| shadows.iter().map(move |shadow| (key, shadow)))
    }

    /// Returns the shadows of a channel.
    pub(crate) fn of(&self, key: &ChannelKey) -> &[Shadow] {
        self.by_channel.get(key).map(|shadows| &shadows[..]).unwrap_or_default()
    }

    fn retain(&mut self, is_kept: impl Fn(&Shadow) -> bool) {
        self.by_channel.retain(|_, shadows| {
            shadows.retain(|shadow| is_kept(shadow));
            !shadows.is_empty()
        });
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.by_channel.len() < self.by_channel.capacity() / 8 {
            self.by_channel.shrink_to_fit();
        }
    }
}
