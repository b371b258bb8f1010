//! A node whose workers run when the test lets them, with sockets that only take note.

pub(crate) mod handover;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use clarim_hub::app::App;
use clarim_hub::{
    AppIndex, Apps, BusCommand, ChannelEvent, ChannelKey, ConnectionAddr, ConnectionId, End,
    Migration, Node, NodeConfig, Output, OutputSink, Refusal, Sockets, Worker, WorkerId,
    WorkerMessage,
};
use clarim_protocol::{ChannelName, Code, Frame, PageId, SocketId, server};
use serde_json::value::RawValue;

/// The outputs of a node: messages stay in the inboxes until the test takes them out.
#[derive(Debug)]
pub(crate) struct Outbound {
    inboxes: Vec<Mutex<VecDeque<WorkerMessage>>>,
    /// Whether other threads go first now and then, where that would reveal a lock that is released too
    /// early.
    is_hesitant: bool,
    pub(crate) is_full: AtomicBool,
    pub(crate) bus: Mutex<VecDeque<BusCommand>>,
    /// The events that are reported.
    pub(crate) events: Mutex<Vec<ChannelEvent>>,
    /// The events and migrations on their way to the debounce of webhooks.
    pub(crate) hooked: Mutex<VecDeque<Hooked>>,
}

/// An input of the debounce of webhooks.
#[derive(Debug)]
pub(crate) enum Hooked {
    Event(ChannelEvent),
    Migration(Migration),
}

impl Outbound {
    fn new(workers: u16, is_hesitant: bool) -> Self {
        Self {
            inboxes: (0..workers).map(|_| Mutex::default()).collect(),
            is_hesitant,
            is_full: AtomicBool::new(false),
            bus: Mutex::default(),
            events: Mutex::default(),
            hooked: Mutex::default(),
        }
    }

    /// The same outbound for a node that takes over, with other workers.
    fn successor(&self, workers: u16) -> Self {
        Self {
            is_full: AtomicBool::new(self.is_full.load(Ordering::Relaxed)),
            bus: Mutex::new(std::mem::take(&mut self.bus.lock().unwrap())),
            events: Mutex::new(self.events.lock().unwrap().clone()),
            hooked: Mutex::new(std::mem::take(&mut self.hooked.lock().unwrap())),
            ..Self::new(workers, self.is_hesitant)
        }
    }

    fn pop(&self, worker: WorkerId) -> Option<WorkerMessage> {
        self.inboxes[usize::from(worker.0)].lock().unwrap().pop_front()
    }

    pub(crate) fn is_empty(&self, worker: WorkerId) -> bool {
        self.inboxes[usize::from(worker.0)].lock().unwrap().is_empty()
    }
}

impl OutputSink for Outbound {
    fn execute(&self, output: Output) {
        match output {
            Output::Worker(worker, message) => {
                if self.is_hesitant && fastrand::u8(..) < 64 {
                    thread::yield_now();
                }
                self.inboxes[usize::from(worker.0)].lock().unwrap().push_back(message);
            }
            Output::Bus(command) => self.bus.lock().unwrap().push_back(command),
            Output::ChannelEvent(event) => {
                self.events.lock().unwrap().push(event.clone());
                self.hooked.lock().unwrap().push_back(Hooked::Event(event));
            }
            Output::Migration(migration) => {
                self.hooked.lock().unwrap().push_back(Hooked::Migration(migration));
            }
            Output::ConnectionEvent(_) => {}
        }
    }
}

pub(crate) fn node(apps: Vec<App>, workers: u16, is_hesitant: bool) -> Arc<Node<Outbound>> {
    node_with(NodeConfig::new(workers), apps, is_hesitant)
}

fn node_with(config: NodeConfig, apps: Vec<App>, is_hesitant: bool) -> Arc<Node<Outbound>> {
    let outbound = Outbound::new(config.workers, is_hesitant);
    Arc::new(Node::new(Apps::new(apps), config, outbound))
}

/// An output of a socket.
#[derive(Debug, Clone)]
pub(crate) enum Out {
    Frame(Frame),
    Close(Code, String),
}

/// The sockets of one worker, by place.
#[derive(Debug, Default)]
struct Recorder {
    sockets: Vec<Option<Socket>>,
    /// Sockets that have begun to close and that the worker does not know of yet.
    closing: Vec<ConnectionId>,
}

#[derive(Debug, Default)]
struct Socket {
    out: VecDeque<Out>,
    closed: bool,
}

impl Recorder {
    fn socket(&mut self, id: ConnectionId) -> &mut Socket {
        let socket = self.sockets.get_mut(id.0 as usize).and_then(Option::as_mut);
        socket.unwrap_or_else(|| panic!("a frame for {id:?}, where nobody is"))
    }
}

