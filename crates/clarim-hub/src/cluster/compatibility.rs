//! Nodes that cannot understand each other.

use clarim_cluster::{Membership, NodeId, Versions};

/// Records the versions that another node speaks. Logs if it and this node have none in common.
pub(super) fn check(members: &mut Membership, node: NodeId, versions: Versions, own: Versions) {
    if !members.speaks(node, versions) {
        return;
    }
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
