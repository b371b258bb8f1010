//! What comes from other nodes and external publishers, on its way to the directory.

use std::borrow::Cow;
use std::time::Duration;

use clarim_cluster::{
    ClusterMessage, ExternalEvent, Membership, NodeId, Received, Versions, decode,
};
use clarim_protocol::{ChannelName, Frame, server};
use serde_json::value::RawValue;

use super::channel_sync::{self, Gone, backups};
use super::flights::{OwnChange, OwnEvent};
use crate::address::ChannelKey;
use crate::directory::{Keep, Publication, backup};
use crate::node::{Node, SHARDS};
use crate::outputs::{DeliveryAck, DeliveryAcks, OutputSink};

/// Applies a message of another node. `ack` is held until a traced event is delivered. Returns whether it
/// leaves nothing to wait for.
pub(super) fn apply<S: OutputSink>(
    node: &Node<S>,
    channel: &ChannelKey,
    from: NodeId,
    message: &ClusterMessage<'_>,
    ack: Option<&DeliveryAck>,
    now: Duration,
) -> bool {
    if let &ClusterMessage::Event { payload, except, kept, .. } = message {
        let frame = &Frame::text(payload);
        let keep = kept.map_or(Keep::No, Keep::Numbered);
        let acks = DeliveryAcks { here: ack, bus: None };
        let except = except.map(Into::into);
        let publication =
            Publication { channel, frame, except, acks, keep, key: None, place: None };
        node.step(channel, now, |shard, step| {
            // The channel may have been closed a moment ago.
            if shard.has(channel) {
                shard.deliver(publication, step);
            }
        });
        return true;
    }
    node.step(channel, now, |shard, step| channel_sync::apply(shard, channel, from, message, step))
}

/// Delivers events of this node's own to its subscribers here.
pub(super) fn deliver_own<S: OutputSink>(
    node: &Node<S>,
    events: impl IntoIterator<Item = OwnEvent>,
    now: Duration,
) {
    for OwnEvent { channel, frame, except, kept, ack } in events {
        let keep = kept.map_or(Keep::No, Keep::Numbered);
        let acks = DeliveryAcks { here: ack.as_ref(), bus: None };
        let frame = &frame;
        let publication =
            Publication { channel: &channel, frame, except, acks, keep, key: None, place: None };
        node.step(&channel, now, |shard, step| shard.deliver(publication, step));
    }
}

/// Applies changes of this node's own that the bus has returned or will not return.
pub(super) fn apply_own<S: OutputSink>(
    node: &Node<S>,
    changes: impl IntoIterator<Item = OwnChange>,
    now: Duration,
) {
    for OwnChange { channel, message } in changes {
        let Ok(Received { message: Some(message), .. }) = decode(&message) else { continue };
        if let ClusterMessage::StateChange { change, .. } = &message {
            node.step(&channel, now, |shard, step| {
                channel_sync::apply_own_change(shard, &channel, change, step);
            });
        }
    }
}

/// Delivers an event of an external publisher. Returns whether it was valid.
pub(super) fn deliver_external<S: OutputSink>(
    node: &Node<S>,
    channel: &ChannelKey,
    event: &ExternalEvent<'_>,
    now: Duration,
) -> bool {
    let Some(frame) = check(node, channel, event) else { return false };
    let except = event.except.map(Into::into);
    let acks = DeliveryAcks::default();
    let frame = &frame;
    let keep = Keep::No;
    let publication = Publication { channel, frame, except, acks, keep, key: None, place: None };
    node.step(channel, now, |shard, step| shard.deliver(publication, step));
    true
}

/// Publishes an event of an external publisher on all nodes. Returns whether it was valid.
pub(super) fn relay<S: OutputSink>(
    node: &Node<S>,
    app: &str,
    channel: &str,
    event: &ExternalEvent<'_>,
    now: Duration,
) -> bool {
    let Some(channel) = find_channel(node, app, channel) else { return false };
    let Some(frame) = check(node, &channel, event) else { return false };
    node.publish(&channel, &frame, event.except.map(Into::into), DeliveryAcks::default(), now);
    true
}

