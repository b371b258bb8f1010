//! The channels of this node on the bus: how they are opened, and what the nodes tell each other about them.

mod external;
mod log_gaps;
mod logs;
mod opening;
mod subjects;

use std::sync::Arc;
use std::time::Duration;

use clarim_cluster::{ClusterMessage, ExternalEvent, Membership, NodeId, Received, decode};
use clarim_protocol::Frame;

use super::channel_sync::{self, Gone, backups};
use super::gap::Gap;
use super::handover::{Arrived, CaughtUp, HandOver, MessageId, PendingMessage};
use super::outgoing::{Flight, Flights, Outgoing, OwnEvent};
use super::wire::{ClusterSettings, LogEvent, Wire};
use crate::address::ChannelKey;
use crate::directory::{Keep, Publication, backup};
use crate::node::{Node, SHARDS};
use crate::outputs::{BusCommand, DeliveryAck, DeliveryAcks, OutputSink, SyncKind};
use crate::snapshot::SavedCluster;
use log_gaps::LogGaps;
use logs::{Logs, NewEntry};
pub(super) use opening::Doubt;
use opening::Openings;
use subjects::Subjects;

/// The channels on the bus.
#[derive(Debug)]
pub(super) struct Channels<S> {
    node: Arc<Node<S>>,
    id: NodeId,
    pub(super) subjects: Subjects,
    pub(super) openings: Openings<S>,
    pub(super) logs: Logs<S>,
    pub(super) gap: Gap,
    pub(super) hand_over: HandOver,
    /// Number of messages that were not valid.
    pub(super) invalid: u64,
    /// Number of events that the logs did not take.
    pub(super) refused: u64,
}

impl<S: OutputSink> Channels<S> {
    pub(super) fn new(node: Arc<Node<S>>, id: NodeId, settings: &ClusterSettings) -> Self {
        Self {
            id,
            subjects: Subjects::new(settings.is_ordered),
            openings: Openings::new(node.clone(), settings.deadline),
            logs: Logs::new(node.clone(), id),
            gap: Gap::new(settings.on_gap),
            hand_over: HandOver::None,
            invalid: 0,
            refused: 0,
            node,
        }
    }

    /// Adds what a snapshot keeps of it.
    pub(super) fn save(&self, saved: &mut SavedCluster) {
        let apps = self.node.apps();
        let gaps = self.logs.gaps().map(|(channel, gap)| LogGaps::save(channel, gap, apps));
        saved.log_gaps = gaps.collect();
        saved.log_gaps.sort_unstable_by(|one, other| one.channel.cmp(&other.channel));
        saved.hand_over = self.hand_over.save();
        saved.invalid = self.invalid;
        self.gap.save(saved);
    }

    pub(super) fn restore(&mut self, saved: &SavedCluster) {
        self.logs.restored_gaps = LogGaps::restored(&saved.log_gaps, self.node.apps());
        self.invalid = saved.invalid;
        self.gap.restore(saved);
        if let Some(saved) = &saved.hand_over {
            self.hand_over = HandOver::restored(saved);
            // The other nodes are asked again when what they have kept has arrived.
            self.openings.hold();
        }
    }

    /// Subscribes to the channels that a restored node has.
    pub(super) fn start(&mut self, now: Duration, outgoing: &Outgoing<S>, wire: &mut impl Wire) {
        for (channel, is_open) in self.node.cluster_channels() {
            let has_log = self.listen(&channel, outgoing, wire);
            if !is_open {
                self.openings.begin(&channel, has_log, now);
            }
        }
    }

    /// Executes a command of the node.
    pub(super) fn execute(
        &mut self,
        command: BusCommand,
        members: &Membership,
        now: Duration,
        outgoing: &mut Outgoing<S>,
        wire: &mut impl Wire,
    ) {
        match command {
            BusCommand::Open(channel) => {
                let has_log = self.listen(&channel, outgoing, wire);
                if outgoing.is_up {
                    self.openings.begin(&channel, has_log, now);
                } else {
                    self.openings.open_without_bus(&channel, now);
                }
            }
            BusCommand::Close(channel) => {
                let subject = outgoing.subject(&channel);
                self.openings.remove(&channel);
                wire.unsubscribe(&subject);
                self.logs.close(&subject, wire);
                outgoing.close(&channel, self.subjects.remove(&subject), now);
            }
            BusCommand::RequestBackup(channel) => {
                outgoing.request_backup(&channel, members, now, wire);
            }
            BusCommand::Backup { channel, backup, message } => {
                outgoing.back_up(backup, &channel, &message, now, wire);
            }
            BusCommand::Event { channel, frame, except, kept, is_recorded, key, ack, here } => {
                let event = OwnEvent { channel, frame, except, kept, ack: here };
                if is_recorded {
                    let entry = NewEntry { event, key, stored: ack };
                    return self.append(entry, now, outgoing, wire);
                }
                if !members.are_back() {
                    ack.iter().for_each(DeliveryAck::missed_the_bus);
                }
                let subject = outgoing.subject(&event.channel);
                let ticket = outgoing.flights.next_ticket();
                let previous = self.subjects.expect_return(&subject, ticket);
                outgoing.publish_event(&subject, event, ack, previous, now, wire);
            }
            BusCommand::Sync { channel, message, kind } => {
                let is_awaited = kind == SyncKind::Request && self.openings.is_opening(&channel);
                outgoing.publish_sync(channel, message, kind, is_awaited, now, wire);
            }
        }
    }

