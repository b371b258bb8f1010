//! The cluster's thread: between the bus, the node, and the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clarim_bus::{BusEvent, Connection};
use clarim_hub::cluster::{Cluster, ClusterSettings, ClusterState, TICK, Wire};
use clarim_hub::{BusCommand, Node};
use clarim_protocol::cluster::NodeId;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{Asked, Incoming, Plan, Traffic};
use crate::inbox::Inboxes;
use crate::phase::Phase;

/// What is taken of one kind before the others have their turn.
const BATCH: usize = 256;

/// How long a node that ends tries to say so.
const FAREWELL: Duration = Duration::from_millis(500);

/// Between two looks whether the workers' inboxes have room again.
const PAUSE: Duration = Duration::from_millis(2);

pub(super) async fn run(plan: Plan) {
    let Plan {
        scaling,
        id,
        node,
        incoming,
        started,
        mut phase,
        told,
        questions,
        state,
        nodes,
        traffic,
    } = plan;
    let settings = ClusterSettings {
        prefix: scaling.prefix,
        lease: scaling.lease,
        deadline: scaling.deadline,
    };
    let cluster = Cluster::new(node.clone(), id, settings);
    let bus = scaling.bus.connect();
    let mut driver = Driver { bus, cluster, node, told: incoming, started, state, nodes, traffic };
    driver.cluster.start(&mut Wires(&mut driver.bus, &driver.traffic));
    let ended = async {
        phase.reached(Phase::Closed).await;
        // It says nothing: it is dropped.
        let _ = told.await;
    };
    tokio::select! {
        () = driver.drive(questions) => {}
        () = ended => {}
    }
    let _ = timeout(FAREWELL, driver.leave()).await;
}

struct Driver {
    bus: Connection,
    cluster: Cluster<Inboxes>,
    node: Arc<Node<Inboxes>>,
    told: Incoming,
    started: Instant,
    state: watch::Sender<ClusterState>,
    nodes: watch::Sender<Vec<NodeId>>,
    traffic: Arc<Traffic>,
}

impl Driver {
    async fn drive(&mut self, mut asked: mpsc::UnboundedReceiver<Asked>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What comes from the bus waits there while the workers can't keep up.
            let has_room = self.node.post().workers_have_room();
            tokio::select! {
                Some(first) = self.told.recv() => {
                    self.tell(first);
                    for _ in 1..BATCH {
                        let Some(next) = self.told.try_recv() else { break };
                        self.tell(next);
                    }
                }
                event = self.bus.next(), if has_room => self.hear(event),
                Some(asked) = asked.recv() => self.ask(asked),
                _ = tick.tick() => self.tick(),
                () = sleep(PAUSE), if !has_room => {}
            }
        }
    }

    fn tell(&mut self, told: BusCommand) {
        let now = self.started.elapsed();
        self.cluster.told(told, now, &mut Wires(&mut self.bus, &self.traffic));
    }

    fn ask(&mut self, asked: Asked) {
        let Asked { app, question, answer } = asked;
        // Who has asked may have gone.
        let then = Box::new(move |gathered| drop(answer.send(gathered)));
        let wires = &mut Wires(&mut self.bus, &self.traffic);
        self.cluster.ask((&app, question), self.started.elapsed(), wires, then);
    }

    fn tick(&mut self) {
        let wires = &mut Wires(&mut self.bus, &self.traffic);
        self.cluster.tick(self.started.elapsed(), wires);
        self.show();
    }

    fn hear(&mut self, event: BusEvent) {
        let now = self.started.elapsed();
        let wires = &mut Wires(&mut self.bus, &self.traffic);
        match event {
            BusEvent::Message { subject, payload } => {
                self.traffic.messages_in.add(1);
                self.traffic.bytes_in.add(payload.len() as u64);
                self.cluster.message(&subject, &payload, now, wires);
            }
            BusEvent::Published { id, receivers } => {
                self.cluster.published(id, receivers, now);
            }
            BusEvent::Lost { id } => self.cluster.lost(id, now),
            BusEvent::Subscribed { subject, is_first } => {
                self.cluster.subscribed(&subject, is_first, now);
            }
            BusEvent::Connected => {
                tracing::info!("the bus is connected");
                self.cluster.up(now, wires);
                self.show();
            }
            BusEvent::Disconnected(error) => {
                tracing::warn!(code = error.code(), reason = %error, "the bus is lost; this node goes on by itself");
                self.traffic.losses.add(1);
                self.cluster.down(now);
                self.show();
            }
            _ => {}
        }
    }

    /// Says what is still to be said, and good-bye: the others need not wait for the end of the lease.
    async fn leave(&mut self) {
        while let Some(told) = self.told.try_recv() {
            self.tell(told);
        }
        if !self.cluster.state().is_up {
            return;
        }
        let bye = self.cluster.say_bye(&mut Wires(&mut self.bus, &self.traffic));
        loop {
            match self.bus.next().await {
                BusEvent::Published { id, .. } | BusEvent::Lost { id } if id == bye => return,
                BusEvent::Disconnected(_) => return,
                event => self.hear(event),
            }
        }
    }

    fn show(&self) {
        let state = self.cluster.state();
        self.state.send_if_modified(|shown| std::mem::replace(shown, state) != state);
        let mut nodes: Vec<NodeId> = self.cluster.peers().collect();
        nodes.sort_unstable();
        self.nodes.send_if_modified(|shown| {
            let is_new = *shown != nodes;
            *shown = nodes;
            is_new
        });
    }
}

/// The bus, as the node sees it.
struct Wires<'a>(&'a mut Connection, &'a Traffic);

impl Wire for Wires<'_> {
    fn subscribe(&mut self, subject: &str) {
        self.0.subscribe(subject);
    }

    fn unsubscribe(&mut self, subject: &str) {
        self.0.unsubscribe(subject);
    }

    fn publish(&mut self, subject: &str, message: Bytes, ticket: u64) {
        self.1.messages_out.add(1);
        self.1.bytes_out.add(message.len() as u64);
        self.0.publish(subject, message, ticket);
    }
}
