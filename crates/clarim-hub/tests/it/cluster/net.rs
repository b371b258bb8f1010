//! A bus that delivers when the test lets it, and the nodes on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::NodeId;
use clarim_cluster::timing::{HAND_OVER_PATIENCE, TICK};
use clarim_cluster::{ClusterMessage, Gathered, PART_BYTES, Query, Version, Versions};
use clarim_hub::app::{App, HistoryRule};
use clarim_hub::cluster::{Cluster, ClusterSettings, LogEntry, LogEvent, LogPage, OnGap, Wire};
use clarim_hub::snapshot::SavedDelay;
use clarim_hub::{ChannelEvent, Debounce, DebounceAction, NodeBus, NodeConfig};
use clarim_protocol::{Epoch, Position};

use crate::harness::handover::{self, Record};
use crate::harness::{Hooked, Outbound, World};

pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// Bytes in one part of a long message: less than one member.
const SMALL_PART: usize = 20;

/// The release of a node, by the protocol that it speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Release {
    /// The first one: its messages have no appended fields.
    First,
    /// The one before this: its backups subscribe to the channels.
    Former,
    #[default]
    Current,
    /// The next one: each of its messages has one more field, and it sends one more kind of message.
    Next,
}

impl Release {
    fn versions(self) -> Versions {
        match self {
            Self::First => Versions::UNSAID,
            Self::Former => Versions { newest: Version::KEYS, ..Versions::OWN },
            Self::Current => Versions::OWN,
            Self::Next => Versions { newest: Version(Version::NEWEST.0 + 1), ..Versions::OWN },
        }
    }

    /// Whether a node of this release understands a message, by the version in it.
    fn understands(self, message: &[u8]) -> bool {
        let version = Version(message[1]);
        match self {
            Self::First | Self::Former => version <= self.versions().newest,
            Self::Current | Self::Next => true,
        }
    }

    /// The messages that a node of this release sends instead of `message`.
    fn messages(self, message: Bytes) -> Vec<Bytes> {
        const KIND: usize = 10;
        const EVENT: u8 = 0;
        match self {
            // Nodes of the first release do not need the ticket of an event, as they do not wait for it.
            Self::First if message[KIND] != EVENT => vec![without_appended_fields(&message)],
            Self::First | Self::Former | Self::Current => vec![message],
            Self::Next => {
                let header = &message[..KIND];
                let kind = [header, &[40, 1, 2, 3]].concat();
                let mut newer = [header, &[3, 7, 99]].concat();
                newer[1] = Version::NEWEST.0 + 1;
                let longer = [&message[..], &[7, 7, 7]].concat();
                vec![kind.into(), longer.into(), newer.into()]
            }
        }
    }
}

/// Returns the message as the first release encodes it.
fn without_appended_fields(message: &[u8]) -> Bytes {
    // Postcard's encoding of the fields that are not appended ends where the appended ones begin.
    const HEADER: usize = 10;
    let (_, appended) =
        postcard::take_from_bytes::<ClusterMessage<'_>>(&message[HEADER..]).unwrap();
    Bytes::copy_from_slice(&message[..message.len() - appended.len()])
}

/// The ticket of messages that only the next release sends.
const NO_TICKET: u64 = u64::MAX;

/// From a node to the bus.
#[derive(Debug)]
enum Command {
    Subscribe(String),
    Unsubscribe(String),
    Publish(String, Bytes, u64),
    Follow(String),
    Unfollow(String),
    Append(String, Bytes, Option<String>, u64),
    Read(String, u64, u64),
}

/// From the bus to a node.
#[derive(Debug)]
enum News {
    Up,
    Down,
    Subscribed(String, bool),
    Message(String, Bytes),
    Published(u64, u32),
    Lost(u64),
    Following(String),
    Entry(String, LogEntry),
    Appended(u64, Position, bool),
    Page(u64, LogPage),
}

/// A node and its connection to the bus.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) cluster: Cluster<Outbound>,
    pub(crate) is_frozen: bool,
    pub(crate) line: Line,
    debounce: Debounce,
    /// The webhooks that the node has sent and that were not taken.
    webhooks: Vec<ChannelEvent>,
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    release: Release,
    is_connected: bool,
    /// The subjects to subscribe to after a reconnect.
    wanted: BTreeSet<String>,
    /// The logs to follow after a reconnect.
    followed: BTreeSet<String>,
    commands: VecDeque<Command>,
    news: VecDeque<News>,
}

