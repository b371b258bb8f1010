//! Channels that this node is subscribed to as a backup of another node, which has subscribers: see
//! [`BackupSubscribe`](clarim_cluster::ClusterMessage::BackupSubscribe).

use crate::address::ChannelKey;
use crate::directory::channel::ClusterChannel;
use crate::directory::shard::Shard;
use crate::directory::step::Step;

/// Keeps a channel while another node has subscribers.
pub(crate) fn start(shard: &mut Shard, key: &ChannelKey, step: &mut Step<'_>) {
    shard.get_or_open(key, step).is_backup = true;
    stop_if_over(shard, key, step);
}

/// Stops if no other node has subscribers any more. While the channel is being opened, that is not known.
pub(crate) fn stop_if_over(shard: &mut Shard, key: &ChannelKey, step: &mut Step<'_>) {
    let Some(channel) = shard.channels.get_mut(key).filter(|channel| channel.is_backup) else {
        return;
    };
    let is_over =
        |cluster: &ClusterChannel| cluster.is_open() && cluster.subscriptions_elsewhere() == 0;
    if channel.cluster.as_ref().is_none_or(|cluster| is_over(cluster)) {
        channel.is_backup = false;
        shard.remove_if_empty(key, step);
    }
}
