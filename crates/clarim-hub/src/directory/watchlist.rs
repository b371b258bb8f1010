//! Signing in and out, and watching users. A user's entry is that of the user's own channel.

use clarim_cluster::Change;
use clarim_protocol::SocketId;

use super::shard::{Shard, saved};
use super::step::Step;
use crate::address::{ChannelKey, ConnectionAddr};

/// Adds a connection that has signed in as the user.
pub(crate) fn sign_in(shard: &mut Shard, user: &ChannelKey, step: &mut Step<'_>) {
    let channel = shard.get_or_open(user, step);
    let was_online = channel.is_online();
    if channel.user.get_or_insert_default().sign_in() {
        channel.publish_change(user, Change::Online(true), step);
    }
    channel.notify_watchers(user, was_online, step);
}

/// Counts a restored connection that has signed in as the user.
pub(crate) fn restore_sign_in(shard: &mut Shard, user: &ChannelKey, step: &Step<'_>) {
    saved::channel(shard, user, step).user.get_or_insert_default().sign_in();
}

/// Adds a watcher that is a restored connection.
pub(crate) fn restore_watcher(
    shard: &mut Shard,
    user: &ChannelKey,
    watcher: SocketId,
    addr: ConnectionAddr,
    step: &Step<'_>,
) {
    saved::channel(shard, user, step).user.get_or_insert_default().watch(watcher, addr);
}

/// Undoes one `sign_in`.
pub(crate) fn sign_out(shard: &mut Shard, user: &ChannelKey, step: &mut Step<'_>) {
    let Some(channel) = shard.channels.get_mut(user) else { return };
    let was_online = channel.is_online();
    if channel.user.as_mut().is_some_and(|user| user.sign_out()) {
        channel.publish_change(user, Change::Online(false), step);
    }
    channel.notify_watchers(user, was_online, step);
    remove_if_empty(shard, user, step);
}

/// Adds a watcher, which is notified when the user goes online or offline. Returns whether the user is online
/// now.
pub(crate) fn watch(
    shard: &mut Shard,
    user: &ChannelKey,
    watcher: SocketId,
    addr: ConnectionAddr,
    step: &mut Step<'_>,
) -> bool {
    let channel = shard.get_or_open(user, step);
    channel.user.get_or_insert_default().watch(watcher, addr);
    channel.is_online()
}

/// Removes a watcher.
pub(crate) fn unwatch(
    shard: &mut Shard,
    user: &ChannelKey,
    watcher: SocketId,
    step: &mut Step<'_>,
) {
    if let Some(entry) = shard.channels.get_mut(user).and_then(|channel| channel.user.as_mut()) {
        entry.unwatch(watcher);
        remove_if_empty(shard, user, step);
    }
}

fn remove_if_empty(shard: &mut Shard, user: &ChannelKey, step: &mut Step<'_>) {
    if let Some(channel) = shard.channels.get_mut(user)
        && channel.user.as_ref().is_some_and(|user| user.is_empty())
    {
        channel.user = None;
        shard.remove_if_empty(user, step);
    }
}
