//! A part of the node's channels.
//!
//! Each method is one step under the shard's lock: it changes the state and collects the outputs.

pub(crate) mod backup;
pub(crate) mod saved;

use std::collections::VecDeque;
use std::time::Duration;

use clarim_cluster::timing::LINGER;
use clarim_cluster::{ClusterMessage, NodeId};
use clarim_protocol::user::{Member, UserId};
use clarim_protocol::{SocketId, server};
use hashbrown::HashSet;

use crate::address::ChannelKey;
use crate::directory::channel::{
    Channel, ChannelState, Channels, PendingSubscription, get_or_open,
};
use crate::directory::counts::{Recoveries, Totals};
use crate::directory::kept::Retention;
use crate::directory::loss::Loss;
use crate::directory::presence::PresenceFull;
use crate::directory::recording::{self, Recorder};
use crate::directory::requests::{Join, Joining, Keep, Leave, Publication};
use crate::directory::shadows::Shadows;
use crate::directory::step::Step;
use crate::outputs::{BusCommand, Replayed, WorkerMessage};

/// Channels with more subscribers than this send `subscription_count` only now and then.
const COUNT_AT_ONCE: usize = 100;

/// Maximum number of channels that lose events in one step.
const MAX_EVICTIONS: usize = 1000;

/// A shard of the directory.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) channels: Channels,
    retention: Retention,
    /// Members whose connection has broken, and when they leave.
    held: VecDeque<(Duration, ChannelKey, UserId)>,
    /// Channels whose `subscription_count` is still to be sent.
    uncounted: HashSet<ChannelKey, foldhash::fast::RandomState>,
    /// Channels whose number of subscribers is still to be published to the other nodes.
    unannounced: HashSet<ChannelKey, foldhash::fast::RandomState>,
    /// Unused channels and when they are closed.
    idle: VecDeque<(Duration, ChannelKey)>,
    /// Channels with a [`Loss`], and when it is forgotten.
    losses: VecDeque<(Duration, ChannelKey)>,
    /// The states of other nodes for which this one is a backup.
    pub(crate) shadows: Shadows,
    totals: Totals,
    /// The number of the last event that was to be cached.
    last_number: u64,
    recoveries: Recoveries,
}

impl Shard {
    /// Subscribes a connection, at once or when the channel has been opened.
    pub(crate) fn join(
        &mut self,
        join: &Join<'_>,
        step: &mut Step<'_>,
    ) -> Result<Joining, PresenceFull> {
        let channel = self.get_or_open(join.channel, step);
        if let Some(cluster) = &mut channel.cluster {
            cluster.closes_at = None;
            if let Some(pending) = cluster.pending() {
                pending.push(PendingSubscription::new(join));
                return Ok(Joining::Pending);
            }
        }
        self.join_open(join, step)?;
        Ok(Joining::Done)
    }

    fn join_open(&mut self, join: &Join<'_>, step: &mut Step<'_>) -> Result<(), PresenceFull> {
        let &Join { addr, socket_id, channel: key, member, .. } = join;
        if let Some(member) = member {
            self.join_presence(key, member, step)?;
        }
        let recovery = self.recorder().recover(join, step);
        let Some(channel) = self.channels.get_mut(key) else { return Ok(()) };
        let start = recovery.as_ref().and_then(|recovery| recovery.start.as_ref());
        let succeeded = match &channel.presence {
            Some(presence) if member.is_some() => presence.succeeded(&key.name, start),
            _ => server::subscription_succeeded(&key.name, start),
        };
        let positions = start.map(|start| start.position).zip(channel.position());
        let replayed = positions.map(|(from, to)| Box::new(Replayed { from, to }));
        let has_past = start.is_some_and(|start| start.recovered || start.missed > 0);
        let mut past = recovery.map(|recovery| recovery.frames).unwrap_or_default();
        if key.name.is_cache() && !has_past {
            past.push(channel.cached_or_miss(key, step));
        }
        let before = channel.count_here();
        if channel.add(addr.worker) {
            channel.request_backup(key, step);
            *self.totals.channels_mut(key.name.kind()) += 1;
        }
        self.totals.subscriptions += 1;
        let joined = WorkerMessage::Joined {
            connection: addr.connection,
            socket_id,
            channel: key.clone(),
            member: member.map(|member| Box::new(member.id.clone())),
            succeeded,
            past,
            replayed,
        };
        step.send(addr.worker, joined);
        channel.report_occupancy(key, before, step);
        self.count_changed(key, step);
        Ok(())
    }

