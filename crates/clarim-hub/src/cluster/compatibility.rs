//! Nodes that cannot understand each other.

use clarim_cluster::{NodeId, Versions};

/// Logs that another node and this one have no protocol version in common.
pub(super) fn log_incompatible(node: NodeId, versions: Versions, own: Versions) {
    let node = format!("{:016x}", node.0);
    tracing::error!(
        node,
        oldest = versions.oldest.0,
        newest = versions.newest.0,
        own_oldest = own.oldest.0,
        own_newest = own.newest.0,
        "this node and another one have no cluster protocol version in common: update one release after the other"
    );
}
