//! Versions of states on their way to the other nodes that have the channels: one message for many channels.

use clarim_cluster::{ClusterMessage, NodeId};
use hashbrown::HashMap;

use crate::address::{AppIndex, ChannelKey};
use crate::node::Node;
use crate::outputs::OutputSink;

/// Bytes that an entry of a message takes in addition to the channel's name, at most.
const ENTRY_BYTES: usize = 12;

/// The versions by receiver and app.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Digests(
    HashMap<(NodeId, AppIndex), Vec<(ChannelKey, u64)>, foldhash::fast::RandomState>,
);

impl Digests {
    /// Adds the version of this node's state on a channel.
    pub(super) fn add(&mut self, peer: NodeId, channel: &ChannelKey, version: u64) {
        self.0.entry((peer, channel.app)).or_default().push((channel.clone(), version));
    }

    /// Makes all versions into messages for the nodes that are to get them.
    pub(in crate::cluster) fn send<S: OutputSink>(
        &mut self,
        node: &Node<S>,
        mut send: impl FnMut(NodeId, &ClusterMessage<'_>),
    ) {
        let part_bytes = node.config().part_bytes;
        for ((peer, app), mut versions) in std::mem::take(&mut self.0) {
            // The peer has removed this node from the channels that were closed in the meantime.
            versions.retain(|(channel, _)| node.has(channel));
            let app = node.app(app).id.as_str();
            let mut size = 0;
            let parts = versions.chunk_by(|(channel, _), _| {
                size += channel.name.as_str().len() + ENTRY_BYTES;
                let fits = size <= part_bytes;
                size = if fits { size } else { 0 };
                fits
            });
            for part in parts {
                let channels =
                    part.iter().map(|(channel, version)| (channel.name.as_str(), *version));
                let channels = channels.collect();
                send(peer, &ClusterMessage::VersionDigests { app, channels });
            }
        }
    }
}
