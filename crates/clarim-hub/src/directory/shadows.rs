//! The shadows that this node keeps as a backup.

use std::time::Duration;

use clarim_cluster::{Departure, NodeId, Shadow};
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::address::ChannelKey;

/// Shadows by channel.
#[derive(Debug, Default)]
pub(crate) struct Shadows(HashMap<ChannelKey, SmallVec<[Shadow; 1]>, foldhash::fast::RandomState>);

impl Shadows {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn insert(&mut self, key: ChannelKey, shadow: Shadow) {
        self.0.entry(key).or_default().push(shadow);
    }

    /// Returns the shadow of a node.
    pub(crate) fn find(&mut self, key: &ChannelKey, node: NodeId) -> Option<&mut Shadow> {
        self.0.get_mut(key)?.iter_mut().find(|shadow| shadow.node == node)
    }

    /// Returns the shadow of a node, creating it if necessary.
    pub(crate) fn find_or_add(
        &mut self,
        key: &ChannelKey,
        node: NodeId,
        now: Duration,
    ) -> &mut Shadow {
        let shadows = self.0.entry(key.clone()).or_default();
        let at = shadows.iter().position(|shadow| shadow.node == node).unwrap_or_else(|| {
            shadows.push(Shadow::new(node, now));
            shadows.len() - 1
        });
        &mut shadows[at]
    }

    /// Removes the shadow of a node.
    pub(crate) fn remove(&mut self, key: &ChannelKey, node: NodeId) {
        let Some(shadows) = self.0.get_mut(key) else { return };
        shadows.retain(|shadow| shadow.node != node);
        if shadows.is_empty() {
            self.0.remove(key);
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
        for (key, shadows) in &mut self.0 {
            for shadow in shadows.iter_mut().filter(|shadow| shadow.node == node) {
                shadow.departure = Some(departure);
                keys.push(key.clone());
            }
        }
        keys
    }

    /// Takes the shadows of nodes that have gone.
    pub(crate) fn take_departed(&mut self, key: &ChannelKey) -> SmallVec<[Shadow; 1]> {
        let Some(shadows) = self.0.get_mut(key) else { return SmallVec::new() };
        let taken = std::mem::take(shadows);
        let is_departed = |shadow: &Shadow| shadow.departure.is_some();
        let (departed, others): (SmallVec<_>, SmallVec<_>) =
            taken.into_iter().partition(is_departed);
        *shadows = others;
        if shadows.is_empty() {
            self.0.remove(key);
            self.shrink();
        }
        departed
    }

    /// Returns all shadows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ChannelKey, &Shadow)> {
        self.0.iter().flat_map(|(key, shadows)| shadows.iter().map(move |shadow| (key, shadow)))
    }

    /// Returns the shadows of a channel.
    pub(crate) fn of(&self, key: &ChannelKey) -> &[Shadow] {
        self.0.get(key).map(|shadows| &shadows[..]).unwrap_or_default()
    }

    fn retain(&mut self, is_kept: impl Fn(&Shadow) -> bool) {
        self.0.retain(|_, shadows| {
            shadows.retain(|shadow| is_kept(shadow));
            !shadows.is_empty()
        });
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to_fit();
        }
    }
}