    /// Adds a member.
    fn join_presence(
        &mut self,
        key: &ChannelKey,
        member: &Member,
        step: &mut Step<'_>,
    ) -> Result<(), PresenceFull> {
        let channel = self.get_or_open(key, step);
        let presence = channel.presence.get_or_insert_default();
        let arrival = match presence.join(member, step.app(key).limits.presence_members) {
            Ok(arrival) => arrival,
            Err(full) => {
                self.remove_if_empty(key, step);
                return Err(full);
            }
        };
        if arrival.first {
            // The new member isn't subscribed yet, so this reaches only the others.
            channel.notify_joined(key, member, step);
        }
        if arrival.first_here {
            channel.publish_joined(key, member, step);
            self.totals.members += 1;
        }
        Ok(())
    }

    /// Opens the channel: makes the subscriptions that have waited for it.
    pub(crate) fn open(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        let Some(cluster) = &mut channel.cluster else { return };
        let pending = cluster.open();
        if cluster.has_unanswered() {
            channel.publish_state(key, false, step);
        }
        for PendingSubscription { addr, socket_id, member, since, former } in pending {
            let member = member.as_ref();
            let since = since.as_ref();
            let join = Join { addr, socket_id, channel: key, member, since, former: &former };
            if let Err(full) = self.join_open(&join, step) {
                let full = WorkerMessage::Full {
                    connection: addr.connection,
                    socket_id,
                    channel: key.clone(),
                    max: full.max,
                };
                step.send(addr.worker, full);
            }
        }
        backup::stop_if_over(self, key, step);
        self.remove_if_empty(key, step);
    }

    /// Cancels a pending subscription. Returns `false` if it is no longer pending: it has just been decided.
    pub(crate) fn cancel_pending(
        &mut self,
        key: &ChannelKey,
        socket_id: SocketId,
        step: &mut Step<'_>,
    ) -> bool {
        let cluster = self.channels.get_mut(key).and_then(|channel| channel.cluster.as_mut());
        let Some(pending) = cluster.and_then(|cluster| cluster.pending()) else { return false };
        let Some(at) = pending.iter().position(|pending| pending.socket_id == socket_id) else {
            return false;
        };
        pending.swap_remove(at);
        self.remove_if_empty(key, step);
        true
    }

    /// Undoes one `join`.
    pub(crate) fn leave(&mut self, leave: &Leave<'_>, step: &mut Step<'_>) {
        let &Leave { worker, channel: key, member, is_abrupt } = leave;
        let Some(channel) = self.channels.get_mut(key) else { return };
        let before = channel.count_here();
        if !channel.remove(worker) {
            return;
        }
        let is_vacated = channel.subscribers.is_empty();
        self.totals.subscriptions -= 1;
        if is_vacated {
            *self.totals.channels_mut(key.name.kind()) -= 1;
        }
        if let (Some(presence), Some(id)) = (&mut channel.presence, member) {
            let rule = step.app(key).history_of(&key.name).filter(|_| is_abrupt);
            match rule.map(|rule| rule.presence_grace).filter(|grace| !grace.is_zero()) {
                Some(grace) => {
                    let due = step.now + grace;
                    presence.hold(id, due);
                    let place = self.held.partition_point(|(other, ..)| *other <= due);
                    self.held.insert(place, (due, key.clone(), id.clone()));
                }
                None => {
                    let leaving = presence.leave(id);
                    self.totals.members -= usize::from(leaving.last_here);
                    channel.end_membership(key, id, leaving, step);
                }
            }
        }
        channel.report_occupancy(key, before, step);
        if is_vacated {
            self.recorder().left(key, step.now);
        }
        self.count_changed(key, step);
        self.remove_if_empty(key, step);
    }

    /// Ends the membership of a user whose connection has broken, unless the user is back.
    fn end_hold(&mut self, key: &ChannelKey, id: &UserId, due: Duration, step: &mut Step<'_>) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        let presence = channel.presence.as_mut();
        let Some(leaving) = presence.and_then(|presence| presence.end_hold(id, due)) else {
            return;
        };
        self.totals.members -= usize::from(leaving.last_here);
        channel.end_membership(key, id, leaving, step);
        self.remove_if_empty(key, step);
    }