/// Keeps a channel as a backup for another node. Returns whether the channel is valid.
pub(super) fn begin_backup<S: OutputSink>(
    node: &Node<S>,
    app: &str,
    channel: &str,
    now: Duration,
) -> bool {
    let Some(channel) = find_channel(node, app, channel) else { return false };
    node.step(&channel, now, |shard, step| backup::start(shard, &channel, step));
    true
}

/// Applies a message of a node for which this one is a backup. Returns whether it is valid.
pub(super) fn back_up<S: OutputSink>(
    node: &Node<S>,
    from: NodeId,
    app: &str,
    channel: &str,
    message: &[u8],
    now: Duration,
) -> bool {
    let Some(channel) = find_channel(node, app, channel) else { return false };
    let Ok(Received { message: Some(message), .. }) = decode(message) else { return false };
    node.step(&channel, now, |shard, step| {
        backups::apply(shard, &channel, from, &message, step);
    });
    true
}

/// Forgets what this node knows of another one as its backup.
pub(super) fn end_backups<S: OutputSink>(node: &Node<S>, of: NodeId, now: Duration) {
    for shard in 0..SHARDS {
        node.step_in(shard, now, |shard, _| shard.shadows.remove_node(of));
    }
}

/// Requests the states of the other nodes on a channel. Returns whether nodes synchronize its state at all.
pub(super) fn request_states<S: OutputSink>(
    node: &Node<S>,
    channel: &ChannelKey,
    now: Duration,
) -> bool {
    let is_shared = channel_sync::is_shared(channel, node.app(channel.app));
    if is_shared {
        node.step(channel, now, |shard, step| {
            channel_sync::publish_state(shard, channel, true, step);
        });
    }
    is_shared
}

/// Removes a node that has gone, and everything it had.
pub(super) fn remove_peer<S: OutputSink>(node: &Node<S>, gone: Gone, now: Duration) {
    for shard in 0..SHARDS {
        node.step_in(shard, now, |shard, step| {
            channel_sync::remove_peer(shard, gone, step);
        });
    }
}

/// Compares the versions of another node's states with what is known here.
pub(super) fn compare_versions<S: OutputSink>(
    node: &Node<S>,
    app: &str,
    from: NodeId,
    channels: &[(&str, u64)],
    now: Duration,
) {
    for (channel, version) in channels {
        let Some(channel) = find_channel(node, app, channel) else { continue };
        node.step(&channel, now, |shard, step| {
            channel_sync::compare_version(shard, &channel, from, *version, step);
        });
    }
}

pub(super) fn find_channel<S: OutputSink>(
    node: &Node<S>,
    app: &str,
    channel: &str,
) -> Option<ChannelKey> {
    let app = node.apps().find_by_id(app)?;
    let name = ChannelName::parse(channel, node.app(app).limits.channel_name_bytes).ok()?;
    Some(ChannelKey { app, name })
}

/// Returns the frame of an external event, if its names and sizes are within the limits.
fn check<S: OutputSink>(
    node: &Node<S>,
    channel: &ChannelKey,
    event: &ExternalEvent<'_>,
) -> Option<Frame> {
    let limits = &node.app(channel.app).limits;
    let text: Cow<'_, str> = serde_json::from_str(event.data).ok()?;
    let fits = !event.name.is_empty()
        && event.name.len() <= limits.event_name_bytes
        && text.len() <= limits.event_data_bytes;
    let data: &RawValue = serde_json::from_str(event.data).ok()?;
    fits.then(|| server::event(event.name, &channel.name, data))
}

/// Records the versions that another node speaks. Logs if it and this node have none in common.
pub(super) fn check_versions(
    members: &mut Membership,
    node: NodeId,
    versions: Versions,
    own: Versions,
) {
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
