//! Subjects on the bus.
//!
//! Messages about a channel use the channel's own subject, so that the bus keeps them in order. A node
//! subscribes to the subjects of its clients' channels, to the subject of all nodes, and to its own.

use clarim_protocol::ChannelName;

use crate::node_id::NodeId;

/// The part of a node's subject between the prefix and the node's id.
pub const NODE: &str = ":node:";

/// Returns the subject of all nodes.
#[must_use]
pub fn nodes_subject(prefix: &str) -> String {
    format!("{prefix}:nodes")
}

/// Returns the subject of one node.
#[must_use]
pub fn node_subject(prefix: &str, node: NodeId) -> String {
    format!("{prefix}{NODE}{:016x}", node.0)
}

/// Returns the subject of a channel.
#[must_use]
pub fn channel_subject(prefix: &str, app: &str, channel: &ChannelName) -> String {
    format!("{prefix}:channel:{app}:{channel}")
}

/// The app and the channel of a channel's subject.
#[must_use]
pub fn channel_of<'s>(prefix: &str, subject: &'s str) -> Option<(&'s str, &'s str)> {
    // No channel name has a colon.
    subject.strip_prefix(prefix)?.strip_prefix(":channel:")?.rsplit_once(':')
}