impl Sockets for Recorder {
    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        let socket = self.socket(connection);
        if !socket.closed {
            socket.out.push_back(Out::Frame(frame));
        }
    }

    fn send_to_all(
        &mut self,
        connections: &[ConnectionId],
        except: Option<ConnectionId>,
        frame: Frame,
    ) {
        for &connection in connections {
            if Some(connection) != except {
                self.send(connection, frame.clone());
            }
        }
    }

    fn close(&mut self, connection: ConnectionId, code: Code, reason: &str) {
        let socket = self.socket(connection);
        if !socket.closed {
            socket.closed = true;
            socket.out.push_back(Out::Close(code, reason.to_owned()));
            self.closing.push(connection);
        }
    }
}

/// A worker and its sockets. After each input its own inbox is emptied, as [`Worker`] demands.
#[derive(Debug)]
pub(crate) struct Desk {
    id: WorkerId,
    worker: Worker<Outbound>,
    recorder: Recorder,
}

impl Desk {
    pub(crate) fn new(id: WorkerId, node: Arc<Node<Outbound>>) -> Self {
        Self { id, worker: Worker::new(id, node), recorder: Recorder::default() }
    }

    pub(crate) fn connect(
        &mut self,
        app: AppIndex,
        page: Option<&PageId>,
        nonce: u64,
        now: Duration,
    ) -> Result<ConnectionId, Refusal> {
        self.worker.node().apps().admit(app)?;
        let (id, greeting) = self.worker.open(app, page, nonce, now);
        let place = id.0 as usize;
        if self.recorder.sockets.len() <= place {
            self.recorder.sockets.resize_with(place + 1, || None);
        }
        let old = self.recorder.sockets[place].replace(Socket::default());
        assert!(old.is_none(), "{id:?} was given to two connections");
        self.recorder.send(id, greeting);
        self.settle(now);
        Ok(id)
    }

    pub(crate) fn receive(&mut self, id: ConnectionId, text: &str, now: Duration) {
        let has_room = !self.worker.node().sink().is_full.load(Ordering::Relaxed);
        self.worker.receive(id, text, now, has_room, &mut self.recorder);
        self.settle(now);
    }

    pub(crate) fn pong_frame(&mut self, id: ConnectionId, payload: &[u8], now: Duration) {
        self.worker.pong_frame(id, payload, now);
    }

    pub(crate) fn ping_frame(&mut self, id: ConnectionId, now: Duration) {
        self.worker.ping_frame(id, now, &mut self.recorder);
        self.settle(now);
    }

    pub(crate) fn sweep(&mut self, now: Duration) {
        self.worker.ask_pages(now, &mut self.recorder);
        self.worker.sweep(0..self.worker.slots(), now, &mut self.recorder);
        self.settle(now);
    }

    /// Processes at most `entries` messages of the inbox.
    pub(crate) fn run(&mut self, entries: usize, now: Duration) {
        for _ in 0..entries {
            let Some(entry) = self.worker.node().sink().pop(self.id) else { break };
            self.worker.process(entry, now, &mut self.recorder);
        }
        if !self.recorder.closing.is_empty() {
            self.settle(now);
        }
    }

    /// The client sends a close frame, as a browser does when its tab is closed.
    pub(crate) fn close_tab(&mut self, id: ConnectionId, now: Duration) {
        self.worker.leave_all(id, End::ByClient(Code::from_peer(1001)), now);
        self.hang_up(id, now);
    }

    /// The client replies to the close frame.
    pub(crate) fn close_reply(&mut self, id: ConnectionId) {
        self.worker.close_reply(id);
    }

    /// The socket has gone.
    pub(crate) fn hang_up(&mut self, id: ConnectionId, now: Duration) {
        self.worker.close(id, now);
        self.recorder.sockets[id.0 as usize] = None;
        self.recorder.closing.retain(|closing| *closing != id);
        self.settle(now);
    }

    /// Takes the connection's outputs since the last call.
    pub(crate) fn take(&mut self, id: ConnectionId) -> VecDeque<Out> {
        std::mem::take(&mut self.recorder.socket(id).out)
    }

    pub(crate) fn socket_id(&self, id: ConnectionId) -> SocketId {
        self.worker.describe(id).unwrap().1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.worker.is_empty()
    }

    /// Empties the inbox, and takes connections that began to close off their channels.
    fn settle(&mut self, now: Duration) {
        loop {
            while let Some(entry) = self.worker.node().sink().pop(self.id) {
                self.worker.process(entry, now, &mut self.recorder);
            }
            let Some(closing) = self.recorder.closing.pop() else { break };
            self.worker.leave_all(closing, End::ByServer(Code::GENERIC), now);
        }
    }
}

