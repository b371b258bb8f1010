//! Channel synchronization: applies what other nodes publish about a channel, and publishes what this node
//! has.
//!
//! Everything here runs under the lock of the channel's shard, so local and remote changes have one order.

pub(super) mod backups;
mod digests;
mod losses;

use std::ops::Range;
use std::time::Duration;

use clarim_cluster::timing::MIGRATION_WINDOW;
use clarim_cluster::{Assembled, Change, ClusterMessage, NodeId, State};
use clarim_protocol::Frame;
use clarim_protocol::user::Member;

use crate::address::ChannelKey;
use crate::app::App;
use crate::directory::{Channel, Shard, Step, backup};
use crate::outputs::{ChannelEvent, Migration, Occupant, Output};
pub(super) use digests::Digests;
pub(super) use losses::Gone;
use losses::{Occupants, report_left, report_loss, report_return, settle_loss};

/// Whether nodes synchronize the channel's state, and do not only exchange its events.
pub(in crate::cluster) fn is_shared(key: &ChannelKey, app: &App) -> bool {
    key.name.kind().is_synchronized()
        || key.name.is_cache()
        || app.subscription_count
        || app.hooks.occupancy
}

/// Applies a message of another node, except for events. Returns whether it leaves nothing to wait for: a
/// part of a state is followed by others, and a state with a lost part is requested again.
pub(in crate::cluster) fn apply(
    shard: &mut Shard,
    key: &ChannelKey,
    from: NodeId,
    message: &ClusterMessage<'_>,
    step: &mut Step<'_>,
) -> bool {
    let Some(channel) = shard.channels.get_mut(key) else { return true };
    if matches!(
        message,
        ClusterMessage::SyncRequest(_)
            | ClusterMessage::State(_)
            | ClusterMessage::StateChange { .. }
    ) {
        // Before the answer: of this node's death, only one other node reports.
        channel.end_backup(key, step);
    }
    match message {
        ClusterMessage::SyncRequest(state) => {
            let is_whole = apply_state(shard, key, from, state, step);
            if let Some(channel) = shard.channels.get_mut(key) {
                if let Some(cluster) = &mut channel.cluster {
                    cluster.requested_by(from);
                }
                channel.publish_state(key, false, step);
            }
            return is_whole;
        }
        ClusterMessage::State(state) => return apply_state(shard, key, from, state, step),
        ClusterMessage::StateChange { number, change } => {
            apply_change(shard, key, from, *number, change, step);
        }
        ClusterMessage::VersionDigest(number) => {
            compare_version(shard, key, from, *number, step);
        }
        ClusterMessage::StateRequest(node) if step.config.bus.id() == Some(*node) => {
            channel.publish_state(key, false, step);
        }
        ClusterMessage::LeaveSuppressed { user, to } => {
            let hooks = step.app(key).hooks;
            let is_wanted = if user.is_some() { hooks.members } else { hooks.occupancy };
            if is_wanted && (to.is_none() || *to == step.config.bus.id()) {
                let occupant = Occupant { channel: key.clone(), user: user.map(Into::into) };
                step.outputs.push(Output::Migration(Migration::Here(occupant)));
            }
        }
        ClusterMessage::ChannelClosed => remove_peer_on(shard, key, from, step),
        _ => {}
    }
    true
}