    /// Publishes an event of this node to the channel's subscribers, on this node and the others. If it goes
    /// over the bus, all nodes deliver it in the order of the bus, this one too.
    pub(crate) fn publish(&mut self, publication: Publication<'_>, step: &mut Step<'_>) {
        let Publication { channel: key, frame, except, acks, keep, key: once, .. } = publication;
        let is_kept = keep != Keep::No && key.name.is_cache();
        let kept = is_kept.then(|| self.recorder().next_number(key, step));
        let is_recorded = step.has_logs() && recording::rule_of(key, keep, step).is_some();
        if step.is_clustered() || is_recorded {
            // In a cluster, it is open.
            if !step.is_clustered()
                && let Some(channel) = self.channels.get_mut(key)
            {
                channel.open_on_bus(key, step);
            }
            let channel = key.clone();
            let frame = frame.clone();
            let [ack, here] = [acks.bus.cloned(), acks.here.cloned()];
            return step.bus(BusCommand::Event {
                channel,
                frame,
                except,
                kept,
                is_recorded,
                key: once.cloned(),
                ack,
                here,
            });
        }
        let keep = kept.map_or(keep, Keep::Numbered);
        self.deliver(Publication { keep, ..publication }, step);
    }

    /// Delivers an event to the channel's subscribers on this node.
    pub(crate) fn deliver(&mut self, publication: Publication<'_>, step: &mut Step<'_>) {
        let Publication { channel: key, except, acks, keep, .. } = publication;
        let frame = &self.recorder().append(&publication, step);
        let has_offset = frame.bytes().as_ptr() != publication.frame.bytes().as_ptr();
        let is_cached = matches!(keep, Keep::Numbered(_)) && key.name.is_cache();
        if let Keep::Numbered(number) = keep
            && is_cached
        {
            // Without an offset: a new subscriber starts behind it.
            let cached = if has_offset { step.shared(publication.frame) } else { frame.clone() };
            self.recorder().remember(key, &cached, number, step);
        }
        if has_offset || is_cached {
            self.make_room(key, step);
        }
        let Some(mut channel) = self.channels.get(key) else { return };
        if channel.history.is_some() && step.app(key).history_of(&key.name).is_none() {
            // It lacks this event, so a later rule begins another one.
            self.recorder().end(key);
            self.remove_if_empty(key, step);
            let Some(rest) = self.channels.get(key) else { return };
            channel = rest;
        }
        let position = channel.position();
        for (worker, _) in &channel.subscribers {
            let message = WorkerMessage::Deliver {
                channel: key.clone(),
                frame: frame.clone(),
                except,
                position,
                ack: acks.here.cloned(),
            };
            step.send(*worker, message);
        }
    }

    /// Drops events while an app has too many.
    pub(crate) fn make_room(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        for _ in 0..MAX_EVICTIONS {
            let Some(key) = self.recorder().drop_excess(key.app) else { return };
            self.remove_if_empty(&key, step);
        }
    }

