//! Backups: if a node is alone on a channel, another one knows its state, and reports the leaves to the app's
//! backend if the node dies. The backup is not subscribed to the channel, so events cost it nothing.
//!
//! Everything here runs under the lock of the channel's shard.

use clarim_cluster::{ClusterMessage, Departure, NodeId};

use super::losses::{self, Occupants};
use crate::address::ChannelKey;
use crate::directory::{Shard, Step};

/// Applies a message of a node for which this one is a backup.
pub(in crate::cluster) fn apply(
    shard: &mut Shard,
    key: &ChannelKey,
    from: NodeId,
    message: &ClusterMessage<'_>,
    step: &mut Step<'_>,
) {
    if matches!(message, ClusterMessage::ChannelClosed) {
        return shard.shadows.remove(key, from);
    }
    if !step.app(key).hooks.report_occupants(&key.name) {
        return;
    }
    if shard.shadows.find_or_add(key, from, step.now).apply(message, step.now) {
        step.publish_sync(key, &ClusterMessage::StateRequest(from));
    }
    // The node is not alone on the channel, and does not know it.
    let is_state = matches!(message, ClusterMessage::SyncRequest(_) | ClusterMessage::State(_));
    if is_state
        && let Some(channel) = shard.channels.get_mut(key)
        && channel.cluster.as_ref().is_some_and(|cluster| cluster.is_open())
    {
        channel.publish_state(key, false, step);
    }
}

/// Requests the state of a node for which this one is a backup if a change was missed.
pub(in crate::cluster) fn compare_version(
    shard: &mut Shard,
    key: &ChannelKey,
    from: NodeId,
    version: u64,
    step: &mut Step<'_>,
) {
    let is_missed = match shard.shadows.find(key, from) {
        Some(shadow) => shadow.compare(version, step.now),
        None => step.app(key).hooks.report_occupants(&key.name),
    };
    if is_missed {
        step.publish_sync(key, &ClusterMessage::StateRequest(from));
    }
}

/// Requests the states of all nodes for which this one is a backup.
pub(in crate::cluster) fn request_states(shard: &Shard, step: &mut Step<'_>) {
    for (key, shadow) in shard.shadows.iter() {
        step.publish_sync(key, &ClusterMessage::StateRequest(shadow.node));
    }
}

/// Handles that a node has gone: chooses other backups, and begins to report who has left with it.
pub(in crate::cluster) fn remove_peer(
    shard: &mut Shard,
    node: NodeId,
    departure: Option<Departure>,
    step: &mut Step<'_>,
) {
    for (key, channel) in &mut shard.channels {
        let cluster = channel.cluster.as_mut();
        if cluster.is_some_and(|cluster| cluster.backup.take_if(|it| *it == node).is_some()) {
            channel.request_backup(key, step);
        }
    }
    let Some(departure) = departure else { return shard.shadows.remove_node(node) };
    for key in shard.shadows.depart(node, departure) {
        let is_known = shard.channels.get(&key).is_some_and(|channel| {
            channel.cluster.as_ref().is_some_and(|cluster| cluster.knows_state_of(node))
        });
        // This node is on the channel itself.
        if is_known || !step.app(&key).hooks.report_occupants(&key.name) {
            shard.shadows.remove(&key, node);
            continue;
        }
        if is_open(shard, &key) {
            report_departed(shard, &key, step);
        } else {
            shard.shadows.open_later(key);
        }
    }
}

fn is_open(shard: &Shard, key: &ChannelKey) -> bool {
    let channel = shard.channels.get(key);
    channel.is_some_and(|channel| channel.cluster.as_ref().is_none_or(|cluster| cluster.is_open()))
}

/// Opens at most `max` of the channels whose nodes have gone, to learn who is on other nodes now. Returns
/// their number.
pub(in crate::cluster) fn open_departed(
    shard: &mut Shard,
    max: usize,
    step: &mut Step<'_>,
) -> usize {
    let mut count = 0;
    while count < max
        && let Some(key) = shard.shadows.take_unopened()
    {
        // If it is open, this node has asked the others already.
        if !is_open(shard, &key) {
            shard.get_or_open(&key, step).is_backup = true;
            count += 1;
        }
    }
    count
}

/// Opens a channel for the clients that have waited long enough, although some nodes have not replied.
/// Returns whether they are to be asked again, since it is not known yet who has left with a node.
pub(in crate::cluster) fn open_overdue(
    shard: &mut Shard,
    key: &ChannelKey,
    step: &mut Step<'_>,
) -> bool {
    if !shard.shadows.has_departed(key) {
        shard.open(key, step);
        return false;
    }
    let cluster = shard.channels.get(key).and_then(|channel| channel.cluster.as_ref());
    if cluster.is_some_and(|cluster| cluster.has_pending()) {
        shard.open(key, step);
    }
    if let Some(channel) = shard.channels.get_mut(key) {
        channel.is_backup = true;
    }
    true
}

/// Reports who has left with nodes that have gone. The channel is open, so it is known who is elsewhere.
pub(in crate::cluster) fn report_departed(
    shard: &mut Shard,
    key: &ChannelKey,
    step: &mut Step<'_>,
) {
    for shadow in shard.shadows.take_departed(key) {
        let node = shadow.node;
        let subscribers = shadow.subscriptions() as usize;
        if let Some(departure) = shadow.departure {
            let before = Occupants { users: shadow.into_users(), subscribers };
            losses::report_absent(shard, key, node, departure, before, step);
        }
        stop_keeping(shard, key, step);
    }
}

/// Closes a channel that this node has only as a backup.
pub(in crate::cluster) fn stop_keeping(shard: &mut Shard, key: &ChannelKey, step: &mut Step<'_>) {
    if let Some(channel) = shard.channels.get_mut(key) {
        channel.is_backup = false;
    }
    shard.remove_if_empty(key, step);
}