    /// Subscribes to the subject of a channel, and to its log. Returns whether it has one.
    fn listen(
        &mut self,
        channel: &ChannelKey,
        outgoing: &Outgoing<S>,
        wire: &mut impl Wire,
    ) -> bool {
        let subject = outgoing.subject(channel);
        wire.subscribe(&subject);
        let has_log = self.logs.open(&subject, channel, wire);
        self.subjects.add(subject, channel.clone());
        has_log
    }

    /// Appends an event to the log of its channel. Subscribers get it when the log returns it.
    fn append(
        &mut self,
        entry: NewEntry,
        now: Duration,
        outgoing: &mut Outgoing<S>,
        wire: &mut impl Wire,
    ) {
        if outgoing.is_up {
            // The rule of its channel may be new.
            self.logs.follow_rules(self.subjects.iter(), wire);
            let log = outgoing.subject(&entry.event.channel);
            self.logs.append(&log, entry, now, &mut outgoing.flights, wire);
        } else {
            self.refused += 1;
            entry.stored.iter().for_each(DeliveryAck::not_stored);
        }
    }

    /// Handles the bus's confirmation of a subscription.
    pub(super) fn subscribed(&mut self, subject: &str, is_first: bool, now: Duration) {
        if let Some(channel) = self.subjects.confirm(subject) {
            self.openings.subscribed(channel, is_first, now);
        }
    }

    /// Handles that the bus did not accept a message with this purpose.
    pub(super) fn lost(&mut self, flight: &Flight, ticket: u64, now: Duration) {
        match flight {
            Flight::SyncRequest(channel) => self.openings.not_asked(channel, now),
            Flight::Append => {
                self.refused += 1;
                self.logs.not_appended(ticket);
            }
            Flight::Read(log) => self.logs.unread(log, now),
            Flight::Nothing | Flight::Event { .. } | Flight::EventsMissed(_) => {}
        }
    }

    /// Handles an event of the bus about a log.
    pub(super) fn log_event(
        &mut self,
        event: LogEvent<'_>,
        now: Duration,
        flights: &mut Flights,
        wire: &mut impl Wire,
    ) {
        let logs = &mut self.logs;
        match event {
            LogEvent::Following(log) => logs.following(log, now, flights, wire),
            LogEvent::Entry(log, entry) => logs.entry(log, &entry, now, flights, wire),
            LogEvent::Appended { ticket, position, is_new } => {
                flights.land(ticket, now);
                logs.appended(ticket, position, is_new);
            }
            LogEvent::Page { ticket, page } => {
                let Some(Flight::Read(log)) = flights.land(ticket, now) else { return };
                if let Some(channel) = logs.page(&log, &page, now, flights, wire) {
                    self.openings.loaded(&channel, now);
                }
            }
        }
    }

    /// Handles that a message has arrived. Returns whether it is to be handled now, and not behind those that
    /// this node has missed while it was handed over.
    pub(super) fn hear(
        &mut self,
        subject: &str,
        from: NodeId,
        message: &ClusterMessage<'_>,
        bytes: &[u8],
    ) -> bool {
        if !self.hand_over.is_under_way() {
            return true;
        }
        let channel = match message {
            ClusterMessage::Backup { app, channel, .. } => self.node.find_channel(app, channel),
            _ => self.subjects.channel(subject).cloned(),
        };
        let Some(channel) = channel else { return true };
        let app = &self.node.apps().get(channel.app).id;
        let id = MessageId::new(from, app, channel.name.as_str(), bytes);
        // Each event of a node has another ticket.
        let is_unique = from != self.id && matches!(message, ClusterMessage::Event { .. });
        self.hand_over.hear(Arrived { channel, from, id, bytes, is_unique })
    }