/// A whole node in one thread, with its own time.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) node: Arc<Node<Outbound>>,
    pub(crate) desks: Vec<Desk>,
    pub(crate) now: Duration,
    nonce: u64,
}

impl World {
    pub(crate) fn new(apps: Vec<App>, workers: u16) -> Self {
        Self::of(node(apps, workers, false), workers)
    }

    /// One of several nodes.
    pub(crate) fn in_cluster(config: NodeConfig, apps: Vec<App>) -> Self {
        let workers = config.workers;
        Self::of(node_with(config, apps, false), workers)
    }

    fn of(node: Arc<Node<Outbound>>, workers: u16) -> Self {
        let desks = (0..workers).map(|id| Desk::new(WorkerId(id), node.clone())).collect();
        // Of no other node.
        let nonce = node.config().bus.id().map_or(1, |id| id.0 << 32);
        Self { node, desks, now: Duration::from_secs(1000), nonce }
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = &Worker<Outbound>> {
        self.desks.iter().map(|desk| &desk.worker)
    }

    pub(crate) fn connect(
        &mut self,
        app: AppIndex,
        worker: u16,
    ) -> Result<ConnectionAddr, Refusal> {
        self.connect_page(app, worker, None)
    }

    /// A client connects that names a page id, perhaps.
    pub(crate) fn connect_page(
        &mut self,
        app: AppIndex,
        worker: u16,
        page: Option<&PageId>,
    ) -> Result<ConnectionAddr, Refusal> {
        self.nonce += 1;
        let desk = &mut self.desks[usize::from(worker)];
        let connection = desk.connect(app, page, self.nonce, self.now)?;
        Ok(ConnectionAddr { worker: WorkerId(worker), connection })
    }

    pub(crate) fn desk(&mut self, addr: ConnectionAddr) -> &mut Desk {
        &mut self.desks[usize::from(addr.worker.0)]
    }

    pub(crate) fn receive(&mut self, addr: ConnectionAddr, text: &str) {
        let now = self.now;
        self.desk(addr).receive(addr.connection, text, now);
    }

    pub(crate) fn hang_up(&mut self, addr: ConnectionAddr) {
        let now = self.now;
        self.desk(addr).hang_up(addr.connection, now);
    }

    pub(crate) fn take(&mut self, addr: ConnectionAddr) -> VecDeque<Out> {
        self.desk(addr).take(addr.connection)
    }

    pub(crate) fn run(&mut self, worker: u16, entries: usize) {
        self.desks[usize::from(worker)].run(entries, self.now);
    }

    /// Lets all workers run until there is nothing to do.
    pub(crate) fn run_all(&mut self) {
        let inboxes = self.node.clone();
        while (0..).map(WorkerId).take(self.desks.len()).any(|id| !inboxes.sink().is_empty(id)) {
            for desk in &mut self.desks {
                desk.run(usize::MAX, self.now);
            }
        }
    }

    /// Time passes, and everything that is swept is swept once.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.node.sweep(self.now);
        for desk in &mut self.desks {
            desk.sweep(self.now);
        }
    }

    /// Time passes, and pages are asked about new events, but nothing is swept.
    pub(crate) fn pass_shortly(&mut self, time: Duration) {
        self.now += time;
        for desk in &mut self.desks {
            desk.worker.ask_pages(self.now, &mut desk.recorder);
        }
    }

    /// Panics if anything is left of connections that have all gone, once the caches have expired.
    pub(crate) fn assert_empty(&mut self) {
        self.run_all();
        self.pass(clarim_hub::CACHE_TTL);
        assert!(self.node.is_empty(), "the directory keeps something: {:?}", self.node);
        for desk in &self.desks {
            assert!(desk.is_empty(), "a worker keeps something: {desk:#?}");
        }
        for app in self.node.apps().iter() {
            let index = self.node.apps().find_by_id(&app.id).unwrap();
            assert_eq!(self.node.apps().connections(index), 0, "connections of app {}", app.id);
        }
    }
}

pub(crate) fn key(app: AppIndex, channel: &str) -> ChannelKey {
    ChannelKey { app, name: ChannelName::parse(channel, usize::MAX).unwrap() }
}

/// The frame of a backend's event; `data` is the JSON literal.
pub(crate) fn event(name: &str, channel: &ChannelName, data: &str) -> Frame {
    server::event(name, channel, &RawValue::from_string(data.to_owned()).unwrap())
}

/// The text of a text frame; `None` for control frames.
pub(crate) fn text(frame: &Frame) -> Option<&str> {
    (frame.bytes()[0] == 0x81).then(|| std::str::from_utf8(frame.payload()).unwrap())
}
