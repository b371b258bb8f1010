//! Frames for many, where connections may have agreed on compression.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clarim_hub::app::App;
use clarim_hub::{
    Apps, ChannelKey, ConnectionId, DeliveryAcks, Node, NodeConfig, Output, OutputSink, Sockets,
    Worker, WorkerId, WorkerMessage,
};
use clarim_protocol::websocket::Deflater;
use clarim_protocol::{ChannelName, Code, Frame, SocketId};

const WORKERS: u16 = 3;
const NOW: Duration = Duration::ZERO;

/// The messages to all workers, in order.
#[derive(Debug, Default)]
struct Messages(Mutex<Vec<(WorkerId, WorkerMessage)>>);

impl OutputSink for Messages {
    fn execute(&self, output: Output) {
        if let Output::Worker(worker, message) = output {
            self.0.lock().unwrap().push((worker, message));
        }
    }
}

/// Sockets that record only frames for many connections.
#[derive(Debug, Default)]
struct Many(Vec<Frame>);

impl Sockets for Many {
    fn send(&mut self, _: ConnectionId, _: Frame) {}

    fn send_to_all(&mut self, _: &[ConnectionId], _: Option<ConnectionId>, frame: Frame) {
        self.0.push(frame);
    }

    fn close(&mut self, _: ConnectionId, _: Code, _: &str) {}
}

struct World {
    workers: Vec<Worker<Messages>>,
    channel: ChannelKey,
}

impl World {
    /// Of each worker one connection is on the channel.
    fn new(compression: bool, channel: &str) -> Self {
        let mut app = App::new("1", "key", "secret");
        app.client_events_on_public = true;
        app.client_events = clarim_hub::app::ClientEvents::All;
        let apps = Apps::new([app]);
        let app = apps.find_by_id("1").unwrap();
        let config = NodeConfig { compression, ..NodeConfig::new(WORKERS) };
        let node = Arc::new(Node::new(apps, config, Messages::default()));
        let name = ChannelName::parse(channel, 200).unwrap();
        let mut world = Self {
            workers: (0..WORKERS).map(|n| Worker::new(WorkerId(n), node.clone())).collect(),
            channel: ChannelKey { app, name },
        };
        for worker in &mut world.workers {
            let (id, _) = worker.open(app, None, 1, NOW);
            let data = format!(r#"{{"channel":"{channel}"}}"#);
            let text = format!(r#"{{"event":"pusher:subscribe","data":{data}}}"#);
            worker.receive(id, &text, NOW, true, &mut Many::default());
        }
        world.run();
        world
    }

    fn node(&self) -> Arc<Node<Messages>> {
        self.workers[0].node().clone()
    }

    /// Runs the workers, and returns the frames for many connections.
    fn run(&mut self) -> Vec<Frame> {
        let entries = std::mem::take(&mut *self.node().sink().0.lock().unwrap());
        let mut many = Many::default();
        for (worker, entry) in entries {
            self.workers[usize::from(worker.0)].process(entry, Duration::ZERO, &mut many);
        }
        many.0
    }
}

fn frame() -> Frame {
    Frame::text("0123456789".repeat(100).as_bytes())
}

/// Each worker compresses for itself, and all come by the same bytes: only the first did the work.
fn assert_compressed_once(frames: &[Frame], count: usize) {
    assert_eq!(frames.len(), count);
    let deflated: Vec<_> =
        frames.iter().map(|frame| frame.deflated(&mut Deflater::default()).unwrap()).collect();
    for frame in &deflated {
        assert!(frame.bytes().len() < 100);
        assert_eq!(frame.bytes().as_ptr(), deflated[0].bytes().as_ptr());
    }
}

#[test]
fn an_event_is_compressed_once_for_all_workers_and_later_subscribers() {
    let mut world = World::new(true, "cache-x");
    world.node().publish(&world.channel.clone(), &frame(), None, DeliveryAcks::default(), NOW);
    let mut frames = world.run();
    let cached = world.node().channel(&world.channel, NOW).cached.unwrap().0;
    frames.push(cached);
    assert_compressed_once(&frames, usize::from(WORKERS) + 1);
}

#[test]
fn a_client_event_is_compressed_once() {
    let mut world = World::new(true, "x");
    let data = "0123456789".repeat(100);
    let text = format!(r#"{{"event":"client-e","channel":"x","data":"{data}"}}"#);
    world.workers[0].receive(ConnectionId(0), &text, NOW, true, &mut Many::default());
    assert_compressed_once(&world.run(), usize::from(WORKERS));
}

#[test]
fn without_compression_frames_have_no_room_for_a_compressed_form() {
    let mut world = World::new(false, "x");
    world.node().publish(
        &world.channel.clone(),
        &frame(),
        None::<SocketId>,
        DeliveryAcks::default(),
        NOW,
    );
    let frames = world.run();
    assert_eq!(frames.len(), usize::from(WORKERS));
    assert!(!frames.iter().any(Frame::is_compressible));
}
