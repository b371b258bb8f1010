//! Saving and restoring the channels of a shard.

use std::io;

use clarim_cluster::Shadow;
use clarim_protocol::SocketId;
use clarim_protocol::user::{Member, UserId};

use super::Shard;
use crate::address::{ChannelKey, WorkerId};
use crate::directory::channel::Channel;
use crate::directory::clock::LogicalClock;
use crate::directory::counts::Recoveries;
use crate::directory::step::Step;
use crate::snapshot::{SavedChannel, SavedNode, SavedPending, SnapshotError};

/// Writes what the channels hold beside subscribers and users.
pub(crate) fn save(
    shard: &Shard,
    step: &Step<'_>,
    write: &mut dyn FnMut(SavedChannel) -> io::Result<()>,
) -> io::Result<()> {
    for (key, channel) in &shard.channels {
        let mut saved = channel.save(key, step.app(key));
        saved.is_uncounted = shard.uncounted.contains(key);
        saved.is_unannounced = shard.unannounced.contains(key);
        let closes_at = channel.cluster.as_ref().and_then(|cluster| cluster.closes_at);
        saved.closes_at = closes_at.map(Into::into);
        saved.shadows = shard.shadows.of(key).iter().map(Shadow::save).collect();
        if !saved.is_empty() {
            write(saved)?;
        }
    }
    for (key, shadow) in shard.shadows.iter().filter(|(key, _)| !shard.channels.contains_key(*key))
    {
        let mut saved = SavedChannel::new(step.app(key).id.clone(), key.name.to_string());
        saved.shadows.push(shadow.save());
        write(saved)?;
    }
    Ok(())
}

/// Adds what all shards share to a record.
pub(crate) fn save_counts(shard: &Shard, saved: &mut SavedNode) {
    saved.last_number = saved.last_number.max(shard.last_number);
}

/// Restores what all shards share. Counts of the whole node go to one of them.
pub(crate) fn restore_counts(shard: &mut Shard, saved: &SavedNode, is_first: bool) {
    if LogicalClock::is_credible(saved.last_number) {
        shard.last_number = saved.last_number;
    }
    if is_first {
        shard.recoveries += Recoveries::from(&saved.recoveries);
    }
}

/// Restores a channel, still without subscribers.
pub(crate) fn restore(
    shard: &mut Shard,
    key: ChannelKey,
    mut saved: SavedChannel,
    step: &Step<'_>,
) -> Result<(), SnapshotError> {
    let shadows = std::mem::take(&mut saved.shadows);
    for shadow in shadows.into_iter().filter(|_| step.is_clustered()) {
        shard.shadows.insert(key.clone(), Shadow::restored(shadow));
    }
    if saved.is_empty() {
        return Ok(());
    }
    if shard.channels.contains_key(&key) {
        return Err(SnapshotError::invalid(format!("channel {} comes twice", key.name)));
    }
    if saved.is_uncounted {
        shard.uncounted.insert(key.clone());
    }
    if saved.is_unannounced && step.is_clustered() {
        shard.unannounced.insert(key.clone());
    }
    let closes_at = saved.closes_at;
    let mut channel = Channel::restored(&key, saved, step)?;
    if let (Some(cluster), Some(due)) = (&mut channel.cluster, closes_at) {
        cluster.closes_at = Some(due.get());
        shard.idle.push_back((due.get(), key.clone()));
    }
    if let Some(loss) = &channel.loss {
        shard.losses.push_back((loss.until, key.clone()));
    }
    channel.due = channel.expiry();
    if let Some(due) = channel.due {
        shard.retention.restore(key.clone(), due, channel.retained_bytes(&key));
    }
    if let Some(presence) = &channel.presence {
        let holds = presence.holds().map(|(due, id)| (due, key.clone(), id.clone()));
        shard.held.extend(holds);
        shard.totals.members += presence.here().count();
    }
    shard.channels.insert(key, channel);
    Ok(())
}

/// Returns the channels on the bus, and whether each is open.
pub(crate) fn cluster_channels(shard: &Shard) -> impl Iterator<Item = (ChannelKey, bool)> {
    let channels = shard.channels.iter();
    channels.filter_map(|(key, channel)| Some((key.clone(), channel.cluster.as_ref()?.is_open())))
}

/// Returns a restored channel. One that held nothing begins with this.
pub(crate) fn channel<'s>(
    shard: &'s mut Shard,
    key: &ChannelKey,
    step: &Step<'_>,
) -> &'s mut Channel {
    shard.channels.entry(key.clone()).or_insert_with(|| Channel::restored_empty(key, true, step))
}

/// Returns a pending subscription of a connection.
pub(crate) fn save_pending(
    shard: &Shard,
    key: &ChannelKey,
    socket_id: SocketId,
) -> Option<SavedPending> {
    let waiting = shard.channels.get(key)?.cluster.as_ref()?.waiting();
    let pending = waiting.iter().find(|pending| pending.socket_id == socket_id)?;
    Some(SavedPending {
        channel: key.name.to_string(),
        member: pending.member.as_ref().map(Member::to_channel_data),
        since: pending.since.as_ref().map(Into::into),
        former: pending.former.to_vec(),
    })
}

/// Counts a restored subscription. `user`: the connection's user on a presence channel.
pub(crate) fn restore_subscription(
    shard: &mut Shard,
    key: &ChannelKey,
    worker: WorkerId,
    user: Option<&UserId>,
    step: &Step<'_>,
) -> Result<(), SnapshotError> {
    let channel = channel(shard, key, step);
    let is_first = channel.add(worker);
    let presence = channel.presence.as_mut();
    let is_member = user.map(|id| presence.and_then(|presence| presence.restore_connection(id)));
    shard.totals.subscriptions += 1;
    if is_first {
        *shard.totals.channels_mut(key.name.kind()) += 1;
    }
    match is_member {
        None => {}
        Some(Some(is_first_here)) => shard.totals.members += usize::from(is_first_here),
        Some(None) => {
            let message = format!("a subscriber of {} is not one of its members", key.name);
            return Err(SnapshotError::invalid(message));
        }
    }
    Ok(())
}

/// Puts the queues in order when everything is restored, and removes what nothing needs: its connections were
/// not restored.
pub(crate) fn finish(shard: &mut Shard, step: &mut Step<'_>) {
    shard.retention.sort();
    shard.held.make_contiguous().sort_by_key(|(due, ..)| *due);
    for queue in [&mut shard.idle, &mut shard.losses] {
        queue.make_contiguous().sort_by_key(|(due, _)| *due);
    }
    let mut unused = Vec::new();
    for (key, channel) in &mut shard.channels {
        let presence = channel.presence.as_mut();
        let absent: Vec<Member> = presence.map(|p| p.remove_absent()).unwrap_or_default();
        for member in absent {
            channel.notify_left(key, &member.id, step);
        }
        unused.extend(channel.is_empty().then(|| key.clone()));
    }
    for key in unused {
        shard.remove_if_empty(&key, step);
    }
}