/// Applies a change of this node's own, when the bus has returned it.
///
/// All nodes receive the messages on a channel in one order. So this is the moment to decide which node
/// reports to the backend: the one whose user joined when no other node had the user, or left when no other
/// node had the user any more.
pub(in crate::cluster) fn apply_own_change(
    shard: &mut Shard,
    key: &ChannelKey,
    change: &Change<'_>,
    step: &mut Step<'_>,
) {
    let Some(channel) = shard.channels.get_mut(key) else { return };
    settle_loss(channel, change);
    let hooks = step.app(key).hooks;
    let is_elsewhere =
        |id: &str| channel.presence.as_ref().is_some_and(|presence| presence.is_elsewhere(id));
    match change {
        Change::Joined(data) if hooks.members => {
            if let Ok(member) = Member::parse(data)
                && !is_elsewhere(member.id.as_str())
            {
                step.report(ChannelEvent::MemberAdded(key.clone(), member.id.as_str().into()));
            }
        }
        Change::Left(id) if hooks.members && !is_elsewhere(id) => {
            report_left(channel, ChannelEvent::MemberRemoved(key.clone(), (*id).into()), step);
        }
        Change::Subscriptions(count) => {
            let Some(cluster) = &mut channel.cluster else { return };
            let before = std::mem::replace(&mut cluster.confirmed, *count);
            if hooks.occupancy && cluster.subscriptions_elsewhere() == 0 {
                match (before, count) {
                    (0, 1..) => step.report(ChannelEvent::Occupied(key.clone())),
                    (1.., 0) => report_left(channel, ChannelEvent::Vacated(key.clone()), step),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Publishes what this node has on each of the shard's channels. `is_request`: the other nodes answer with
/// theirs.
pub(in crate::cluster) fn publish_all(shard: &mut Shard, is_request: bool, step: &mut Step<'_>) {
    for (key, channel) in &mut shard.channels {
        let is_open = channel.cluster.as_ref().is_some_and(|cluster| cluster.is_open());
        if is_open && is_shared(key, step.app(key)) {
            channel.publish_state(key, is_request, step);
            channel.request_backup(key, step);
        }
    }
    if is_request {
        backups::request_states(shard, step);
    }
}

/// Requests the state of a node if a change was missed.
pub(in crate::cluster) fn compare_version(
    shard: &mut Shard,
    key: &ChannelKey,
    from: NodeId,
    version: u64,
    step: &mut Step<'_>,
) {
    let Some(channel) = shard.channels.get_mut(key) else {
        return backups::compare_version(shard, key, from, version, step);
    };
    channel.end_backup(key, step);
    let cluster = channel.cluster.as_mut();
    if let Some(request) = cluster.and_then(|cluster| cluster.compare(from, version, step.now)) {
        step.publish_sync(key, &request);
    }
}

/// How the versions of states are published.
#[derive(Debug)]
pub(in crate::cluster) struct Round<'d> {
    /// Nodes that have been silent on a channel since then have closed it.
    pub(in crate::cluster) since: Duration,
    /// Collects the versions for nodes that are known on a channel.
    pub(in crate::cluster) digests: &'d mut Digests,
    /// Whether versions are published on the channels all the same.
    pub(in crate::cluster) is_open: bool,
    /// Whether all nodes understand [`ClusterMessage::Backup`].
    pub(in crate::cluster) has_shadows: bool,
}

/// Publishes the versions of this node's states, so that other nodes notice missed changes, or adds them to
/// digests where the other nodes are known. Removes nodes that have closed a channel.
pub(in crate::cluster) fn refresh(shard: &mut Shard, round: Round<'_>, step: &mut Step<'_>) {
    let Round { since, digests, is_open, has_shadows } = round;
    shard.shadows.remove_silent(since);
    let mut silent: Vec<(ChannelKey, NodeId)> = Vec::new();
    let mut kept: Vec<ChannelKey> = Vec::new();
    for (key, channel) in &shard.channels {
        let cluster = channel.cluster.as_ref().filter(|cluster| cluster.is_open());
        let Some(cluster) = cluster.filter(|_| is_shared(key, step.app(key))) else { continue };
        let version = cluster.version();
        if is_open || (cluster.is_alone() && cluster.backup.is_none()) {
            step.publish_sync(key, &ClusterMessage::VersionDigest(version));
        } else {
            cluster.peers().for_each(|peer| digests.add(peer, key, version));
        }
        cluster.backup.iter().for_each(|backup| digests.add(*backup, key, version));
        silent.extend(cluster.silent_since(since).map(|node| (key.clone(), node)));
        let is_needless = channel.is_backup && has_shadows && !shard.shadows.has_departed(key);
        kept.extend(is_needless.then(|| key.clone()));
    }
    // The other node then chooses a backup that is not subscribed.
    for key in kept {
        backups::stop_keeping(shard, &key, step);
    }
    for (key, node) in silent {
        remove_peer_on(shard, &key, node, step);
    }
}

/// Removes a node that has gone, and everything it had.
pub(in crate::cluster) fn remove_peer(shard: &mut Shard, gone: Gone, step: &mut Step<'_>) {
    let Gone { node, departure, .. } = gone;
    backups::remove_peer(shard, node, departure, step);
    let has_peer =
        |channel: &Channel| channel.cluster.as_ref().is_some_and(|cluster| cluster.has_peer(node));
    let channels = shard.channels.iter().filter(|(_, channel)| has_peer(channel));
    let keys: Vec<ChannelKey> = channels.map(|(key, _)| key.clone()).collect();
    for key in keys {
        let before = Occupants::of(shard, &key);
        remove_peer_on(shard, &key, node, step);
        report_loss(shard, &key, gone, before, step);
    }
}

fn remove_peer_on(shard: &mut Shard, key: &ChannelKey, node: NodeId, step: &mut Step<'_>) {
    replace_state(shard, key, node, &State::default(), &[], step);
    let Some(channel) = shard.channels.get_mut(key) else { return };
    if let Some(cluster) = &mut channel.cluster {
        cluster.remove_peer(node);
    }
    channel.request_backup(key, step);
    backup::stop_if_over(shard, key, step);
}

/// Applies a state, or a part of it. Returns whether the node's whole state is known now.
fn apply_state(
    shard: &mut Shard,
    key: &ChannelKey,
    from: NodeId,
    state: &State<'_>,
    step: &mut Step<'_>,
) -> bool {
    if let Some((number, payload)) = state.cached
        && key.name.is_cache()
    {
        shard.recorder().remember(key, &Frame::text(payload), number, step);
        shard.make_room(key, step);
    }
    let cluster = shard.channels.get_mut(key).and_then(|channel| channel.cluster.as_mut());
    let Some(cluster) = cluster else { return true };
    let peer = cluster.heard(from, step.now);
    if peer.number == Some(state.number) {
        peer.parts.clear();
        return true;
    }
    match peer.parts.add(state) {
        Assembled::Whole(members) => {
            replace_state(shard, key, from, state, &members, step);
            true
        }
        Assembled::Partial => false,
        Assembled::Broken => {
            if let Some(request) = cluster.request_state(from, step.now) {
                step.publish_sync(key, &request);
            }
            false
        }
    }
}

/// Replaces all that is known of a node on the channel.
fn replace_state(
    shard: &mut Shard,
    key: &ChannelKey,
    from: NodeId,
    state: &State<'_>,
    members: &[Member],
    step: &mut Step<'_>,
) {
    let Some(channel) = shard.channels.get_mut(key) else { return };
    // Before everything else: a migration must not suppress what is reported here.
    report_return(channel, key, from, state, members, step);
    let left = channel.presence.as_ref().map(|there| there.missing_elsewhere(from, members));
    for id in left.into_iter().flatten() {
        member_left_elsewhere(channel, key, from, &id, step);
    }
    for member in members {
        member_joined_elsewhere(channel, key, from, member, step);
    }
    let was_online = channel.is_online();
    let Some(cluster) = &mut channel.cluster else { return };
    let peer = cluster.heard(from, step.now);
    peer.number = Some(state.number);
    peer.online = state.online;
    let before = std::mem::replace(&mut peer.subscriptions, state.subscriptions);
    channel.notify_watchers(key, was_online, step);
    if before != state.subscriptions {
        count_changed_elsewhere(shard, key, from, before..state.subscriptions, step);
    }
    shard.end_loss_of(key, from, step);
}

fn apply_change(
    shard: &mut Shard,
    key: &ChannelKey,
    from: NodeId,
    number: u64,
    change: &Change<'_>,
    step: &mut Step<'_>,
) {
    let Some(channel) = shard.channels.get_mut(key) else { return };
    settle_loss(channel, change);
    let was_online = channel.is_online();
    let Some(cluster) = &mut channel.cluster else { return };
    let is_open = cluster.is_open();
    let peer = cluster.heard(from, step.now);
    match peer.number {
        Some(known) if known.wrapping_add(1) == number => peer.number = Some(number),
        Some(known) if known >= number => return,
        // The whole state follows while the channel is being opened.
        _ if !is_open => return,
        _ => {
            if let Some(request) = cluster.request_state(from, step.now) {
                step.publish_sync(key, &request);
            }
            return;
        }
    }
    match change {
        Change::Joined(data) => {
            if let Ok(member) = Member::parse(data) {
                member_joined_elsewhere(channel, key, from, &member, step);
            }
        }
        Change::Left(id) => member_left_elsewhere(channel, key, from, id, step),
        Change::Online(online) => {
            peer.online = *online;
            channel.notify_watchers(key, was_online, step);
        }
        Change::Subscriptions(count) => {
            let before = std::mem::replace(&mut peer.subscriptions, *count);
            count_changed_elsewhere(shard, key, from, before..*count, step);
        }
    }
}

/// Reacts to a changed number of subscribers on another node.
fn count_changed_elsewhere(
    shard: &mut Shard,
    key: &ChannelKey,
    node: NodeId,
    counts: Range<u32>,
    step: &mut Step<'_>,
) {
    if counts.start == 0
        && counts.end > 0
        && step.app(key).hooks.occupancy
        && let Some(channel) = shard.channels.get(key)
    {
        report_migration(channel, key, None, node, step);
    }
    shard.count_changed(key, step);
    backup::stop_if_over(shard, key, step);
}

fn member_joined_elsewhere(
    channel: &mut Channel,
    key: &ChannelKey,
    node: NodeId,
    member: &Member,
    step: &mut Step<'_>,
) {
    if !key.name.is_presence() {
        return;
    }
    let presence = channel.presence.get_or_insert_default();
    let arrival = presence.joined_elsewhere(node, member.clone());
    if arrival.first {
        channel.notify_joined(key, member, step);
    }
    // The user may be back here already: that join is not reported, as the user is elsewhere now.
    if arrival.first_elsewhere && step.app(key).hooks.members {
        report_migration(channel, key, Some(member.id.as_str()), node, step);
    }
}

fn member_left_elsewhere(
    channel: &mut Channel,
    key: &ChannelKey,
    node: NodeId,
    id: &str,
    step: &mut Step<'_>,
) {
    let gone = channel.presence.as_mut().and_then(|there| there.left_elsewhere(node, id));
    if let Some(member) = gone {
        channel.notify_left(key, &member.id, step);
    }
}

/// Reports that a user, or the channel's first subscriber, has joined another node and may have left this one
/// a moment ago.
fn report_migration(
    channel: &Channel,
    key: &ChannelKey,
    user: Option<&str>,
    to: NodeId,
    step: &mut Step<'_>,
) {
    let left_at = channel.cluster.as_ref().and_then(|cluster| cluster.left_at);
    if left_at.is_some_and(|at| step.now < at + MIGRATION_WINDOW) {
        let occupant = Occupant { channel: key.clone(), user: user.map(Into::into) };
        step.outputs.push(Output::Migration(Migration::Away { occupant, to }));
    }
}
