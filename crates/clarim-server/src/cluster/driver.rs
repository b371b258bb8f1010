//! The cluster's thread: connects the node's cluster protocol with the bus and the clock.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clarim_bus::{BusError, BusEvent, Connection, IdempotencyKey, Log, PageLimit, Retention};
use clarim_cluster::timing::TICK;
use clarim_cluster::{NodeId, Versions};
use clarim_hub::app::HistoryRule;
use clarim_hub::cluster::{ClusterSettings, ClusterState, LogEntry, LogEvent, LogPage, Wire};
use clarim_hub::snapshot::SavedCluster;
use clarim_hub::{BusCommand, ChannelKey, Node, OutputSink, cluster};
use clarim_protocol::{Epoch, Position};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::handover::{
    CONNECT_TIMEOUT, ClusterAtRest, HandOverRequest, HandOverState, SavedTraffic,
};
use super::{BusTraffic, ClusterChannels, ClusterHost, ClusterQuery, ClusterRequest, HistoryFile};
use crate::config::Scaling;
use crate::sync::{BacklogReceiver, Phase, ShutdownSignal};

/// Maximum number of commands handled before the other inputs get their turn.
const BATCH: usize = 256;

/// Time for a node that shuts down to say so.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// Shortest time between two log lines about lost messages.
const LOSSES_PAUSE: Duration = Duration::from_secs(1);

/// Size of one part of a log that is read.
const PAGE: PageLimit = PageLimit { entries: 256, bytes: 1 << 20 };

/// Pause between two checks whether the workers' inboxes have room again.
const PAUSE: Duration = Duration::from_millis(2);

/// The state that another program has handed over.
#[derive(Debug)]
pub(crate) struct SavedClusterState {
    pub(crate) cluster: SavedCluster,
    pub(crate) traffic: SavedTraffic,
}

/// The work of the cluster's thread. Made on another thread than it runs on.
#[derive(Debug)]
pub(crate) struct ClusterTask<S> {
    pub(crate) scaling: Scaling,
    /// On a single node: the bus, which connects no other nodes.
    pub(crate) file: Option<HistoryFile>,
    pub(crate) id: NodeId,
    pub(crate) node: Arc<Node<S>>,
    pub(crate) channels: ClusterChannels,
    /// Present if the node was handed over by another program.
    pub(crate) saved: Option<SavedClusterState>,
    /// The node's commands for the bus.
    pub(crate) commands: BacklogReceiver<BusCommand>,
    /// The node's zero of time.
    pub(crate) started: Instant,
    pub(crate) shutdown: ShutdownSignal,
    /// Closed once no other part of the server needs the cluster.
    pub(crate) users: oneshot::Receiver<()>,
}

impl<S: OutputSink + ClusterHost + Send + Sync + 'static> ClusterTask<S> {
    /// Connects to the bus and takes part in the cluster until the server has closed.
    pub(crate) async fn run(self) {
        let Self { scaling, file, id, node, channels, saved, commands, started, .. } = self;
        let mut shutdown = self.shutdown;
        let users = self.users;
        let settings = ClusterSettings {
            prefix: scaling.prefix,
            lease: scaling.lease,
            deadline: scaling.deadline,
            is_ordered: scaling.is_ordered,
            on_gap: scaling.on_gap,
            versions: Versions::OWN,
        };
        let now = started.elapsed();
        let connect_until = saved.as_ref().map(|_| now + CONNECT_TIMEOUT);
        let cluster = match &saved {
            None => cluster::Cluster::new(node.clone(), id, settings),
            Some(SavedClusterState { cluster, traffic }) => {
                traffic.restore(&channels.traffic);
                cluster::Cluster::restored(node.clone(), id, settings, cluster, now)
            }
        };
        let mut driver = Driver {
            bus: scaling.bus.connect(),
            file,
            rules: 0,
            cluster,
            node,
            commands,
            started,
            channels,
            hand_over: HandOverState::None,
            handled: 0,
            connect_until,
            logged_losses: LoggedLosses::default(),
            refusal_logged_at: None,
        };
        driver.end_unruled();
        let wire = &mut BusWire::new(&mut driver.bus, &driver.channels.traffic);
        driver.cluster.start(now, wire);
        driver.report();
        let ended = async {
            shutdown.reached(Phase::Closed).await;
            // Nothing is sent: the sender is dropped.
            let _ = users.await;
        };
        tokio::select! {
            () = driver.drive() => {}
            () = ended => {}
        }
        // The successor of a node that was handed over does not leave.
        if !matches!(driver.hand_over, HandOverState::Stopped) {
            let _ = timeout(LEAVE_TIMEOUT, driver.leave()).await;
        }
    }
}