    /// Returns what is kept of the shard's channels. Call [`make_room`](Self::make_room) after an addition.
    pub(crate) fn recorder(&mut self) -> Recorder<'_> {
        let Self { channels, retention, last_number, recoveries, .. } = self;
        Recorder { channels, retention, last_number, recoveries }
    }

    /// Does periodic work: drops expired events, ends grace times, sends postponed subscription counts and
    /// closes unused channels.
    pub(crate) fn sweep(&mut self, step: &mut Step<'_>) {
        while let Some(key) = self.recorder().drop_expired(step) {
            self.remove_if_empty(&key, step);
        }
        self.retention.shrink();
        while let Some((due, key, id)) = self.held.pop_front_if(|(due, ..)| *due <= step.now) {
            self.end_hold(&key, &id, due, step);
        }
        let channels = &mut self.channels;
        self.uncounted.retain(|key| {
            let Some(channel) = channels.get_mut(key) else { return false };
            let is_paused = channel.is_count_paused(step.now);
            if !is_paused {
                channel.notify_count(key, step);
            }
            is_paused
        });
        for key in self.unannounced.drain() {
            if let Some(channel) = channels.get_mut(&key) {
                channel.publish_count(&key, step);
            }
        }
        while let Some((_, key)) = self.losses.pop_front_if(|(due, _)| *due <= step.now) {
            let now = step.now;
            self.end_loss(&key, step, |loss| loss.until <= now);
        }
        while let Some((_, key)) = self.idle.pop_front_if(|(due, _)| *due <= step.now) {
            self.close_if_due(&key, step);
        }
        if self.channels.len() < self.channels.capacity() / 8 {
            self.channels.shrink_to_fit();
        }
    }

    /// Tells all subscribers that they may have missed events.
    pub(crate) fn announce_gap(&self, step: &mut Step<'_>) {
        self.channels.iter().for_each(|(key, channel)| channel.announce_gap(key, step));
    }

    pub(crate) fn has(&self, key: &ChannelKey) -> bool {
        self.channels.contains_key(key)
    }

    pub(crate) fn state(&self, key: &ChannelKey, now: Duration) -> ChannelState {
        self.channels.get(key).map(|channel| channel.state(now)).unwrap_or_default()
    }

    /// Returns the channels with subscribers on this node.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = (&ChannelKey, ChannelState)> {
        self.channels
            .iter()
            .filter(|(_, channel)| !channel.subscribers.is_empty())
            .map(|(key, channel)| (key, channel.state(Duration::MAX)))
    }

    /// Returns the ids of the users on a presence channel.
    pub(crate) fn users(&self, key: &ChannelKey) -> Vec<UserId> {
        let presence = self.channels.get(key).and_then(|channel| channel.presence.as_ref());
        presence.map(|presence| presence.ids().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn recoveries(&self) -> Recoveries {
        self.recoveries
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        self.retention.bytes()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.totals == Totals::default()
            && self.channels.is_empty()
            && self.retention.is_empty()
            && self.held.is_empty()
            && self.uncounted.is_empty()
            && self.unannounced.is_empty()
            && self.idle.is_empty()
            && self.losses.is_empty()
            && self.shadows.is_empty()
    }

    /// Returns the channel, creating it if necessary. With a bus, opening it begins.
    pub(crate) fn get_or_open(&mut self, key: &ChannelKey, step: &mut Step<'_>) -> &mut Channel {
        get_or_open(&mut self.channels, key, step)
    }

    /// Removes the channel if nothing on this node needs it; one on a bus, after [`LINGER`].
    pub(crate) fn remove_if_empty(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.is_empty()) else {
            return;
        };
        let Some(cluster) = &mut channel.cluster else { return self.close_if_empty(key, step) };
        if cluster.closes_at.is_none() {
            let due = step.now + LINGER;
            cluster.closes_at = Some(due);
            self.idle.push_back((due, key.clone()));
        }
    }

    /// Closes a channel that was queued for it, unless it has been used since. A channel that is used again
    /// is queued again after its last use: until its leaves are reported, other nodes must reach it.
    fn close_if_due(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        let closes_at = channel.cluster.as_mut().map(|cluster| &mut cluster.closes_at);
        if closes_at.is_none_or(|at| at.take_if(|due| *due <= step.now).is_some()) {
            self.close_if_empty(key, step);
        }
    }

    fn close_if_empty(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.is_empty()) else {
            return;
        };
        if channel.cluster.is_some() {
            channel.end_backup(key, step);
            step.publish_sync(key, &ClusterMessage::ChannelClosed);
            step.bus(BusCommand::Close(key.clone()));
            self.recorder().end(key);
        }
        self.channels.remove(key);
    }

    /// Remembers what was reported as gone with a lost node, and keeps the channel until the node returns or
    /// is not expected any more.
    pub(crate) fn expect_return(&mut self, key: &ChannelKey, loss: Loss) {
        let Some(channel) = self.channels.get_mut(key).filter(|_| !loss.is_empty()) else { return };
        self.losses.push_back((loss.until, key.clone()));
        channel.loss.get_or_insert_with(|| Box::new(Loss::new(loss.until))).extend(loss);
    }

    /// Forgets what was lost with a node whose whole state is known again.
    pub(crate) fn end_loss_of(&mut self, key: &ChannelKey, node: NodeId, step: &mut Step<'_>) {
        self.end_loss(key, step, |loss| {
            loss.forget(node);
            loss.is_empty()
        });
    }

    fn end_loss(
        &mut self,
        key: &ChannelKey,
        step: &mut Step<'_>,
        is_over: impl FnOnce(&mut Loss) -> bool,
    ) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        if channel.loss.take_if(|loss| is_over(loss)).is_some() {
            self.remove_if_empty(key, step);
        }
    }

    /// Reacts to a changed number of subscribers, on this node or another.
    pub(crate) fn count_changed(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        let app = step.app(key);
        let Some(channel) = self.channels.get_mut(key) else { return };
        if app.hooks.report_occupants(&key.name) && channel.has_changed_occupancy() {
            channel.publish_count(key, step);
        }
        if !app.subscription_count || key.name.is_presence() {
            return;
        }
        if step.is_clustered() {
            self.unannounced.insert(key.clone());
        }
        if channel.count_everywhere() <= COUNT_AT_ONCE || !channel.is_count_paused(step.now) {
            channel.notify_count(key, step);
            self.uncounted.remove(key);
        } else {
            self.uncounted.insert(key.clone());
        }
    }
}
