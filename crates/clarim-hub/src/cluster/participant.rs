//! A node as a participant of its cluster.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::timing::{HAND_OVER_TIME, HEARTBEATS_PER_LEASE, RETURN_TIMEOUT};
use clarim_cluster::{
    ClusterMessage, Departure, Gathered, Health, Joining, KeyClaim, KeyHash, Membership, NodeId,
    OnClaimed, OnGathered, Queries, Query, Received, Reply, Trace, Version, channel_subject,
    decode, encode,
};

use super::channel_sync::{Gone, backups};
use super::channels::{ChannelOpenings, Doubt, LogGaps, Logs, NewEntry, Subjects};
use super::flights::{Changes, Flight, Flights, NodeSender, OwnChange, OwnEvent};
use super::handover::{Arrived, CaughtUp, HandOver, Keepers, MessageId};
use super::keys::{ClusterKeys, KeySender};
use super::refresh::Refresh;
use super::resync::{self, Gap, Resync, Unsent};
use super::takeover::Takeover;
use super::wire::{ClusterSettings, ClusterState, LogEvent, OnGap, Wire};
use super::{inbound, replies};
use crate::address::ChannelKey;
use crate::node::Node;
use crate::outputs::{BusCommand, DeliveryAck, OutputSink, SyncKind};
use crate::snapshot::SavedCluster;

/// Maximum number of notices about missed events in one tick.
const MAX_UNSENT_PER_TICK: usize = 256;

/// A node's part in its cluster.
#[derive(Debug)]
pub struct Cluster<S> {
    node: Arc<Node<S>>,
    id: NodeId,
    settings: ClusterSettings,
    state: ClusterState,
    joining: Joining,
    subjects: Subjects,
    openings: ChannelOpenings<S>,
    logs: Logs<S>,
    sender: NodeSender,
    flights: Flights,
    changes: Changes,
    members: Membership,
    queries: Queries,
    keys: ClusterKeys,
    next_heartbeat: Duration,
    resync: Option<Resync>,
    takeover: Takeover,
    gap: Gap,
    unsent: Unsent,
    keepers: Keepers,
    hand_over: HandOver,
    refresh: Refresh,
}

impl<S: OutputSink> Cluster<S> {
    /// Makes the participant `id`, which must be the id in the node's [`NodeConfig`](crate::NodeConfig).
    pub fn new(node: Arc<Node<S>>, id: NodeId, settings: ClusterSettings) -> Self {
        Self {
            openings: ChannelOpenings::new(node.clone()),
            logs: Logs::new(node.clone(), id),
            node,
            id,
            state: ClusterState::default(),
            joining: Joining::new(Duration::ZERO),
            subjects: Subjects::new(settings.is_ordered),
            sender: NodeSender::new(id, &settings.prefix),
            flights: Flights::default(),
            changes: Changes::default(),
            members: Membership::new(settings.versions, settings.lease),
            queries: Queries::default(),
            keys: ClusterKeys::default(),
            next_heartbeat: Duration::ZERO,
            resync: None,
            takeover: Takeover::default(),
            gap: Gap::default(),
            unsent: Unsent::default(),
            keepers: Keepers::default(),
            hand_over: HandOver::None,
            refresh: Refresh::default(),
            settings,
        }
    }

    /// Makes the participant of a [restored](Node::restore) node as it was saved. For the other nodes, it is
    /// the same one. [`start`](Self::start) it as ever.
    pub fn restored(
        node: Arc<Node<S>>,
        id: NodeId,
        settings: ClusterSettings,
        saved: &SavedCluster,
        now: Duration,
    ) -> Self {
        let &SavedCluster { tickets, queries, is_joined, invalid, skipped, lost, .. } = saved;
        let members = &saved.members;
        let mut logs = Logs::new(node.clone(), id);
        logs.restored_gaps = LogGaps::restored(&saved.log_gaps, node.apps());
        let mut gap = Gap::restored(saved);
        let hand_over = saved.hand_over.as_ref().map(HandOver::restored).unwrap_or_default();
        let mut openings = ChannelOpenings::new(node.clone());
        match hand_over.is_under_way() {
            // The other nodes are asked again when what they have kept has arrived.
            true => openings.hold(),
            // The other nodes keep nothing.
            false => gap.begin(members.count()),
        }
        let is_joined = is_joined && !hand_over.is_under_way();
        let mut takeover = Takeover::default();
        takeover.begin();
        Self {
            openings,
            takeover,
            logs,
            state: ClusterState { is_joined, invalid, skipped, lost, ..ClusterState::default() },
            members: Membership::restored(settings.versions, settings.lease, members, now),
            flights: Flights::after(tickets),
            queries: Queries::after(queries),
            gap,
            hand_over,
            unsent: Unsent::restored(saved),
            ..Self::new(node, id, settings)
        }
    }