struct Driver<S> {
    bus: Connection,
    file: Option<HistoryFile>,
    /// The version of the apps' settings with which the file agrees.
    rules: u64,
    cluster: cluster::Cluster<S>,
    node: Arc<Node<S>>,
    commands: BacklogReceiver<BusCommand>,
    started: Instant,
    channels: ClusterChannels,
    hand_over: HandOverState,
    /// Number of commands and bus events handled.
    handled: u64,
    /// On a node that was handed over and is not connected yet: when it stops waiting for the bus.
    connect_until: Option<Duration>,
    logged_losses: LoggedLosses,
    refusal_logged_at: Option<Duration>,
}

/// Counts the lost messages that have been logged.
#[derive(Debug, Default)]
struct LoggedLosses {
    count: u64,
    at: Duration,
}

impl<S: OutputSink + ClusterHost + Send + Sync + 'static> Driver<S> {
    async fn drive(&mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let HandOverState::Stopped = self.hand_over {
                let Some(request) = self.channels.hand_overs.recv().await else { return };
                self.take_hand_over(request);
                continue;
            }
            // While the workers can't keep up, messages wait in the bus. While the bus can't keep up,
            // commands wait, and in the end publishers.
            let has_room = self.node.sink().workers_have_room();
            tokio::select! {
                Some(first) = self.commands.recv(), if self.bus_has_room() => {
                    self.execute(first);
                    for _ in 1..BATCH {
                        let next = if self.bus_has_room() { self.commands.try_recv() } else { None };
                        let Some(next) = next else { break };
                        self.execute(next);
                    }
                }
                event = self.bus.next(), if has_room => self.receive(event),
                Some(request) = self.channels.requests.recv() => self.answer(request),
                Some(request) = self.channels.hand_overs.recv() => self.take_hand_over(request),
                _ = tick.tick() => self.tick(),
                () = sleep(PAUSE), if !has_room => {}
            }
            self.proceed_hand_over();
        }
    }

    fn take_hand_over(&mut self, request: HandOverRequest) {
        let now = self.started.elapsed();
        let wire = &mut BusWire::new(&mut self.bus, &self.channels.traffic);
        match request {
            HandOverRequest::Prepare(reply) if !self.cluster.state().is_joined => {
                // The receiver may be gone.
                let _ = reply.send(false);
            }
            HandOverRequest::Prepare(reply) => {
                self.cluster.hand_over(now, wire);
                self.hand_over = HandOverState::Preparing(reply);
            }
            HandOverRequest::Rest(reply) => self.hand_over = HandOverState::Resting(reply),
            HandOverRequest::Resume => {
                if !matches!(self.hand_over, HandOverState::None) {
                    self.cluster.cancel_hand_over(wire);
                }
                self.hand_over = HandOverState::None;
            }
        }
        self.proceed_hand_over();
    }

    fn proceed_hand_over(&mut self) {
        let is_ready = || self.cluster.is_ready_to_hand_over(self.started.elapsed());
        self.hand_over = match std::mem::take(&mut self.hand_over) {
            HandOverState::Preparing(reply) if is_ready() => {
                let _ = reply.send(true);
                HandOverState::Prepared
            }
            HandOverState::Resting(reply)
                if self.commands.is_empty() && self.cluster.is_at_rest() =>
            {
                if is_ready() {
                    let saved = self.cluster.save();
                    let traffic = SavedTraffic::of(&self.channels.traffic);
                    let _ = reply.send(ClusterAtRest { saved, traffic, handled: self.handled });
                }
                HandOverState::Stopped
            }
            state => state,
        };
    }

    fn bus_has_room(&self) -> bool {
        self.connect_until.is_none() && self.bus.has_room() && self.cluster.has_room()
    }

    fn execute(&mut self, command: BusCommand) {
        self.end_unruled();
        self.handled += 1;
        let now = self.started.elapsed();
        let wire = &mut BusWire::new(&mut self.bus, &self.channels.traffic);
        self.cluster.execute(command, now, wire);
    }

    fn answer(&mut self, request: ClusterRequest) {
        let now = self.started.elapsed();
        let wire = &mut BusWire::new(&mut self.bus, &self.channels.traffic);
        // The receiver of a reply may be gone.
        match request {
            ClusterRequest::Query(ClusterQuery { app, query, reply }) => {
                let then = Box::new(move |gathered| drop(reply.send(gathered)));
                self.cluster.ask(&app, query, now, wire, then);
            }
            ClusterRequest::Claim { claims, reply } => {
                let then = Box::new(move |outcomes| drop(reply.send(outcomes)));
                self.cluster.keys(wire).claim(claims, now, then);
            }
            ClusterRequest::EndClaim { key, answer } => {
                self.cluster.keys(wire).end(key, answer, now);
            }
        }
    }

    /// Ends the histories of channels that have no rule any more, before they get events by a later one.
    fn end_unruled(&mut self) {
        let Some(file) = &self.file else { return };
        let rules = self.node.apps().changes();
        let before = std::mem::replace(&mut self.rules, rules);
        if before != rules {
            file.end_unruled(self.node.clone(), before + 1);
        }
    }

    fn tick(&mut self) {
        self.end_unruled();
        let now = self.started.elapsed();
        if self.connect_until.take_if(|until| now >= *until).is_some() {
            tracing::warn!(
                code = "bus_not_connected",
                "no connection to the bus since the restart; this node serves only its own clients until it is there"
            );
            self.cluster.down(now);
        }
        let wire = &mut BusWire::new(&mut self.bus, &self.channels.traffic);
        self.cluster.tick(now, wire);
        self.report();
        self.log_losses();
    }

    /// Logs messages that the bus did not accept, at most once a second. Those of an outage are logged after
    /// it.
    fn log_losses(&mut self) {
        let state = self.cluster.state();
        let now = self.started.elapsed();
        let LoggedLosses { count, at } = self.logged_losses;
        // A file has said why.
        if self.file.is_none() && state.is_up && state.lost > count && now > at + LOSSES_PAUSE {
            self.logged_losses = LoggedLosses { count: state.lost, at: now };
            let lost = state.lost - count;
            tracing::warn!(
                code = "bus_messages_lost",
                lost,
                "the bus did not accept messages; their events reached only this node's clients"
            );
        }
    }

    fn receive(&mut self, event: BusEvent) {
        self.handled += 1;
        let now = self.started.elapsed();
        let traffic = &self.channels.traffic;
        let wire = &mut BusWire::new(&mut self.bus, traffic);
        match event {
            BusEvent::Message { subject, payload } => {
                traffic.messages_in.add(1);
                traffic.bytes_in.add(payload.len() as u64);
                let node = &self.node;
                let start_delivery = |channel: &ChannelKey, trace| {
                    let app = &node.apps().get(channel.app).id;
                    node.sink().start_delivery(app, channel.name.as_str(), trace)
                };
                self.cluster.message(&subject, &payload, start_delivery, now, wire);
            }
            BusEvent::Published { id, receivers } => {
                self.cluster.published(id, receivers, now);
            }
            BusEvent::Lost { id } => self.cluster.lost(id, now),
            BusEvent::Subscribed { subject, is_first } => {
                self.cluster.subscribed(&subject, is_first, now);
            }
            BusEvent::Connected => {
                if self.file.is_none() {
                    tracing::info!("connected to the bus");
                }
                self.connect_until = None;
                self.cluster.up(now, wire);
                self.report();
            }
            BusEvent::Disconnected(error) => {
                traffic.losses.add(1);
                self.log_disconnection(&error);
                self.cluster.down(now);
                self.report();
            }
            BusEvent::Following { log } => {
                self.cluster.log_event(LogEvent::Following(&log), now, wire);
            }
            BusEvent::Entry { log, entry } => {
                traffic.messages_in.add(1);
                traffic.bytes_in.add(entry.payload.len() as u64);
                self.cluster.log_event(LogEvent::Entry(&log, entry_of(entry)), now, wire);
            }
            BusEvent::Appended { id, position, is_duplicate } => {
                let position = position_of(position);
                let event = LogEvent::Appended { ticket: id, position, is_new: !is_duplicate };
                self.cluster.log_event(event, now, wire);
            }
            BusEvent::Page { id, page } => {
                let page = LogPage {
                    current: position_of(page.current),
                    start: page.start,
                    entries: page.entries.into_iter().map(entry_of).collect(),
                };
                self.cluster.log_event(LogEvent::Page { ticket: id, page }, now, wire);
            }
            BusEvent::Refused { id, error } => {
                self.cluster.lost(id, now);
                self.log_refusal(&error);
            }
            // Events of later versions.
            _ => {}
        }
    }

    fn log_disconnection(&self, error: &BusError) {
        let effect = match self.file {
            Some(_) => "the histories cannot be used; publishers to their channels get 503",
            None => {
                "lost the connection to the bus; this node serves only its own clients until it is back"
            }
        };
        tracing::warn!(code = error.code(), reason = %error, "{effect}");
    }

    /// Logs that a history cannot be used, at most once a second.
    fn log_refusal(&mut self, error: &BusError) {
        let now = self.started.elapsed();
        if self.refusal_logged_at.is_none_or(|at| now > at + LOSSES_PAUSE) {
            self.refusal_logged_at = Some(now);
            let refused = "the history of a channel cannot be kept or read; publishers get 503";
            tracing::warn!(code = error.code(), reason = %error, "{refused}");
        }
    }

    /// Sends the remaining commands, and tells the other nodes that this one leaves, so that they need not
    /// wait for the end of its lease.
    async fn leave(&mut self) {
        while let Some(command) = self.commands.try_recv() {
            self.execute(command);
        }
        if !self.cluster.state().is_up {
            return;
        }
        let wire = &mut BusWire::new(&mut self.bus, &self.channels.traffic);
        let goodbye = self.cluster.say_goodbye(wire);
        loop {
            match self.bus.next().await {
                BusEvent::Published { id, .. } | BusEvent::Lost { id } if id == goodbye => return,
                BusEvent::Disconnected(_) => return,
                event => self.receive(event),
            }
        }
    }

    /// Updates the state that handles show.
    fn report(&self) {
        let state: ClusterState = self.cluster.state();
        let channels = &self.channels;
        channels.state.send_if_modified(|shown| std::mem::replace(shown, state) != state);
        let mut nodes: Vec<NodeId> = self.cluster.peers().collect();
        nodes.sort_unstable();
        channels.nodes.send_if_modified(|shown| {
            let is_changed = *shown != nodes;
            *shown = nodes;
            is_changed
        });
    }
}