impl Wire for Line {
    fn subscribe(&mut self, subject: &str) {
        self.wanted.insert(subject.to_owned());
        if self.is_connected {
            self.commands.push_back(Command::Subscribe(subject.to_owned()));
        }
    }

    fn unsubscribe(&mut self, subject: &str) {
        self.wanted.remove(subject);
        if self.is_connected {
            self.commands.push_back(Command::Unsubscribe(subject.to_owned()));
        }
    }

    fn publish(&mut self, subject: &str, message: Bytes, ticket: u64) {
        if self.is_connected {
            let messages = self.release.messages(message);
            // The second is the message itself, in a longer form.
            let own = usize::from(messages.len() > 1);
            for (n, message) in messages.into_iter().enumerate() {
                let ticket = if n == own { ticket } else { NO_TICKET };
                self.commands.push_back(Command::Publish(subject.to_owned(), message, ticket));
            }
        } else {
            self.news.push_back(News::Lost(ticket));
        }
    }

    fn follow(&mut self, log: &str) {
        self.followed.insert(log.to_owned());
        if self.is_connected {
            self.commands.push_back(Command::Follow(log.to_owned()));
        }
    }

    fn unfollow(&mut self, log: &str) {
        self.followed.remove(log);
        if self.is_connected {
            self.commands.push_back(Command::Unfollow(log.to_owned()));
        }
    }

    fn append(&mut self, log: &str, _: &HistoryRule, entry: Bytes, key: Option<&str>, ticket: u64) {
        if self.is_connected {
            let key = key.map(str::to_owned);
            self.commands.push_back(Command::Append(log.to_owned(), entry, key, ticket));
        } else {
            self.news.push_back(News::Lost(ticket));
        }
    }

    fn read(&mut self, log: &str, _: &HistoryRule, after: u64, ticket: u64) {
        if self.is_connected {
            self.commands.push_back(Command::Read(log.to_owned(), after, ticket));
        } else {
            self.news.push_back(News::Lost(ticket));
        }
    }
}

/// All nodes, and the bus between them.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) places: Vec<Place>,
    pub(crate) now: Duration,
    /// Bytes in one part of a long message of the next node.
    pub(crate) part_bytes: usize,
    /// The time of day at the start of the next node, by its own clock.
    pub(crate) epoch: Duration,
    subscribers: BTreeMap<String, BTreeSet<usize>>,
    followers: BTreeMap<String, BTreeSet<usize>>,
    /// The logs that the server of the bus keeps.
    logs: BTreeMap<String, Vec<LogEntry>>,
    /// The positions to which idempotency keys have led, by log.
    log_keys: BTreeMap<(String, String), Position>,
    /// The epoch of all logs.
    log_epoch: u64,
    /// Whether the server of the bus takes no entries.
    pub(crate) is_store_full: bool,
    next_id: u64,
    app: App,
    /// What the nodes that start from now on do when they may have missed events.
    pub(crate) on_gap: OnGap,
    /// Number of subscribers of every subject that are not nodes.
    pub(crate) foreign: u32,
    /// Whether the bus counts the receivers of a message. If not, it reports first subscriptions.
    counts: bool,
    /// Messages that nodes have sent.
    pub(crate) sent: usize,
    /// Messages that the bus has delivered to nodes.
    pub(crate) delivered: usize,
    /// The webhooks that the backend has received, in order.
    pub(crate) webhooks: Vec<ChannelEvent>,
}

impl Net {
    pub(crate) fn new(nodes: usize, app: App, counts: bool) -> Self {
        let mut net = Self {
            places: Vec::new(),
            now: Duration::from_secs(1000),
            part_bytes: SMALL_PART,
            epoch: Duration::from_secs(1_000_000),
            subscribers: BTreeMap::new(),
            followers: BTreeMap::new(),
            logs: BTreeMap::new(),
            log_keys: BTreeMap::new(),
            log_epoch: 1,
            is_store_full: false,
            next_id: 1,
            app,
            on_gap: OnGap::Event,
            foreign: 0,
            counts,
            sent: 0,
            delivered: 0,
            webhooks: Vec::new(),
        };
        for _ in 0..nodes {
            net.start();
        }
        net.settle();
        net
    }

    /// Nodes of several releases.
    pub(crate) fn of_releases(releases: &[Release], app: App, counts: bool) -> Self {
        let mut net = Self::new(0, app, counts);
        for release in releases {
            net.start_release(*release);
        }
        net.settle();
        net
    }

