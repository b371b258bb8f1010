//! Webhooks, as Pusher defines them: what happens on an app's channels, told to its backend by signed
//! requests.
//!
//! Workers put facts into a bounded queue and go on; all else is done by a thread of its own. An endpoint
//! that is slow or dead fills its own queue; what is dropped then is counted, and logged now and then.

mod debounce;
mod endpoint;
mod log;
mod payload;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use clarim_hub::{AppIndex, Apps, ChannelEvent, Migration, Node};
use clarim_protocol::auth::AppKey;
use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::client::EgressPolicy;
use crate::config::{ServerConfig, Webhook};
use crate::inbox::Inboxes;
use crate::metrics::Counter;
use crate::phase::{Follow, Phase};
use crate::queue::{BYTES, Queue, Waiting, queue};
use debounce::{Debounce, Verdict};
use endpoint::Endpoint;
use log::Log;
pub(crate) use log::Replay;

/// Time between two lines of the log about events that are being dropped.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

const TOO_MUCH: &str = "more happens than can be looked at";

/// How long a server that ends tries to say what is still to be said.
const FAREWELL: Duration = Duration::from_secs(2);

/// The endpoints of each app, by its id.
pub(crate) type Wanted = HashMap<String, Vec<Webhook>>;

/// What workers and the cluster have to say.
#[derive(Debug)]
enum Heard {
    ChannelEvent(ChannelEvent),
    Migration(Migration),
}

/// Apps that have endpoints, as soon as that is known. Facts of others are for who listens in this process.
type Hooked = Arc<RwLock<Option<HashSet<AppIndex>>>>;

/// Where facts go. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Webhooks {
    facts: Queue<Heard>,
    wanted: watch::Sender<Wanted>,
    hooked: Hooked,
    pub(crate) counts: Arc<Counts>,
}

/// What has become of events.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Put into an endpoint's queue.
    taken: Counter,
    pub(crate) sent: Counter,
    /// Requests that failed, and were made again or given up.
    pub(crate) failed: Counter,
    /// Events for which a queue had no room.
    overflowed: Counter,
    /// Events that no request has brought in time.
    given_up: Counter,
    /// Of what has overflowed before it was known for whom.
    losses: Losses,
    pub(crate) log: Log,
}

impl Counts {
    /// Events that nobody will get.
    pub(crate) fn dropped(&self) -> u64 {
        self.overflowed.get() + self.given_up.get()
    }

    /// Events in the queues of endpoints, and in requests that go on.
    pub(crate) fn waiting(&self) -> u64 {
        // Each number is read by itself: one may be a moment ahead of another.
        self.taken.get().saturating_sub(self.sent.get() + self.given_up.get())
    }

    /// Logs what was dropped since it was last logged.
    fn tell_losses(&self) {
        if let Some(count) = self.losses.rest() {
            tracing::warn!(count, "webhook events are dropped: {TOO_MUCH}");
        }
    }

    /// Puts the events of a delivery into its endpoint's queue again.
    pub(crate) fn replay(&self, id: u64) -> Replay {
        let replay = self.log.replay(id);
        if let Replay::Queued(events) = replay {
            self.taken.add(events as u64);
        }
        replay
    }
}

/// What was lost since it was last logged.
#[derive(Debug, Default)]
struct Losses(Mutex<(u64, Option<Instant>)>);

impl Losses {
    /// Takes note of one more. How many there are, if it is time to say so.
    fn add(&self) -> Option<u64> {
        let now = Instant::now();
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lost.0 += 1;
        if lost.1.is_some_and(|told| now.duration_since(told) < BETWEEN_WARNINGS) {
            return None;
        }
        lost.1 = Some(now);
        Some(std::mem::take(&mut lost.0))
    }

    /// How many have not been logged yet, if any.
    fn rest(&self) -> Option<u64> {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (lost.0 > 0).then(|| {
            lost.1 = Some(Instant::now());
            std::mem::take(&mut lost.0)
        })
    }
}

impl Webhooks {
    /// Takes a fact, if there is room. Never waits.
    pub(crate) fn take(&self, fact: ChannelEvent) {
        let hooked = self.hooked.read().unwrap_or_else(PoisonError::into_inner);
        if hooked.as_ref().is_some_and(|apps| !apps.contains(&fact.channel().app)) {
            return;
        }
        drop(hooked);
        let bytes = fact.weight();
        if self.facts.put(Heard::ChannelEvent(fact), bytes) {
            return;
        }
        self.counts.overflowed.add(1);
        if let Some(count) = self.counts.losses.add() {
            tracing::warn!(count, "webhook events are dropped: {TOO_MUCH}");
        }
    }

    /// Takes who has moved between nodes, if there is room. Never waits.
    pub(crate) fn take_moved(&self, moved: Migration) {
        // Where there is none, facts are being lost, and are counted.
        let _ = self.facts.put(Heard::Migration(moved), 0);
    }

    /// From now on these are told.
    pub(crate) fn set(&self, wanted: Wanted) {
        self.wanted.send_replace(wanted);
    }
}

/// What the thread runs: made here, run there.
#[derive(Debug)]
pub(crate) struct Plan {
    facts: Waiting<Heard>,
    wanted: watch::Receiver<Wanted>,
    reach: EgressPolicy,
    counts: Arc<Counts>,
    hooked: Hooked,
}

