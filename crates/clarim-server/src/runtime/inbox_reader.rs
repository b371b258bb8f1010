//! A worker's side of its inbox: processes the messages that other threads have put there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use clarim_hub::{ConnectionId, Worker, WorkerMessage};

use super::inbox::Inbox;
use super::latency::DeliveryLatency;
use super::sink::Sink;
use super::sockets::SocketTable;

/// The inbox of a worker, and the messages taken from it.
///
/// A message to a channel is appended to many send queues, which the worker then offers to the kernel. So a
/// full inbox stands for much more memory than its own. When a send queue has grown too long, the rest of
/// the messages waits, and counts as a part of the inbox.
#[derive(Debug)]
pub(super) struct InboxReader {
    inbox: Arc<Inbox>,
    /// Messages that are still to be processed.
    rest: VecDeque<WorkerMessage>,
    /// When the first of the messages taken together arrived.
    arrived: Option<Instant>,
    latency: DeliveryLatency,
    /// Number of messages taken so far.
    count: u64,
}

impl InboxReader {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        let latency = DeliveryLatency::default();
        Self { inbox, rest: VecDeque::new(), arrived: None, latency, count: 0 }
    }

    /// Number of messages taken so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether messages have been taken that are not processed yet.
    pub(super) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Processes messages until send queues have to be written. Those that other threads put into the inbox
    /// in the meantime wait for the next turn, or this could go on forever.
    pub(super) fn process(&mut self, hub: &mut Worker<Sink>, sockets: &mut SocketTable) {
        self.process_while(hub, sockets, |sockets| !sockets.is_catching_up());
    }

    /// Processes all messages, however long the send queues are: one of them may make the subscription that
    /// the next message of the same client relies on.
    pub(super) fn process_all(&mut self, hub: &mut Worker<Sink>, sockets: &mut SocketTable) {
        self.process_while(hub, sockets, |_| true);
    }

    fn process_while(
        &mut self,
        hub: &mut Worker<Sink>,
        sockets: &mut SocketTable,
        may_go_on: impl Fn(&SocketTable) -> bool,
    ) {
        if self.rest.is_empty() {
            self.arrived = self.inbox.take(&mut self.rest);
            self.count += self.rest.len() as u64;
        }
        let mut bytes = 0;
        while may_go_on(sockets)
            && let Some(message) = self.rest.pop_front()
        {
            bytes += message.weight();
            hub.process(message, sockets.now, sockets);
        }
        if bytes > 0 {
            self.inbox.processed(bytes);
        }
        if self.rest.is_empty() {
            // Give back the memory of a burst.
            if self.rest.capacity() > 4096 {
                self.rest = VecDeque::new();
            }
            if let Some(arrived) = self.arrived.take() {
                self.latency.begin(arrived, sockets.to_be_written());
            }
        }
    }

    /// Records the latency of the messages whose sockets have been written.
    pub(super) fn record_latency(&mut self, sockets: &SocketTable) {
        self.latency.record(sockets.written(), &sockets.counters.delivery_times);
    }

    /// Takes the connections without a socket that can be read or written again.
    pub(super) fn take_ready(&self) -> Vec<ConnectionId> {
        self.inbox.take_ready()
    }

    /// Returns the waker of a connection without a socket.
    pub(super) fn waker_of(&self, id: ConnectionId) -> Waker {
        self.inbox.waker_of(id)
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::time::Duration;

    use clarim_hub::app::App;
    use clarim_hub::{Apps, ChannelKey, DeliveryAcks, Node, NodeConfig, WorkerId};
    use clarim_protocol::{ChannelName, Frame};
    use tokio::sync::mpsc::UnboundedReceiver;
    use tokio::sync::oneshot;

    use super::super::engine::{Engine, Pusher};
    use super::super::inbox::Inboxes;
    use super::super::{
        Acceptor, AddressLimits, Adopted, Capacity, CapacityLimits, Counters, EngineSettings,
        Handshake, HandshakeParams, NewConnection, Observers, OriginId, QueueLimits, Selection,
        WorkerQuery,
    };
    use super::*;
    use crate::net::{LocalStream, Transport};

    const LIMIT: usize = 10_000;
    const EVENT_BYTES: usize = 1_000;
    const EVENTS: usize = 200;
    /// More than one turn writes to.
    const CLIENTS: usize = 300;

    /// A client, whose pipe never fills.
    struct Client {
        stream: Transport,
        received: String,
    }

    impl Client {
        fn send(&mut self, message: &str) {
            let length = message.len() as u8;
            assert!(length < 126);
            let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], message.as_bytes()].concat();
            self.stream.write_whole(&[IoSlice::new(&frame)]).unwrap();
        }

        fn subscribe(&mut self, channel: &str) {
            let data = format!(r#"{{"channel":"{channel}"}}"#);
            self.send(&format!(r#"{{"event":"pusher:subscribe","data":{data}}}"#));
        }

        /// Everything received so far. Headers of frames are unreadable.
        fn received(&mut self) -> &str {
            let mut buffer = [0; 64 << 10];
            while let Ok(n @ 1..) = self.stream.read(&mut buffer) {
                self.received += &String::from_utf8_lossy(&buffer[..n]);
            }
            &self.received
        }
    }

    fn server() -> (Arc<Node<Sink>>, Engine<Pusher>) {
        let observers = Observers::new(Vec::new());
        let sink = Sink { inboxes: Inboxes::new(1), observers, tracer: None, bus: None };
        let apps = Apps::new([App::new("1", "key", "secret")]);
        let node = Arc::new(Node::new(apps, NodeConfig::new(1), sink));
        let queue = QueueLimits { bytes: LIMIT, timeout: Duration::from_secs(30) };
        let settings = EngineSettings { started: Instant::now(), queue, compression: false };
        let hub = Worker::new(WorkerId(0), node.clone());
        let inbox = node.sink().inboxes.of(WorkerId(0));
        let engine = Engine::new(hub, inbox, settings, Arc::<Counters>::default()).unwrap();
        (node, engine)
    }

    fn acceptor() -> (Arc<Acceptor>, UnboundedReceiver<NewConnection>) {
        let addresses = AddressLimits::default();
        let limits = CapacityLimits { clients: 1_000, sockets: 1_000, addresses };
        let (acceptor, mut receivers) = Acceptor::new(1, Arc::new(Capacity::new(limits)));
        (acceptor, receivers.remove(0))
    }

    fn connect(node: &Node<Sink>, engine: &mut Engine<Pusher>) -> Client {
        let (acceptor, mut receiver) = acceptor();
        let (near, far) = tokio::io::duplex(4 << 20);
        let app = node.apps().find_by_id("1").unwrap();
        let origin = OriginId::default();
        let params = HandshakeParams { app, deflate: false, origin, address: None, page: None };
        let handshake = Handshake { admission: Ok(params.clone()), early: bytes::Bytes::new() };
        acceptor.hand_over_local(tokio::io::duplex(1).0, handshake);
        let permit = receiver.try_recv().unwrap().permit.admit(None).unwrap();
        node.apps().admit(app).unwrap();
        let transport = Transport::Local(Box::new(LocalStream::new(near)));
        engine.adopt(Adopted { params, transport, answer: &[], early: &[], permit });
        let stream = Transport::Local(Box::new(LocalStream::new(far)));
        Client { stream, received: String::new() }
    }

    /// The length of the longest send queue.
    fn longest(engine: &mut Engine<Pusher>) -> usize {
        let mut longest = 0;
        for first in (0..CLIENTS as u32).step_by(100) {
            let (reply, mut replied) = oneshot::channel();
            let selection = Selection { first, ..Selection::default() };
            engine.answer(WorkerQuery::Connections { selection, reply });
            let page = replied.try_recv().unwrap();
            longest = page.rows.iter().map(|row| row.outbox).fold(longest, usize::max);
        }
        longest
    }

    #[test]
    fn a_full_inbox_is_processed_no_faster_than_it_is_written() {
        let (node, mut engine) = server();
        let inbox = node.sink().inboxes.of(WorkerId(0));
        // As in the worker's loop.
        let turn = |engine: &mut Engine<Pusher>| engine.turn().unwrap() || !inbox.fall_asleep();
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&node, &mut engine)).collect();
        for client in &mut clients {
            client.subscribe("news");
        }
        while turn(&mut engine) {}
        for client in &mut clients {
            assert!(client.received().contains("subscription_succeeded"));
        }
        let app = node.apps().find_by_id("1").unwrap();
        let channel = ChannelKey { app, name: ChannelName::parse("news", 200).unwrap() };
        let padding = "x".repeat(EVENT_BYTES);
        let publish = |n: usize| {
            let frame = Frame::text(format!("<{n}>{padding}").as_bytes());
            node.publish(&channel, &frame, None, DeliveryAcks::default(), Duration::ZERO);
        };
        (0..EVENTS).for_each(publish);
        // Two messages in one write: the second one is about the subscription that the first one makes.
        clients[0].subscribe("late");
        clients[0].send(r#"{"event":"pusher:unsubscribe","data":{"channel":"late"}}"#);
        clients[0].send(r#"{"event":"pusher:ping","data":{}}"#);
        let mut turns = 0;
        while turn(&mut engine) {
            turns += 1;
            let longest = longest(&mut engine);
            assert!(longest <= LIMIT + 2 * EVENT_BYTES, "{longest} bytes after {turns} turns");
        }
        assert!(turns > EVENTS * EVENT_BYTES / LIMIT, "{turns}");
        let expected: Vec<String> = (0..EVENTS).map(|n| format!("<{n}>")).collect();
        for client in &mut clients {
            let texts = client.received().split('<').skip(1);
            let numbers = texts.map(|text| format!("<{}>", text.split('>').next().unwrap()));
            assert_eq!(numbers.collect::<Vec<_>>(), expected);
        }
        assert!(clients[0].received().contains("pusher:pong"));
        assert_eq!(node.sink().inboxes.bytes(), [0]);
        let late = ChannelKey { app, name: ChannelName::parse("late", 200).unwrap() };
        assert_eq!(node.channel(&late, Duration::ZERO).subscriptions, 0);
    }
}