    /// Asks all other nodes. The replies are there when everything has run.
    pub(crate) fn ask(&mut self, node: usize, query: Query<'_>) -> Arc<Mutex<Option<Gathered>>> {
        let replies = Arc::<Mutex<Option<Gathered>>>::default();
        let into = replies.clone();
        let then = Box::new(move |gathered| *into.lock().unwrap() = Some(gathered));
        let Place { cluster, line, .. } = &mut self.places[node];
        cluster.ask(&self.app.id, query, self.now, line, then);
        replies
    }

    /// A new node comes; it is the last in `places`.
    pub(crate) fn start(&mut self) {
        self.start_release(Release::Current);
    }

    fn start_release(&mut self, release: Release) {
        let place = self.new_place(release);
        self.places.push(place);
        self.mend(self.places.len() - 1);
    }

    fn new_place(&mut self, release: Release) -> Place {
        let id = NodeId(self.next_id);
        self.next_id += 1;
        // Nodes of the first release notice no lost parts.
        let part_bytes = if release == Release::First { PART_BYTES } else { self.part_bytes };
        let epoch = self.epoch;
        let config =
            NodeConfig { bus: NodeBus::Cluster(id), part_bytes, epoch, ..NodeConfig::new(1) };
        let mut world = World::in_cluster(config, vec![self.app.clone()]);
        world.now = self.now;
        let settings = self.settings(release);
        let mut cluster = Cluster::new(world.node.clone(), id, settings);
        let mut line = Line { release, ..Line::default() };
        cluster.start(self.now, &mut line);
        let debounce = Debounce::new(true);
        Place { world, cluster, is_frozen: false, line, debounce, webhooks: Vec::new() }
    }

    /// Cuts a node's connection to the bus. Messages on the way are lost.
    pub(crate) fn cut(&mut self, node: usize) {
        self.forget(node);
        let line = &mut self.places[node].line;
        if std::mem::take(&mut line.is_connected) {
            let has_arrived = |news: &News| {
                matches!(news, News::Published(..) | News::Appended(..) | News::Lost(_))
            };
            line.news.retain_mut(|news| {
                if let News::Page(ticket, _) = news {
                    *news = News::Lost(*ticket);
                }
                has_arrived(news)
            });
            for command in line.commands.drain(..) {
                if let Command::Publish(.., ticket)
                | Command::Append(.., ticket)
                | Command::Read(.., ticket) = command
                {
                    line.news.push_back(News::Lost(ticket));
                }
            }
            line.news.push_back(News::Down);
        }
    }

    /// Restores the connection.
    pub(crate) fn mend(&mut self, node: usize) {
        let line = &mut self.places[node].line;
        if !line.is_connected {
            line.is_connected = true;
            for subject in &line.wanted {
                self.subscribers.entry(subject.clone()).or_default().insert(node);
                line.news.push_back(News::Subscribed(subject.clone(), false));
            }
            for log in &line.followed {
                self.followers.entry(log.clone()).or_default().insert(node);
            }
            line.news.push_back(News::Up);
        }
    }

    /// A node asks the others to prepare its hand-over.
    pub(crate) fn hand_over(&mut self, node: usize) {
        let Place { cluster, line, .. } = &mut self.places[node];
        cluster.hand_over(self.now, line);
    }

    /// Whether the others are ready.
    pub(crate) fn is_ready(&self, node: usize) -> bool {
        self.places[node].cluster.is_ready_to_hand_over(self.now)
    }

    pub(crate) fn cancel_hand_over(&mut self, node: usize) {
        let Place { cluster, line, .. } = &mut self.places[node];
        cluster.cancel_hand_over(line);
    }

    /// A node is handed over, unless the bus does not answer.
    pub(crate) fn try_hand_over(&mut self, node: usize) {
        self.hand_over(node);
        self.pass(HAND_OVER_PATIENCE);
        if self.try_leave_bus(node) {
            self.come_back(node);
        }
    }

    /// A node announces that it stops, and dies.
    pub(crate) fn say_goodbye(&mut self, node: usize) {
        let Place { cluster, line, .. } = &mut self.places[node];
        cluster.say_goodbye(line);
        self.run_bus(node, usize::MAX);
        self.replace(node);
    }