    /// Handles a message of another node on a channel's subject. `ack` is held until a traced event is
    /// delivered.
    pub(super) fn message(
        &mut self,
        channel: &ChannelKey,
        from: NodeId,
        message: &ClusterMessage<'_>,
        ack: Option<&DeliveryAck>,
        now: Duration,
    ) {
        match message {
            &ClusterMessage::Event { payload, except, kept, .. } => {
                let frame = &Frame::text(payload);
                let publication = Publication {
                    except: except.map(Into::into),
                    acks: DeliveryAcks { here: ack, bus: None },
                    keep: kept.map_or(Keep::No, Keep::Numbered),
                    ..Publication::new(channel, frame)
                };
                self.node.step(channel, now, |shard, step| {
                    // The channel may have been closed a moment ago.
                    if shard.has(channel) {
                        shard.deliver(publication, step);
                    }
                });
            }
            ClusterMessage::ExternalPublish(event) => self.external(channel, event, now),
            ClusterMessage::EventsMissed => self.gap.announce(channel, &self.node, now),
            _ => {
                let is_complete = self.node.step(channel, now, |shard, step| {
                    channel_sync::apply(shard, channel, from, message, step)
                });
                if is_complete
                    && let ClusterMessage::SyncRequest(state) | ClusterMessage::State(state) =
                        message
                {
                    self.openings.replied(channel, from, state, self.id, now);
                }
            }
        }
    }

    /// Delivers an event of an external publisher.
    fn external(&mut self, channel: &ChannelKey, event: &ExternalEvent<'_>, now: Duration) {
        let Some(frame) = external::frame_of(&self.node, channel, event) else {
            self.invalid += 1;
            return;
        };
        let except = event.except.map(Into::into);
        let publication = Publication { except, ..Publication::new(channel, &frame) };
        self.node.step(channel, now, |shard, step| shard.deliver(publication, step));
    }

    /// Publishes an event of an external publisher on all nodes.
    pub(super) fn relay(
        &mut self,
        app: &str,
        channel: &str,
        event: &ExternalEvent<'_>,
        now: Duration,
    ) {
        let found = self.node.find_channel(app, channel).and_then(|channel| {
            let frame = external::frame_of(&self.node, &channel, event)?;
            Some((channel, frame))
        });
        let Some((channel, frame)) = found else {
            self.invalid += 1;
            return;
        };
        let except = event.except.map(Into::into);
        self.node.publish(&channel, &frame, except, DeliveryAcks::default(), now);
    }

    /// Handles a message of a node for which this one is a backup, or is to be one.
    pub(super) fn backup_message(
        &mut self,
        from: NodeId,
        message: &ClusterMessage<'_>,
        now: Duration,
    ) {
        let (ClusterMessage::BackupSubscribe { app, channel }
        | ClusterMessage::Backup { app, channel, .. }) = message
        else {
            return;
        };
        let Some(channel) = self.node.find_channel(app, channel) else {
            self.invalid += 1;
            return;
        };
        let ClusterMessage::Backup { message, .. } = message else {
            return self.node.step(&channel, now, |shard, step| {
                backup::start(shard, &channel, step);
            });
        };
        let Ok(Received { message: Some(message), .. }) = decode(message) else {
            self.invalid += 1;
            return;
        };
        self.node.step(&channel, now, |shard, step| {
            backups::apply(shard, &channel, from, &message, step);
        });
    }

    /// Forgets what this node knows of another one as its backup.
    pub(super) fn end_backups(&self, of: NodeId, now: Duration) {
        for shard in 0..SHARDS {
            self.node.step_in(shard, now, |shard, _| shard.shadows.remove_node(of));
        }
    }

    /// Compares the versions of another node's states with what is known here.
    pub(super) fn compare_versions(
        &self,
        app: &str,
        from: NodeId,
        channels: &[(&str, u64)],
        now: Duration,
    ) {
        for (channel, version) in channels {
            let Some(channel) = self.node.find_channel(app, channel) else { continue };
            self.node.step(&channel, now, |shard, step| {
                channel_sync::compare_version(shard, &channel, from, *version, step);
            });
        }
    }

    /// Removes a node that has gone, and everything it had.
    pub(super) fn remove_peer(&mut self, gone: Gone, now: Duration) {
        self.hand_over.remove_peer(gone.node);
        for shard in 0..SHARDS {
            self.node.step_in(shard, now, |shard, step| {
                channel_sync::remove_peer(shard, gone, step);
            });
        }
        self.openings.remove_peer(gone.node, now);
    }

    /// Handles what this node has missed while it was handed over, as soon as it has arrived. Returns whether
    /// it has.
    pub(super) fn catch_up(&mut self, now: Duration, outgoing: &mut Outgoing<S>) -> bool {
        let caught_up = self.hand_over.take_caught_up(outgoing.is_up, now);
        let Some(CaughtUp { messages, is_complete }) = caught_up else { return false };
        for PendingMessage { channel, message, .. } in messages {
            let Ok(Received { from, message: Some(message) }) = decode(&message) else { continue };
            match message {
                _ if from == self.id => outgoing.returned(Some(&channel), &message, now),
                ClusterMessage::BackupSubscribe { .. } | ClusterMessage::Backup { .. } => {
                    self.backup_message(from, &message, now);
                }
                _ => self.message(&channel, from, &message, None, now),
            }
        }
        if !is_complete {
            self.gap.end_hand_over();
        }
        true
    }
}