    /// Returns what a snapshot keeps of it. Nothing may be on its way: see [`is_at_rest`](Self::is_at_rest).
    /// While the bus is up, the other nodes must have prepared the hand-over: see
    /// [`is_ready_to_hand_over`](Self::is_ready_to_hand_over).
    #[must_use]
    pub fn save(&self) -> SavedCluster {
        let ClusterState { is_joined, invalid, skipped, lost, .. } = self.state;
        let mut saved = SavedCluster {
            members: self.members.save(),
            tickets: self.flights.next_ticket() - 1,
            queries: self.queries.count(),
            hand_over: self.hand_over.save(),
            is_joined,
            invalid,
            skipped,
            lost,
            ..SavedCluster::default()
        };
        self.gap.save(&mut saved);
        saved.has_unsent = self.unsent.has_some();
        let apps = self.node.apps();
        let gaps = self.logs.gaps().map(|(channel, gap)| LogGaps::save(channel, gap, apps));
        saved.log_gaps = gaps.collect();
        saved.log_gaps.sort_unstable_by(|one, other| one.channel.cmp(&other.channel));
        saved
    }

    /// Whether the bus has accepted and returned everything that this node has sent.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.flights.is_empty() && self.changes.is_empty() && self.logs.is_at_rest()
    }

    /// Returns a snapshot of the cluster.
    #[must_use]
    pub fn state(&self) -> ClusterState {
        ClusterState {
            peers: self.members.count_back(),
            awaited: self.members.count() - self.members.count_back(),
            version: self.members.version().0,
            incompatible: self.members.incompatible(),
            channels: self.subjects.len(),
            ..self.state
        }
    }

    /// Returns the ids of the other nodes.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.members.ids()
    }

    /// Subscribes to the subjects of all nodes and of this node. Call it first. The node takes no clients
    /// until [`ClusterState::is_joined`].
    pub fn start(&mut self, now: Duration, wire: &mut impl Wire) {
        self.joining = Joining::new(now + self.settings.deadline);
        wire.subscribe(&self.sender.to_all);
        wire.subscribe(&self.sender.to_me);
        // Those of a restored node.
        for (channel, is_open) in self.node.cluster_channels() {
            let has_log = self.listen(&channel, wire);
            if !is_open {
                self.openings.begin(channel.clone(), now + self.settings.deadline);
                if has_log {
                    self.openings.load(&channel);
                }
            }
        }
    }

    /// Announces that the node stops, so that the others need not wait for the end of its lease. Returns the
    /// message's ticket.
    pub fn say_goodbye(&mut self, wire: &mut impl Wire) -> u64 {
        self.sender.send_to_all(&ClusterMessage::Goodbye, &mut self.flights, wire)
    }

    /// Handles a new connection to the bus. All former subscriptions are in effect again.
    pub fn up(&mut self, now: Duration, wire: &mut impl Wire) {
        self.state.is_up = true;
        self.state.since = now;
        let has_publishers = self.gap.has_publishers();
        if self.hand_over.catch_up(self.members.ids(), !has_publishers, now) {
            // The other nodes were on the bus all the time.
            self.members.spare(now);
            self.state.is_joined = false;
            let message = ClusterMessage::HandedOver { is_back: true };
            self.sender.send_to_all(&message, &mut self.flights, wire);
        } else {
            self.members.await_return(now);
            self.gap.end(self.settings.on_gap, &self.node);
        }
        self.send_heartbeat(now, wire);
        // Messages were missed in the meantime, here and on the other nodes.
        self.resync = Some(Resync::start(true));
        // Idempotency keys, too.
        self.sender.send_to_all(&ClusterMessage::KeysRequest, &mut self.flights, wire);
        self.logs.up();
        self.logs.catch_up(now, &mut self.flights, wire);
    }

    /// Handles the loss of the bus. The node keeps serving its own clients.
    pub fn down(&mut self, now: Duration) {
        self.state.is_up = false;
        self.state.since = now;
        self.resync = None;
        self.gap.begin(self.members.count());
        self.hand_over.abort();
        self.proceed_hand_over(now);
        self.subjects.lose();
        inbound::deliver_own(&self.node, self.flights.take_all(), now);
        inbound::apply_own(&self.node, self.changes.take_all(), now);
        self.openings.open_all(now);
        self.release_openings(now);
        self.queries.end_all();
        self.keys.expire(false, self.id, now);
    }

    /// Executes a command of the node.
    pub fn execute(&mut self, command: BusCommand, now: Duration, wire: &mut impl Wire) {
        match command {
            BusCommand::Open(channel) => self.begin_opening(&channel, now, wire),
            BusCommand::Close(channel) => {
                let subject = self.subject(&channel);
                self.openings.remove(&channel);
                self.changes.remove(&channel);
                wire.unsubscribe(&subject);
                self.logs.close(&subject, wire);
                // Nobody is subscribed, but publishers wait.
                let last_event = self.subjects.remove(&subject);
                self.deliver_through(last_event, now);
            }
            BusCommand::RequestBackup(channel) => self.request_backup(&channel, now, wire),
            BusCommand::Backup { channel, backup, message } => {
                let node = self.node.clone();
                let app = &node.apps().get(channel.app).id;
                let name = channel.name.as_str();
                let message = ClusterMessage::Backup { app, channel: name, message: &message };
                self.send_to_backup(backup, &channel, &message, now, wire);
            }
            BusCommand::Event { channel, frame, except, kept, is_recorded, key, ack, here } => {
                let event = OwnEvent { channel, frame, except, kept, ack: here };
                if is_recorded {
                    self.append_event(NewEntry { event, key, stored: ack }, now, wire);
                } else {
                    self.publish_event(event, ack, now, wire);
                }
            }
            BusCommand::Sync { channel, message, kind } => {
                if let SyncKind::Change { number } = kind {
                    let change = OwnChange { channel: channel.clone(), message: message.clone() };
                    self.changes.add(change, number, now);
                }
                // No other node receives anything.
                if !self.state.is_up {
                    return inbound::apply_own(&self.node, self.changes.take_all(), now);
                }
                if kind != SyncKind::Version {
                    self.keep(&channel, &message, now);
                }
                let is_opening = kind == SyncKind::Request && self.openings.is_opening(&channel);
                let request = || Flight::SyncRequest(channel.clone());
                let ticket = self.flights.add(is_opening.then(request).unwrap_or(Flight::Nothing));
                wire.publish(&self.subject(&channel), message, ticket);
            }
        }
    }

    /// Handles the bus's acceptance of a message; `receivers` is the number of its receivers, if the bus
    /// knows it.
    pub fn published(&mut self, ticket: u64, receivers: Option<u32>, now: Duration) {
        self.joining.published(ticket, receivers);
        if let Some(Flight::SyncRequest(channel)) = self.flights.land(ticket, now) {
            // This node is one of the receivers. Some may not be nodes at all.
            let peers = self.members.count();
            let counted = receivers.map(|n| (n.saturating_sub(1) as usize).min(peers));
            self.openings.counted(&channel, counted, now);
        }
    }

    /// Handles a message that the bus did not accept.
    pub fn lost(&mut self, ticket: u64, now: Duration) {
        match self.flights.land(ticket, now) {
            Some(Flight::Event { channel, ack }) => {
                self.state.lost += 1;
                self.unsent.add(Some(channel));
                ack.iter().for_each(DeliveryAck::missed_the_bus);
                self.deliver_through(ticket, now);
            }
            Some(Flight::EventsMissed(channel)) => {
                self.state.lost += 1;
                self.unsent.add(channel);
            }
            Some(Flight::SyncRequest(channel)) => self.openings.not_asked(&channel, now),
            Some(Flight::Append) => {
                self.state.lost += 1;
                self.state.refused += 1;
                self.logs.not_appended(ticket);
            }
            Some(Flight::Read(log)) => self.logs.unread(&log, now),
            Some(Flight::Nothing) => self.state.lost += 1,
            None => {}
        }
    }

    /// Handles an event of the bus about a log.
    pub fn log_event(&mut self, event: LogEvent<'_>, now: Duration, wire: &mut impl Wire) {
        let Self { logs, flights, openings, .. } = self;
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
                    openings.loaded(&channel, now);
                }
            }
        }
    }

    /// Handles the bus's confirmation of a subscription; `is_first`: nobody else was subscribed before.
    pub fn subscribed(&mut self, subject: &str, is_first: bool, now: Duration) {
        let Some(channel) = self.subjects.confirm(subject) else { return };
        if !self.openings.is_opening(channel) {
            return;
        }
        let channel = channel.clone();
        // Necessary even if nobody was subscribed before: two nodes may have subscribed at the same time.
        let is_requested = inbound::request_states(&self.node, &channel, now);
        if !is_requested {
            self.openings.open(&channel, now);
        } else if is_first {
            self.openings.open_first(&channel, now);
        }
    }

    /// Handles a message from the bus. `start_delivery` is called for a traced event of another node; the
    /// workers hold what it returns until they have delivered the event.
    pub fn message(
        &mut self,
        subject: &str,
        bytes: &[u8],
        start_delivery: impl FnOnce(&ChannelKey, Trace) -> Option<DeliveryAck>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        let Ok(Received { from, message }) = decode(bytes) else {
            self.state.invalid += 1;
            return;
        };
        let Some(message) = message else {
            return self.skip(from, now, wire);
        };
        if self.hand_over.is_under_way()
            && let Some(channel) = self.channel_of(subject, &message)
            && !self.hand_over.hear(&self.arrived(&channel, from, &message, bytes))
        {
            return;
        }
        if from == self.id {
            let channel = match message {
                ClusterMessage::StateChange { .. } => self.subjects.channel(subject).cloned(),
                _ => None,
            };
            return self.returned(channel.as_ref(), &message, now);
        }
        self.meet(from, &message, now, wire);
        if subject == self.sender.to_all {
            self.message_to_all(from, &message, now, wire);
        } else if subject == self.sender.to_me {
            self.message_to_me(from, &message, now);
            self.proceed_hand_over(now);
            self.openings.open_vacant(now);
        } else if let Some(channel) = self.subjects.channel(subject) {
            let channel = channel.clone();
            let ack = match message {
                ClusterMessage::Event { trace: Some(trace), .. } => start_delivery(&channel, trace),
                _ => None,
            };
            self.channel_message(&channel, from, &message, ack.as_ref(), now);
        }
    }

    /// Does periodic work. Call it about every [`TICK`](clarim_cluster::timing::TICK).
    pub fn tick(&mut self, now: Duration, wire: &mut impl Wire) {
        self.queries.end_due(now);
        self.proceed_hand_over(now);
        if self.keepers.expire(now) {
            self.release_openings(now);
        }
        self.keys.expire(self.state.is_up, self.id, now);
        let unsure = self.openings.open_due(now, now + self.settings.deadline);
        self.ask_again(unsure, now);
        for Doubt { channel, then } in self.openings.take_doubts(now) {
            let node = self.node.clone();
            let app = &node.apps().get(channel.app).id;
            self.ask(app, Query::Channel(channel.name.as_str().into()), now, wire, then);
        }
        let is_caught_up = !self.hand_over.is_under_way();
        self.state.is_joined |= is_caught_up && self.joining.is_over(self.members.count(), now);
        if now >= self.next_heartbeat {
            self.send_heartbeat(now, wire);
        }
        self.logs.follow_rules(self.subjects.iter(), wire);
        // If the bus carries no messages at all, the other nodes may be alive: backends must not be notified.
        let is_reported = self.state.is_up && self.members.hears_itself(now);
        let departure = is_reported.then_some(Departure::Lost);
        for node in self.members.take_dead(now) {
            self.remove_peer(node, departure, now);
        }
        if self.state.is_up {
            self.takeover.proceed(&self.node, now);
            self.resync = self.resync.and_then(|resync| resync.proceed(&self.node, now));
            let Self { refresh, node, members, sender, flights, .. } = self;
            refresh.proceed(node, members, now, |peer, message| {
                sender.send_to(peer, message, flights, wire);
            });
            self.gap.proceed(&self.node, now);
            self.tell_unsent(wire);
            self.logs.catch_up(now, &mut self.flights, wire);
        }
    }

    /// Tells the other nodes of events that stayed on this one.
    fn tell_unsent(&mut self, wire: &mut impl Wire) {
        if !wire.has_room() {
            return;
        }
        let message = encode(self.id, &ClusterMessage::EventsMissed);
        for channel in self.unsent.take(MAX_UNSENT_PER_TICK) {
            match &channel {
                Some(channel) => self.keepers.keep(channel, &message, u64::MAX),
                None => self.keepers.give_up(),
            }
            let subject = channel.as_ref().map(|channel| self.subject(channel));
            let subject = subject.as_ref().unwrap_or(&self.sender.to_all);
            wire.publish(subject, message.clone(), self.flights.add(Flight::EventsMissed(channel)));
        }
    }

    /// Prepares that another program becomes this node: asks the other nodes to keep what they publish. Go
    /// on as ever until [`is_ready_to_hand_over`](Self::is_ready_to_hand_over), which takes a second at
    /// most. Then save the node, and end the connection to the bus. Not before [`ClusterState::is_joined`].
    pub fn hand_over(&mut self, now: Duration, wire: &mut impl Wire) {
        if self.state.is_up && !self.hand_over.is_catching_up() {
            self.hand_over = HandOver::prepare(now);
            self.sender.send_to_all(&ClusterMessage::HandingOver, &mut self.flights, wire);
        }
    }

    /// Whether the other nodes keep what they publish, as far as they can.
    pub fn is_ready_to_hand_over(&self, now: Duration) -> bool {
        !self.state.is_up || self.hand_over.are_ready(self.members.ids(), now)
    }

    /// Goes on as before, because no other program becomes this node.
    pub fn cancel_hand_over(&mut self, wire: &mut impl Wire) {
        self.hand_over = HandOver::None;
        if self.state.is_up {
            let message = ClusterMessage::HandedOver { is_back: false };
            self.sender.send_to_all(&message, &mut self.flights, wire);
        }
    }

    /// Sends a node that is back what was kept for it.
    fn end_keeping(&mut self, peer: NodeId, is_back: bool, now: Duration, wire: &mut impl Wire) {
        let keeper = self.keepers.take(peer);
        self.members.spare_until(peer, now);
        if is_back {
            let node = self.node.clone();
            let app_id = |channel: &ChannelKey| node.apps().get(channel.app).id.as_str();
            let Self { sender, flights, .. } = self;
            let mut send = |message: ClusterMessage<'_>| {
                // Without one of its parts, it is not complete.
                if wire.has_room() {
                    sender.send_to(peer, &message, flights, wire);
                }
            };
            match &keeper {
                Some(keeper) => keeper.messages(node.config().part_bytes, app_id, send),
                None => send(ClusterMessage::KeptEnd { count: 0, is_complete: false }),
            }
        }
        self.release_openings(now);
    }

    /// Keeps a message on a channel for the nodes that are handed over.
    fn keep(&mut self, channel: &ChannelKey, message: &Bytes, now: Duration) {
        if !self.keepers.is_empty() {
            self.keepers.keep(channel, message, self.node.clock().read(now));
        }
    }

    /// Opens channels again that had waited for nodes that are handed over, or for this one to catch up.
    fn release_openings(&mut self, now: Duration) {
        if self.keepers.is_empty() {
            let channels = self.openings.release(now + self.settings.deadline);
            self.ask_again(channels, now);
        }
    }

    /// Asks the other nodes again for their states of channels.
    fn ask_again(&mut self, channels: Vec<ChannelKey>, now: Duration) {
        for channel in channels {
            if !inbound::request_states(&self.node, &channel, now) {
                self.openings.open(&channel, now);
            }
        }
    }

    /// Returns the channel that a message is about.
    fn channel_of(&self, subject: &str, message: &ClusterMessage<'_>) -> Option<ChannelKey> {
        match message {
            ClusterMessage::Backup { app, channel, .. } => {
                inbound::find_channel(&self.node, app, channel)
            }
            _ => self.subjects.channel(subject).cloned(),
        }
    }

    /// A message that has just arrived on a channel.
    fn arrived<'a>(
        &self,
        channel: &'a ChannelKey,
        from: NodeId,
        message: &'a ClusterMessage<'a>,
        bytes: &'a [u8],
    ) -> Arrived<'a> {
        let app = &self.node.apps().get(channel.app).id;
        let id = MessageId::new(from, app, channel.name.as_str(), bytes);
        let is_unique = from != self.id && matches!(message, ClusterMessage::Event { .. });
        Arrived { channel, from, id, bytes, is_unique }
    }

    /// Delivers what this node has missed while it was handed over, as soon as it has arrived.
    fn proceed_hand_over(&mut self, now: Duration) {
        let caught_up = self.hand_over.take_caught_up(self.state.is_up, now);
        let Some(CaughtUp { messages, is_complete }) = caught_up else { return };
        for pending in messages {
            let Ok(Received { from, message: Some(message) }) = decode(&pending.message) else {
                continue;
            };
            if from == self.id {
                self.returned(Some(&pending.channel), &message, now);
            } else if let ClusterMessage::BackupSubscribe { .. } | ClusterMessage::Backup { .. } =
                message
            {
                self.message_to_me(from, &message, now);
            } else {
                self.channel_message(&pending.channel, from, &message, None, now);
            }
        }
        self.state.is_joined = true;
        self.release_openings(now);
        if !is_complete {
            // A hand-over disconnects nobody.
            self.gap.begin_elsewhere(OnGap::Event, &self.node);
        }
    }

    /// Handles a message of this node that the bus has returned, on this channel or on no channel.
    fn returned(
        &mut self,
        channel: Option<&ChannelKey>,
        message: &ClusterMessage<'_>,
        now: Duration,
    ) {
        match (message, channel) {
            (ClusterMessage::Heartbeat { at, .. }, _) => {
                self.heard_myself(Duration::from_micros(*at), now);
            }
            (ClusterMessage::Event { ticket, .. }, _) => self.deliver_through(*ticket, now),
            (ClusterMessage::KeyClaims { ticket, .. }, _) => {
                self.keys.returned(*ticket, self.id, now);
            }
            (ClusterMessage::StateChange { number, .. }, Some(channel)) => {
                inbound::apply_own(&self.node, self.changes.take_through(channel, *number), now);
            }
            _ => {}
        }
    }

    fn begin_opening(&mut self, channel: &ChannelKey, now: Duration, wire: &mut impl Wire) {
        let has_log = self.listen(channel, wire);
        if self.state.is_up {
            self.openings.begin(channel.clone(), now + self.settings.deadline);
            if has_log {
                self.openings.load(channel);
            }
        } else {
            self.openings.open_without_bus(channel, now);
        }
    }

    /// Subscribes to the subject of a channel, and to its log. Returns whether it has one.
    fn listen(&mut self, channel: &ChannelKey, wire: &mut impl Wire) -> bool {
        let subject = self.subject(channel);
        wire.subscribe(&subject);
        let has_log = self.logs.open(&subject, channel, wire);
        self.subjects.add(subject, channel.clone());
        has_log
    }

    /// Whether commands can be executed: not while the bus has too many events to return.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.flights.have_room()
    }

    /// Publishes an event. `ack` is held until the bus has accepted it.
    fn publish_event(
        &mut self,
        event: OwnEvent,
        ack: Option<DeliveryAck>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        let subject = self.subject(&event.channel);
        if !self.members.are_back() {
            ack.iter().for_each(DeliveryAck::missed_the_bus);
        }
        let ticket = self.flights.next_ticket();
        let message = event.encode(self.id, ack.as_ref(), ticket);
        if self.state.is_up {
            self.keep(&event.channel, &message, now);
        }
        let previous = self.subjects.expect_return(&subject, ticket);
        let unexpected = self.flights.add_event(event, ack, previous);
        inbound::deliver_own(&self.node, unexpected, now);
        if self.state.is_up {
            wire.publish(&subject, message, ticket);
        } else {
            self.lost(ticket, now);
        }
    }

    /// Appends an event to the log of its channel. Subscribers get it when the log returns it.
    fn append_event(&mut self, entry: NewEntry, now: Duration, wire: &mut impl Wire) {
        let log = self.subject(&entry.event.channel);
        if self.state.is_up {
            // The rule of its channel may be new.
            self.logs.follow_rules(self.subjects.iter(), wire);
            self.logs.append(&log, entry, now, &mut self.flights, wire);
        } else {
            self.state.refused += 1;
            entry.stored.iter().for_each(DeliveryAck::not_stored);
        }
    }

    /// Delivers an event of this node that the bus has returned or lost.
    fn deliver_through(&mut self, ticket: u64, now: Duration) {
        inbound::deliver_own(&self.node, self.flights.take_through(ticket), now);
    }

    fn subject(&self, channel: &ChannelKey) -> String {
        let app = &self.node.apps().get(channel.app).id;
        channel_subject(&self.settings.prefix, app, &channel.name)
    }

    fn send_heartbeat(&mut self, now: Duration, wire: &mut impl Wire) {
        self.next_heartbeat = now + self.settings.lease / HEARTBEATS_PER_LEASE;
        if self.state.is_up {
            let clock = self.node.clock().read(now);
            let heartbeat = self.members.heartbeat(clock, self.state.is_joined, now);
            let ticket = self.sender.send_to_all(&heartbeat, &mut self.flights, wire);
            self.joining.sent(ticket);
        }
    }

    /// Handles the return of this node's own heartbeat.
    fn heard_myself(&mut self, sent: Duration, now: Duration) {
        self.state.lag = now.saturating_sub(sent);
        self.members.heard_myself(now);
        if sent > self.members.spared() + RETURN_TIMEOUT {
            inbound::deliver_own(&self.node, self.flights.take_overdue(sent), now);
            inbound::apply_own(&self.node, self.changes.take_overdue(sent), now);
            self.logs.end_overdue(sent);
        }
    }

    /// Records that a node is alive, or that there is an external publisher.
    fn meet(
        &mut self,
        from: NodeId,
        message: &ClusterMessage<'_>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        if from == NodeId::OUTSIDE {
            return self.gap.meet_publisher();
        }
        if matches!(message, ClusterMessage::Goodbye) {
            return self.remove_peer(from, Some(Departure::Stopped), now);
        }
        self.renew_lease(from, now, wire);
        if let &ClusterMessage::Heartbeat { at, versions, clock, nodes } = message {
            let is_older = Duration::from_micros(at) > now.saturating_sub(self.state.since);
            self.gap.hear_node(is_older, self.settings.on_gap, &self.node);
            inbound::check_versions(&mut self.members, from, versions, self.settings.versions);
            self.node.clock().observe(clock, now);
            self.joining.claimed(nodes);
        }
    }

    /// Skips a message of a newer protocol version. Its sender is alive all the same.
    fn skip(&mut self, from: NodeId, now: Duration, wire: &mut impl Wire) {
        self.state.skipped += 1;
        if from != NodeId::OUTSIDE && from != self.id {
            self.renew_lease(from, now, wire);
        }
    }

    fn renew_lease(&mut self, node: NodeId, now: Duration, wire: &mut impl Wire) {
        match self.members.heard(node, now) {
            // The node is new or was considered dead: its state is unknown here. It may wait to learn of this
            // node, to follow its clock and to serve its first client.
            Health::New => {
                self.hand_over.remove_peer(node);
                self.send_heartbeat(now, wire);
                let request = ClusterMessage::ResyncRequest(node);
                self.sender.send_to_all(&request, &mut self.flights, wire);
            }
            // It may wait for this node, too.
            Health::Back => self.send_heartbeat(now, wire),
            Health::Known => {}
        }
    }

    /// Removes a node and everything it had.
    fn remove_peer(&mut self, peer: NodeId, departure: Option<Departure>, now: Duration) {
        let heard_at = self.members.remove(peer);
        self.queries.remove_peer(peer);
        self.keys.remove_peer(peer);
        self.hand_over.remove_peer(peer);
        inbound::remove_peer(&self.node, Gone { node: peer, departure, heard_at }, now);
        self.takeover.begin();
        self.openings.remove_peer(peer, now);
    }

    /// Handles a message on a channel's subject.
    fn channel_message(
        &mut self,
        channel: &ChannelKey,
        from: NodeId,
        message: &ClusterMessage<'_>,
        ack: Option<&DeliveryAck>,
        now: Duration,
    ) {
        if let ClusterMessage::ExternalPublish(event) = message {
            let is_valid = inbound::deliver_external(&self.node, channel, event, now);
            self.state.invalid += u64::from(!is_valid);
            return;
        }
        if matches!(message, ClusterMessage::EventsMissed) {
            return resync::announce_gap(self.settings.on_gap, &self.node, channel, now);
        }
        let is_complete = inbound::apply(&self.node, channel, from, message, ack, now);
        let (ClusterMessage::SyncRequest(state) | ClusterMessage::State(state)) = message else {
            return;
        };
        let reply = Reply::of(state, self.id);
        if is_complete {
            self.openings.replied(channel, from, reply, now);
        }
    }

    /// Handles a message on this node's subject.
    fn message_to_me(&mut self, from: NodeId, message: &ClusterMessage<'_>, now: Duration) {
        match message {
            ClusterMessage::BackupSubscribe { app, channel } => {
                let is_valid = inbound::begin_backup(&self.node, app, channel, now);
                self.state.invalid += u64::from(!is_valid);
            }
            ClusterMessage::Backup { app, channel, message } => {
                let is_valid = inbound::back_up(&self.node, from, app, channel, message, now);
                self.state.invalid += u64::from(!is_valid);
            }
            ClusterMessage::VersionDigests { app, channels } => {
                inbound::compare_versions(&self.node, app, from, channels, now);
            }
            ClusterMessage::AnsweredKeys(_) => self.keys.message(from, message, now),
            ClusterMessage::HandOverReady => self.hand_over.is_ready(from),
            ClusterMessage::KeptEvents(events) => {
                for event in events {
                    let id = MessageId::new(from, event.app, event.channel, event.message);
                    let channel = inbound::find_channel(&self.node, event.app, event.channel);
                    self.hand_over.kept(from, id, channel, event);
                }
            }
            ClusterMessage::KeptEnd { count, is_complete } => {
                self.hand_over.ended(from, *count, *is_complete);
            }
            reply => self.queries.replied(from, reply),
        }
    }

    /// Handles a message on the subject of all nodes.
    fn message_to_all(
        &mut self,
        from: NodeId,
        message: &ClusterMessage<'_>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        match message {
            ClusterMessage::ResyncRequest(node) if *node == self.id => {
                // It had considered this node dead, so it has other backups now.
                inbound::end_backups(&self.node, from, now);
                let is_request = self.resync.is_some_and(|resync| resync.is_request);
                self.resync = Some(Resync::start(is_request));
            }
            &ClusterMessage::Query { ticket, app, ref question } => {
                let node = self.node.clone();
                replies::reply(&node, app, question, ticket, now, |reply| {
                    // Without one of its parts, the reply counts as partial.
                    if wire.has_room() {
                        self.sender.send_to(from, &reply, &mut self.flights, wire);
                    }
                });
            }
            ClusterMessage::HandingOver => {
                self.keepers.begin(from, now);
                self.members.spare_until(from, now + HAND_OVER_TIME);
                self.openings.hold();
                let ready = ClusterMessage::HandOverReady;
                self.sender.send_to(from, &ready, &mut self.flights, wire);
            }
            &ClusterMessage::HandedOver { is_back } => self.end_keeping(from, is_back, now, wire),
            ClusterMessage::EventsMissed => {
                self.gap.begin_elsewhere(self.settings.on_gap, &self.node);
            }
            ClusterMessage::KeyClaims { .. } | ClusterMessage::KeyEnded { .. } => {
                self.keys.message(from, message, now);
            }
            ClusterMessage::KeysRequest => {
                let part_bytes = self.node.config().part_bytes;
                let (keys, sender) = self.key_sender(wire);
                keys.send_to(from, part_bytes, now, sender);
            }
            // One node relays the event for all: the one with the smallest id.
            ClusterMessage::RelayPublish { app, channel, event }
                if self.members.ids().all(|peer| self.id < peer) =>
            {
                let is_valid = inbound::relay(&self.node, app, channel, event, now);
                self.state.invalid += u64::from(!is_valid);
            }
            _ => {}
        }
    }

    /// Asks one of the other nodes to be a channel's backup.
    fn request_backup(&mut self, channel: &ChannelKey, now: Duration, wire: &mut impl Wire) {
        let backup = self.sender.choose(channel, self.members.ids());
        let Some(backup) = backup.filter(|_| self.state.is_up) else { return };
        if self.members.version() >= Version::BACKUPS {
            return self.node.step(channel, now, |shard, step| {
                backups::begin(shard, channel, backup, step);
            });
        }
        let node = self.node.clone();
        let app = &node.apps().get(channel.app).id;
        let message = ClusterMessage::BackupSubscribe { app, channel: channel.name.as_str() };
        self.send_to_backup(backup, channel, &message, now, wire);
    }

    /// Sends a message to a channel's backup, and keeps it while that node is handed over.
    fn send_to_backup(
        &mut self,
        backup: NodeId,
        channel: &ChannelKey,
        message: &ClusterMessage<'_>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        if !self.state.is_up {
            return;
        }
        if let Some(keeper) = self.keepers.of(backup) {
            keeper.keep(channel, &encode(self.id, message), self.node.clock().read(now));
        }
        self.sender.send_to(backup, message, &mut self.flights, wire);
    }

    /// Claims idempotency keys for this node, which then publishes with those that are new. `then` is called
    /// when the bus has returned the claims, or does not in time.
    pub fn claim(
        &mut self,
        claims: Vec<KeyClaim>,
        now: Duration,
        wire: &mut impl Wire,
        then: OnClaimed,
    ) {
        let deadline = self.state.is_up.then_some(now + self.settings.deadline);
        let (keys, sender) = self.key_sender(wire);
        keys.claim(claims, deadline, now, sender, then);
    }

    /// Ends the claim of a key. `answer` is what repeats get, on all nodes; `None` if nothing was published.
    pub fn end_claim(
        &mut self,
        key: KeyHash,
        answer: Option<Bytes>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        let (keys, sender) = self.key_sender(wire);
        keys.end(key, answer, now, sender);
    }

    fn key_sender<'a, W: Wire>(
        &'a mut self,
        wire: &'a mut W,
    ) -> (&'a mut ClusterKeys, KeySender<'a, W>) {
        let Self { id, keys, members, sender, flights, .. } = self;
        (keys, KeySender { id: *id, members, sender, flights, wire })
    }

    /// Queries all other nodes. `then` is called when they have replied, at the deadline, or when the bus is
    /// lost.
    pub fn ask(
        &mut self,
        app: &str,
        question: Query<'_>,
        now: Duration,
        wire: &mut impl Wire,
        then: OnGathered,
    ) {
        if !self.state.is_up {
            return then(Gathered { is_partial: true, ..Gathered::default() });
        }
        let until = now + self.settings.deadline;
        if let Some(ticket) = self.queries.begin(self.members.ids().collect(), until, then) {
            let query = ClusterMessage::Query { ticket, app, question };
            self.sender.send_to_all(&query, &mut self.flights, wire);
        }
    }
}