    /// A node's program ends, as soon as nothing is on its way. What has come from the bus and was not read
    /// is lost. Its successor has everything but the connection to the bus.
    pub(crate) fn leave_bus(&mut self, node: usize) {
        assert!(self.try_leave_bus(node), "the bus has an answer");
    }

    /// As `leave_bus`. Returns whether the bus has accepted and returned everything. If not, the node goes
    /// on.
    pub(crate) fn try_leave_bus(&mut self, node: usize) -> bool {
        while !self.places[node].cluster.is_at_rest() {
            self.run_bus(node, usize::MAX);
            if self.places[node].line.news.is_empty() {
                self.cancel_hand_over(node);
                return false;
            }
            self.run_node(node, 1);
        }
        self.forget(node);
        let settings = self.settings(self.places[node].line.release);
        self.places[node].succeed(settings, self.now);
        self.take_webhooks(node);
        true
    }

    /// The successor of a node connects to the bus. Before that, it does nothing.
    pub(crate) fn come_back(&mut self, node: usize) {
        self.places[node].is_frozen = false;
        self.mend(node);
        self.run_node(node, usize::MAX);
    }

    /// A node dies, with all its connections; another one starts in its place.
    pub(crate) fn replace(&mut self, node: usize) {
        self.replace_by(node, self.places[node].line.release);
    }

    fn settings(&self, release: Release) -> ClusterSettings {
        ClusterSettings {
            prefix: "test".to_owned(),
            lease: LEASE,
            deadline: Duration::from_secs(1),
            is_ordered: true,
            on_gap: self.on_gap,
            versions: release.versions(),
        }
    }

    /// As `replace`, by a node of another release.
    pub(crate) fn replace_by(&mut self, node: usize, release: Release) {
        self.forget(node);
        self.places[node] = self.new_place(release);
        self.mend(node);
    }

    /// A message that a node is about to get is lost, as a bus may do with a slow reader. Returns whether
    /// there was one.
    pub(crate) fn drop_next(&mut self, node: usize) -> bool {
        let news = &mut self.places[node].line.news;
        let next = news.iter().position(|news| matches!(news, News::Message(..)));
        next.and_then(|at| news.remove(at)).is_some()
    }

    /// As `drop_next`, of a log.
    pub(crate) fn drop_next_entry(&mut self, node: usize) -> bool {
        let news = &mut self.places[node].line.news;
        let next = news.iter().position(|news| matches!(news, News::Entry(..)));
        next.and_then(|at| news.remove(at)).is_some()
    }

    /// A node does not learn that the bus has stored its entries.
    pub(crate) fn lose_appended(&mut self, node: usize) {
        for news in &mut self.places[node].line.news {
            if let News::Appended(ticket, ..) = news {
                *news = News::Lost(*ticket);
            }
        }
    }

