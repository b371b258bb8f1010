//! Lock contention of the hub alone: threads of this process, without sockets.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use clarim_hub::app::App;
use clarim_hub::{
    AppIndex, Apps, ChannelKey, ConnectionId, DeliveryAcks, Node, NodeConfig, Output, OutputSink,
    Sockets, Worker, WorkerId, WorkerMessage,
};
use clarim_protocol::{ChannelName, Code, Frame, server};
use hdrhistogram::Histogram;
use serde_json::value::RawValue;

use crate::servers::process::pin;

const NOW: Duration = Duration::from_secs(1);
/// Number of channels in the scenario with many.
const CHANNELS: usize = 10_000;
/// Number of subscribers in the scenario with a subscription during a fan-out.
const SUBSCRIBERS: usize = 19_000;

/// Measures lock contention of the hub.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Inboxes like the server's, without waking the workers.
#[derive(Debug)]
struct Inboxes(Vec<Mutex<Vec<WorkerMessage>>>);

impl Inboxes {
    fn take(&self, worker: WorkerId, taken: &mut Vec<WorkerMessage>) {
        let inbox = &self.0[usize::from(worker.0)];
        taken.append(&mut inbox.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl OutputSink for Inboxes {
    fn execute(&self, output: Output) {
        if let Output::Worker(worker, message) = output {
            let inbox = &self.0[usize::from(worker.0)];
            inbox.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        }
    }
}

/// Sockets that only count bytes.
#[derive(Debug, Default)]
struct Counter(u64);

impl Sockets for Counter {
    fn send(&mut self, _: ConnectionId, frame: Frame) {
        self.0 += black_box(frame).bytes().len() as u64;
    }

    fn send_to_all(&mut self, to: &[ConnectionId], _: Option<ConnectionId>, frame: Frame) {
        for connection in to {
            self.0 += u64::from(black_box(connection).0) + frame.bytes().len() as u64;
        }
    }

    fn close(&mut self, _: ConnectionId, _: Code, _: &str) {}
}

/// A worker of the node, with its thread's state.
struct Desk {
    worker: Worker<Inboxes>,
    id: WorkerId,
    counter: Counter,
    entries: Vec<WorkerMessage>,
    app: AppIndex,
    /// The events that it publishes. Threads share nothing but the node.
    events: Vec<(ChannelKey, Frame)>,
}

impl Desk {
    fn connect(&mut self, nonce: u64) -> Result<ConnectionId> {
        let apps = self.worker.node().apps();
        apps.admit(self.app).map_err(|refusal| anyhow!("{}", refusal.message))?;
        Ok(self.worker.open(self.app, None, nonce, NOW).0)
    }

    fn say(&mut self, connection: ConnectionId, event: &str, channel: &str) {
        let text = format!(r#"{{"event":"pusher:{event}","data":{{"channel":"{channel}"}}}}"#);
        self.worker.receive(connection, &text, NOW, true, &mut self.counter);
        self.process();
    }

    fn process(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        self.worker.node().sink().take(self.id, &mut entries);
        for entry in entries.drain(..) {
            self.worker.process(entry, NOW, &mut self.counter);
        }
        self.entries = entries;
    }
}

fn desks(workers: u16) -> Result<(Vec<Desk>, Arc<Node<Inboxes>>)> {
    let mut app = App::new("bench", "key", "secret");
    app.limits.channels_per_connection = CHANNELS;
    let inboxes = Inboxes((0..workers).map(|_| Mutex::default()).collect());
    let node = Arc::new(Node::new(Apps::new([app]), NodeConfig::new(workers), inboxes));
    let app = node.apps().find_by_id("bench").context("the app exists")?;
    let desk = |n| Desk {
        worker: Worker::new(WorkerId(n), node.clone()),
        id: WorkerId(n),
        counter: Counter::default(),
        entries: Vec::new(),
        app,
        events: Vec::new(),
    };
    Ok(((0..workers).map(desk).collect(), node))
}

fn event(app: AppIndex, channel: &str) -> Result<(ChannelKey, Frame)> {
    let name = ChannelName::parse(channel, 200)?;
    let data = RawValue::from_string(format!("\"{}\"", "x".repeat(128)))?;
    let frame = server::event("bench", &name, &data);
    Ok((ChannelKey { app, name }, frame))
}

/// What each thread repeats until time is up, with the number of the round.
type Step<'a> = dyn Fn(&mut Desk, usize) + Sync + 'a;

/// Rounds per second of all threads together, each pinned to a core of its own.
fn together(desks: &mut [Desk], time: Duration, step: &Step<'_>) -> Result<f64> {
    let over = AtomicBool::new(false);
    let ready = Barrier::new(desks.len() + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = desks
            .iter_mut()
            .enumerate()
            .map(|(core, desk)| {
                let over = &over;
                let ready = &ready;
                scope.spawn(move || -> Result<u64> {
                    pin(core)?;
                    ready.wait();
                    let mut rounds = 0;
                    while !over.load(Ordering::Relaxed) {
                        for _ in 0..32 {
                            step(desk, rounds);
                            rounds += 1;
                        }
                    }
                    Ok(rounds as u64)
                })
            })
            .collect();
        ready.wait();
        let started = Instant::now();
        thread::sleep(time);
        over.store(true, Ordering::Relaxed);
        let elapsed = started.elapsed().as_secs_f64();
        let mut rounds = 0;
        for thread in threads {
            rounds += thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(rounds as f64 / elapsed)
    })
}

/// How the subscribers of a channel are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// One on each worker.
    Everywhere,
    /// One in total.
    Single,
    /// One in total, and each thread has a node of its own: the machine's limit without sharing.
    Apart,
}

/// Publishes per second when each thread publishes to all channels and delivers to its own worker.
fn publishing(threads: u16, channels: usize, spread: Spread, time: Duration) -> Result<f64> {
    let mut desks = match spread {
        Spread::Everywhere | Spread::Single => desks(threads)?.0,
        Spread::Apart => (0..threads)
            .map(|_| desks(1)?.0.pop().context("a node has a worker"))
            .collect::<Result<_>>()?,
    };
    for desk in &mut desks {
        let connection = desk.connect(1)?;
        for n in 0..channels {
            let name = format!("channel-{n}");
            desk.events.push(event(desk.app, &name)?);
            let owner = n % usize::from(threads) == usize::from(desk.id.0);
            if spread != Spread::Single || owner {
                desk.say(connection, "subscribe", &name);
            }
        }
    }
    together(&mut desks, time, &|desk, round| {
        // A large stride, so that threads meet only by chance.
        let place = (round * 7919 + usize::from(desk.id.0) * 101) % channels;
        let (key, frame) = &desk.events[place];
        desk.worker.node().publish(key, frame, None, DeliveryAcks::default(), NOW);
        desk.process();
    })
}

/// Nanoseconds that a publish holds the channel's lock if `workers` workers have subscribers.
fn holding(workers: u16) -> Result<f64> {
    let (mut desks, node) = desks(workers)?;
    let (key, frame) = event(desks[0].app, "hot")?;
    for desk in &mut desks {
        let connection = desk.connect(1)?;
        desk.say(connection, "subscribe", "hot");
    }
    let mut times = Vec::new();
    for _ in 0..200 {
        let started = Instant::now();
        for _ in 0..100 {
            node.publish(&key, &frame, None, DeliveryAcks::default(), NOW);
        }
        times.push(started.elapsed().as_nanos() as f64 / 100.0);
        desks.iter_mut().for_each(Desk::process);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Microseconds of a subscription on one thread (p50 and p99.9), while another thread is idle or, with
/// `fan_out`, delivers to all subscribers of the same channel.
fn subscribing(fan_out: bool, time: Duration) -> Result<(f64, f64)> {
    let (mut desks, node) = desks(2)?;
    let (key, frame) = event(desks[0].app, "hot")?;
    for n in 0..SUBSCRIBERS {
        let connection = desks[0].connect(n as u64)?;
        desks[0].say(connection, "subscribe", "hot");
    }
    let comer = desks[1].connect(1)?;
    let times = Mutex::new(Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3)?);
    together(&mut desks, time, &|desk, _| {
        if desk.id.0 == 0 {
            if fan_out {
                node.publish(&key, &frame, None, DeliveryAcks::default(), NOW);
                desk.process();
            }
            return;
        }
        let started = Instant::now();
        desk.say(comer, "subscribe", "hot");
        let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        times.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took);
        desk.say(comer, "unsubscribe", "hot");
    })?;
    let times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    Ok((at(0.5), at(0.999)))
}

#[expect(clippy::print_stdout, reason = "the output of a command")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let time = Duration::from_secs_f64(options.seconds);
    let mut figures: BTreeMap<String, f64> = BTreeMap::new();
    for (what, channels, spread) in [
        ("one channel, subscribers on each worker", 1, Spread::Everywhere),
        ("10 000 channels, subscribers on each worker", CHANNELS, Spread::Everywhere),
        ("10 000 channels, one subscriber each", CHANNELS, Spread::Single),
        ("10 000 channels, one subscriber each, nothing shared", CHANNELS, Spread::Apart),
    ] {
        for threads in [1, 2] {
            let name = format!("{what}: publishes/s of {threads} threads");
            figures.insert(name, publishing(threads, channels, spread, time)?);
        }
    }
    for workers in [1, 2, 8, 64] {
        let name = format!("lock held for a publish, subscribers on {workers:2} workers, ns");
        figures.insert(name, holding(workers)?);
    }
    for (what, fan_out) in [("quiet", false), ("fan-out to 19 000 on the other thread", true)] {
        let (p50, p999) = subscribing(fan_out, time)?;
        figures.insert(format!("subscribing, {what}: p50, µs"), p50);
        figures.insert(format!("subscribing, {what}: p99.9, µs"), p999);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
        return Ok(());
    }
    for (name, value) in figures {
        println!("{name}: {value:.1}");
    }
    Ok(())
}