/// The bus as the cluster protocol uses it. Counts what is sent.
struct BusWire<'a> {
    bus: &'a mut Connection,
    traffic: &'a BusTraffic,
}

impl<'a> BusWire<'a> {
    fn new(bus: &'a mut Connection, traffic: &'a BusTraffic) -> Self {
        Self { bus, traffic }
    }
}

impl Wire for BusWire<'_> {
    fn has_room(&self) -> bool {
        self.bus.has_room()
    }

    fn subscribe(&mut self, subject: &str) {
        self.bus.subscribe(subject);
    }

    fn unsubscribe(&mut self, subject: &str) {
        self.bus.unsubscribe(subject);
    }

    fn publish(&mut self, subject: &str, message: Bytes, ticket: u64) {
        self.traffic.messages_out.add(1);
        self.traffic.bytes_out.add(message.len() as u64);
        self.bus.publish(subject, message, ticket);
    }

    fn follow(&mut self, log: &str) {
        self.bus.follow(log);
    }

    fn unfollow(&mut self, log: &str) {
        self.bus.unfollow(log);
    }

    fn append(
        &mut self,
        log: &str,
        rule: &HistoryRule,
        entry: Bytes,
        key: Option<&str>,
        ticket: u64,
    ) {
        self.traffic.messages_out.add(1);
        self.traffic.bytes_out.add(entry.len() as u64);
        // The server has checked its length.
        let key = key.and_then(|key| IdempotencyKey::new(key).ok());
        self.bus.append(&log_of(log, rule), entry, key, ticket);
    }

    fn read(&mut self, log: &str, rule: &HistoryRule, after: u64, ticket: u64) {
        self.bus.read(&log_of(log, rule), after, PAGE, ticket);
    }
}

pub(super) fn log_of(name: &str, rule: &HistoryRule) -> Log {
    let messages = u32::try_from(rule.messages).unwrap_or(u32::MAX);
    Log::new(name, Retention::new(messages, rule.ttl, rule.bytes as u64))
}

fn position_of(position: clarim_bus::Position) -> Position {
    // Epochs are random.
    let epoch = Epoch(NonZeroU64::new(position.epoch).unwrap_or(NonZeroU64::MIN));
    Position { epoch, offset: position.offset }
}

fn entry_of(entry: clarim_bus::LogEntry) -> LogEntry {
    let position = position_of(entry.position);
    LogEntry { position, previous: entry.previous, message: entry.payload }
}