    /// Returns the numbers of the events in the log of a channel.
    pub(crate) fn log_ids(&self, channel: &str) -> Vec<u64> {
        let logs = self.logs.iter().filter(|(log, _)| log.ends_with(channel));
        logs.flat_map(|(_, entries)| entries)
            .map(|entry| {
                let text = String::from_utf8_lossy(&entry.message).into_owned();
                let number = text.split_once(r#"\"id\":"#).unwrap().1;
                let number: String = number.chars().take_while(char::is_ascii_digit).collect();
                number.parse().unwrap()
            })
            .collect()
    }

    /// The bus's confirmations overtake its messages, which come over another connection.
    pub(crate) fn confirm_first(&mut self, node: usize) {
        let news = &mut self.places[node].line.news;
        let is_confirmation = |news: &News| matches!(news, News::Published(..));
        news.make_contiguous().sort_by_key(|news| !is_confirmation(news));
    }

    /// Returns the number of nodes that are subscribed to a channel.
    pub(crate) fn nodes_on(&self, channel: &str) -> usize {
        let suffix = format!(":{channel}");
        let found = self.subscribers.iter().find(|(subject, _)| subject.ends_with(&suffix));
        found.map_or(0, |(_, nodes)| nodes.len())
    }

    /// Returns the number of a node's commands that the bus has not run.
    pub(crate) fn commands(&self, node: usize) -> usize {
        self.places[node].line.commands.len()
    }

    /// The server of the bus loses all logs, as when it is restarted without its data.
    pub(crate) fn flush_logs(&mut self) {
        self.logs.clear();
        self.log_keys.clear();
        self.log_epoch += 1;
    }

    fn forget(&mut self, node: usize) {
        for subscribers in self.subscribers.values_mut().chain(self.followers.values_mut()) {
            subscribers.remove(&node);
        }
    }

    /// Runs some commands of a node on the bus.
    pub(crate) fn run_bus(&mut self, node: usize, commands: usize) {
        for _ in 0..commands {
            let Some(command) = self.places[node].line.commands.pop_front() else { return };
            match command {
                Command::Subscribe(subject) => {
                    let subscribers = self.subscribers.entry(subject.clone()).or_default();
                    let is_first = !self.counts && subscribers.is_empty() && self.foreign == 0;
                    subscribers.insert(node);
                    self.places[node].line.news.push_back(News::Subscribed(subject, is_first));
                }
                Command::Unsubscribe(subject) => {
                    if let Some(subscribers) = self.subscribers.get_mut(&subject) {
                        subscribers.remove(&node);
                    }
                }
                Command::Follow(log) => {
                    self.followers.entry(log.clone()).or_default().insert(node);
                    self.places[node].line.news.push_back(News::Following(log));
                }
                Command::Unfollow(log) => {
                    self.followers.entry(log).or_default().remove(&node);
                }
                Command::Append(.., ticket) if self.is_store_full => {
                    self.places[node].line.news.push_back(News::Lost(ticket));
                }
                Command::Append(log, message, key, ticket) => {
                    let key = key.map(|key| (log.clone(), key));
                    let first = key.as_ref().and_then(|key| self.log_keys.get(key));
                    if let Some(first) = first {
                        let news = News::Appended(ticket, *first, false);
                        self.places[node].line.news.push_back(news);
                        continue;
                    }
                    let entries = self.logs.entry(log.clone()).or_default();
                    let previous = entries.last().map_or(0, |last| last.position.offset);
                    let epoch = Epoch(NonZeroU64::new(self.log_epoch).unwrap());
                    let position = Position { epoch, offset: previous + 1 };
                    let entry = LogEntry { position, previous, message };
                    entries.push(entry.clone());
                    for receiver in self.followers.get(&log).into_iter().flatten() {
                        let news = News::Entry(log.clone(), entry.clone());
                        self.places[*receiver].line.news.push_back(news);
                    }
                    self.log_keys.extend(key.map(|key| (key, position)));
                    self.places[node].line.news.push_back(News::Appended(ticket, position, true));
                }
                Command::Read(log, after, ticket) => {
                    let entries = self.logs.entry(log).or_default();
                    let first = entries.first().map_or(0, |first| first.previous);
                    let offset = entries.last().map_or(first, |last| last.position.offset);
                    let epoch = Epoch(NonZeroU64::new(self.log_epoch).unwrap());
                    let behind = entries.iter().filter(|entry| entry.position.offset > after);
                    let page = LogPage {
                        current: Position { epoch, offset },
                        start: first,
                        // Few, so that several parts are read.
                        entries: behind.take(3).cloned().collect(),
                    };
                    self.places[node].line.news.push_back(News::Page(ticket, page));
                }
                Command::Publish(subject, message, ticket) => {
                    self.deliver(node, &subject, &message, ticket);
                }
            }
        }
    }

    /// Delivers a message of a node to all subscribers of its subject.
    fn deliver(&mut self, node: usize, subject: &str, message: &Bytes, ticket: u64) {
        self.sent += 1;
        let receivers = self.subscribers.get(subject).cloned().unwrap_or_default();
        self.delivered += receivers.len();
        for &receiver in &receivers {
            let news = News::Message(subject.to_owned(), message.clone());
            self.places[receiver].line.news.push_back(news);
        }
        let news = News::Published(ticket, receivers.len() as u32 + self.foreign);
        self.places[node].line.news.push_back(news);
    }

    /// Delivers some events of the bus to a node.
    pub(crate) fn run_node(&mut self, node: usize, news: usize) {
        let now = self.now;
        let counts = self.counts;
        let place = &mut self.places[node];
        if place.is_frozen {
            return;
        }
        for _ in 0..news {
            let Some(news) = place.line.news.pop_front() else { break };
            let Place { cluster, line, .. } = place;
            match news {
                News::Up => cluster.up(now, line),
                News::Down => cluster.down(now),
                News::Subscribed(subject, is_first) => {
                    cluster.subscribed(&subject, is_first, now);
                }
                News::Message(_, message) if !line.release.understands(&message) => {}
                News::Message(subject, message) => {
                    cluster.message(&subject, &message, |_, _| None, now, line)
                }
                News::Published(ticket, receivers) => {
                    cluster.published(ticket, counts.then_some(receivers), now);
                }
                News::Lost(ticket) => cluster.lost(ticket, now),
                News::Following(log) => cluster.log_event(LogEvent::Following(&log), now, line),
                News::Entry(log, entry) => {
                    cluster.log_event(LogEvent::Entry(&log, entry), now, line);
                }
                News::Appended(ticket, position, is_new) => {
                    let event = LogEvent::Appended { ticket, position, is_new };
                    cluster.log_event(event, now, line);
                }
                News::Page(ticket, page) => {
                    cluster.log_event(LogEvent::Page { ticket, page }, now, line);
                }
            }
            place.obey(now);
        }
        place.obey(now);
        self.take_webhooks(node);
    }

    /// Time passes, in steps of a tick, in which everything runs.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.pass_in_steps(time, TICK);
    }