/// A way for facts.
pub(crate) fn channel(settings: &ServerConfig) -> (Webhooks, Plan) {
    let reach = match settings.webhook_private_addresses {
        true => EgressPolicy::Anywhere,
        false => EgressPolicy::Public,
    };
    let (sender, facts) = queue(BYTES);
    let (setter, wanted) = watch::channel(settings.webhooks.clone());
    let counts = Arc::<Counts>::default();
    let hooked = Hooked::default();
    let plan = Plan { facts, wanted, reach, counts: counts.clone(), hooked: hooked.clone() };
    (Webhooks { facts: sender, wanted: setter, counts, hooked }, plan)
}

/// An event for the endpoints of an app: its name, its channel, and what is sent.
#[derive(Debug)]
struct Event {
    name: &'static str,
    channel: String,
    body: Box<RawValue>,
}

impl Event {
    /// Bytes that it takes.
    fn weight(&self) -> usize {
        size_of::<Self>() + self.channel.len() + self.body.get().len()
    }
}

/// The endpoints of one app, and what they were made of.
struct Told {
    endpoints: Vec<Endpoint>,
    webhooks: Vec<Webhook>,
    key: AppKey,
}

#[derive(Default)]
struct Endpoints(HashMap<AppIndex, Told>);

impl Endpoints {
    /// Logs what was dropped since it was last logged.
    fn tell_losses(&self) {
        self.0.values().flat_map(|told| &told.endpoints).for_each(Endpoint::tell_losses);
    }

    fn hand_out(&self, fact: ChannelEvent) {
        let app = fact.channel().app;
        let event = Arc::new(payload::event(fact));
        for endpoint in self.0.get(&app).iter().flat_map(|told| &told.endpoints) {
            endpoint.take(&event);
        }
    }
}

impl Plan {
    /// Sends until the server has closed. `clustered`: the node is one of several, and the cluster goes on
    /// until this is dropped.
    pub(crate) async fn run(
        mut self,
        node: Arc<Node<Inboxes>>,
        mut phase: Follow,
        clustered: Option<oneshot::Sender<()>>,
    ) -> io::Result<()> {
        let apps = node.apps();
        let mut sending = JoinSet::new();
        let mut endpoints = self.endpoints(apps, Endpoints::default(), &mut sending)?;
        let begun = Instant::now();
        let mut held = Debounce::new(clustered.is_some());
        let mut look = interval(BETWEEN_WARNINGS);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_closed = false;
        // The clients of a node that ends come back to another one: it waits for that, as it would otherwise.
        while !is_closed || (clustered.is_some() && !held.is_empty()) {
            tokio::select! {
                Some(heard) = self.facts.take() => {
                    let verdict = match heard.value {
                        Heard::ChannelEvent(fact) => held.take(fact, begun.elapsed()),
                        Heard::Migration(moved) => held.moved(moved),
                    };
                    match verdict {
                        Verdict::Tell(fact) => endpoints.hand_out(fact),
                        Verdict::Keep(who) => node.say_kept(&who),
                        Verdict::Nothing => {}
                    }
                }
                () = sleep(held.next().unwrap_or_default().saturating_sub(begun.elapsed())),
                    if held.next().is_some() =>
                {
                    held.due(begun.elapsed()).into_iter().for_each(|fact| endpoints.hand_out(fact));
                }
                _ = look.tick() => {
                    self.counts.tell_losses();
                    endpoints.tell_losses();
                }
                Ok(()) = self.wanted.changed() => {
                    endpoints.tell_losses();
                    endpoints = self.endpoints(apps, endpoints, &mut sending)?;
                }
                () = phase.reached(Phase::Closed), if !is_closed => is_closed = true,
            }
        }
        drop(clustered);
        while let Ok(heard) = self.facts.take_now() {
            if let Heard::ChannelEvent(fact) = heard.value
                && let Verdict::Tell(fact) = held.take(fact, begun.elapsed())
            {
                endpoints.hand_out(fact);
            }
        }
        held.due(Duration::MAX).into_iter().for_each(|fact| endpoints.hand_out(fact));
        self.counts.tell_losses();
        endpoints.tell_losses();
        // Without them, the senders end when they have sent what they have.
        drop(endpoints);
        let all = async { while sending.join_next().await.is_some() {} };
        // What is not said by then is said no more.
        let _ = timeout(FAREWELL, all).await;
        let count = self.counts.waiting();
        if count > 0 {
            self.counts.given_up.add(count);
            tracing::warn!(
                count,
                "webhook events are dropped: the server ends and they were not taken"
            );
        }
        Ok(())
    }

    /// Those that are wanted now. What an old one still has to say it says, also if it is wanted no more.
    fn endpoints(
        &mut self,
        apps: &Apps,
        Endpoints(mut old): Endpoints,
        sending: &mut JoinSet<()>,
    ) -> io::Result<Endpoints> {
        let mut all = HashMap::new();
        for (id, webhooks) in &*self.wanted.borrow_and_update() {
            let Some(index) = apps.find_by_id(id) else { continue };
            let key = &apps.get(index).key;
            let same = old.remove(&index).filter(|it| it.webhooks == *webhooks && it.key == *key);
            if let Some(same) = same {
                all.insert(index, same);
                continue;
            }
            let mut endpoints = Vec::new();
            for webhook in webhooks {
                let counts = self.counts.clone();
                let (endpoint, sender) =
                    Endpoint::new(webhook.clone(), apps.get(index), counts, self.reach)?;
                endpoints.push(endpoint);
                sending.spawn_local(sender);
            }
            let (webhooks, key) = (webhooks.clone(), key.clone());
            all.insert(index, Told { endpoints, webhooks, key });
        }
        let mut hooked = self.hooked.write().unwrap_or_else(PoisonError::into_inner);
        *hooked = Some(all.keys().copied().collect());
        drop(hooked);
        Ok(Endpoints(all))
    }
}