    /// Time passes, in longer steps.
    pub(crate) fn pass_in_steps(&mut self, time: Duration, step: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += step;
            for node in 0..self.places.len() {
                self.tick(node);
            }
            self.settle();
        }
    }

    /// A node's clock ticks.
    pub(crate) fn tick(&mut self, node: usize) {
        let now = self.now;
        let place = &mut self.places[node];
        if !place.is_frozen {
            let step = now - place.world.now;
            place.world.pass(step);
            place.cluster.tick(now, &mut place.line);
            place.obey(now);
            place.webhooks.extend(place.debounce.take_due(now));
        }
        self.take_webhooks(node);
    }

    fn take_webhooks(&mut self, node: usize) {
        self.webhooks.append(&mut self.places[node].webhooks);
    }

    /// Runs everything until there is nothing to do.
    pub(crate) fn settle(&mut self) {
        loop {
            for node in 0..self.places.len() {
                self.run_bus(node, usize::MAX);
                self.run_node(node, usize::MAX);
            }
            let idle = |place: &Place| {
                place.line.commands.is_empty() && (place.is_frozen || place.line.news.is_empty())
            };
            if self.places.iter().all(idle) {
                return;
            }
        }
    }
}

impl Place {
    /// Another program becomes this node.
    fn succeed(&mut self, settings: ClusterSettings, now: Duration) {
        self.world.now = now;
        self.obey(now);
        let recode = |record| match handover::recode(record) {
            Record::Cluster(saved) => saved,
            _ => unreachable!("the same record"),
        };
        let saved = recode(Record::Cluster(self.cluster.save()));
        let delays = self.delays(now);
        handover::hand_over(&mut self.world, 1);
        let node = &self.world.node;
        let id = node.config().bus.id().unwrap();
        self.cluster = Cluster::restored(node.clone(), id, settings, &saved, now);
        self.debounce = Debounce::new(true);
        for delay in &delays {
            let Record::Delay(delay) = handover::recode(Record::Delay(delay.clone())) else {
                unreachable!("the same record")
            };
            self.debounce.resume(&delay, node.apps(), now).unwrap();
        }
        assert_eq!(self.delays(now), delays);
        self.line = Line { release: self.line.release, ..Line::default() };
        self.cluster.start(now, &mut self.line);
        self.is_frozen = true;
    }

    /// The webhooks that are delayed.
    pub(crate) fn delays(&self, now: Duration) -> Vec<SavedDelay> {
        self.debounce.save(self.world.node.apps(), now)
    }

    /// Executes the node's commands for the bus, and runs its workers.
    pub(crate) fn obey(&mut self, now: Duration) {
        loop {
            self.world.run_all();
            self.hook(now);
            let command = self.world.node.sink().bus.lock().unwrap().pop_front();
            let Some(command) = command else { return };
            self.cluster.execute(command, now, &mut self.line);
        }
    }

    /// Does what the webhook thread does.
    fn hook(&mut self, now: Duration) {
        loop {
            let hooked = self.world.node.sink().hooked.lock().unwrap().pop_front();
            let action = match hooked {
                None => return,
                Some(Hooked::Event(event)) => self.debounce.take(event, now),
                Some(Hooked::Migration(migration)) => self.debounce.migrated(migration),
            };
            match action {
                DebounceAction::Nothing => {}
                DebounceAction::Send(event) => self.webhooks.push(event),
                DebounceAction::Suppress { occupant, to } => {
                    self.world.node.publish_leave_suppressed(&occupant, to);
                }
            }
        }
    }
}
