//! Webhooks, as Pusher defines them: what happens on an app's channels, told to its backend by signed
//! requests.
//!
//! Workers put facts into a bounded queue and go on; all else is done by a thread of its own. An endpoint
//! that is slow or dead fills its own queue; what is dropped then is counted.

mod debounce;
mod endpoint;
mod log;
mod payload;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::{AppIndex, Apps, Fact, Moved, Node};
use clarim_protocol::auth::AppKey;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::Reach;
use crate::inbox::Inboxes;
use crate::metrics::Counter;
use crate::phase::{Follow, Phase};
use crate::settings::{ServerSettings, Webhook};
use debounce::{Debounce, Verdict};
use endpoint::Endpoint;
pub(crate) use endpoint::shown;
use log::Log;
pub(crate) use log::Replay;
pub(crate) use payload::NAMES;

/// Facts that wait to be looked at, and of each endpoint, events that wait to be sent.
const QUEUE: usize = 10_000;

/// How long a server that ends tries to say what is still to be said.
const FAREWELL: Duration = Duration::from_secs(2);

/// The endpoints of each app, by its id.
pub(crate) type Wanted = HashMap<String, Vec<Webhook>>;

/// What workers and the cluster have to say.
#[derive(Debug)]
enum Heard {
    Fact(Fact),
    Moved(Moved),
}

/// Where facts go. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Webhooks {
    facts: mpsc::Sender<Heard>,
    wanted: watch::Sender<Wanted>,
    pub(crate) counts: Arc<Counts>,
}

/// What has become of events.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: Counter,
    /// Requests that failed, and were made again or given up.
    pub(crate) failed: Counter,
    /// Events that nobody will get.
    pub(crate) dropped: Counter,
    pub(crate) log: Log,
}

impl Webhooks {
    /// Takes a fact, if there is room. Never waits.
    pub(crate) fn take(&self, fact: Fact) {
        if self.facts.try_send(Heard::Fact(fact)).is_err() {
            self.counts.dropped.add(1);
        }
    }

    /// Takes who has moved between nodes, if there is room. Never waits.
    pub(crate) fn take_moved(&self, moved: Moved) {
        // Where there is none, facts are being lost, and are counted.
        let _ = self.facts.try_send(Heard::Moved(moved));
    }

    /// From now on these are told.
    pub(crate) fn set(&self, wanted: Wanted) {
        self.wanted.send_replace(wanted);
    }
}

/// What the thread runs: made here, run there.
#[derive(Debug)]
pub(crate) struct Plan {
    facts: mpsc::Receiver<Heard>,
    wanted: watch::Receiver<Wanted>,
    reach: Reach,
    counts: Arc<Counts>,
}

/// A way for facts.
pub(crate) fn channel(settings: &ServerSettings) -> (Webhooks, Plan) {
    let reach = match settings.webhook_private_addresses {
        true => Reach::Anywhere,
        false => Reach::Public,
    };
    let (sender, facts) = mpsc::channel(QUEUE);
    let (setter, wanted) = watch::channel(settings.webhooks.clone());
    let counts = Arc::<Counts>::default();
    let webhooks = Webhooks { facts: sender, wanted: setter, counts: counts.clone() };
    (webhooks, Plan { facts, wanted, reach, counts })
}

/// An event for the endpoints of an app: its name, its channel, and what is sent.
#[derive(Debug, Clone)]
struct Event {
    name: &'static str,
    channel: String,
    body: Value,
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
    fn hand_out(&self, fact: Fact) {
        let app = fact.channel().app;
        let event = payload::event(fact);
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
        let mut is_closed = false;
        // The clients of a node that ends come back to another one: it waits for that, as it would otherwise.
        while !is_closed || (clustered.is_some() && !held.is_empty()) {
            tokio::select! {
                Some(heard) = self.facts.recv() => {
                    let verdict = match heard {
                        Heard::Fact(fact) => held.take(fact, begun.elapsed()),
                        Heard::Moved(moved) => held.moved(moved),
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
                Ok(()) = self.wanted.changed() => {
                    endpoints = self.endpoints(apps, endpoints, &mut sending)?;
                }
                () = phase.reached(Phase::Closed), if !is_closed => is_closed = true,
            }
        }
        drop(clustered);
        while let Ok(heard) = self.facts.try_recv() {
            if let Heard::Fact(fact) = heard
                && let Verdict::Tell(fact) = held.take(fact, begun.elapsed())
            {
                endpoints.hand_out(fact);
            }
        }
        held.due(Duration::MAX).into_iter().for_each(|fact| endpoints.hand_out(fact));
        // Without them, the senders end when they have sent what they have.
        drop(endpoints);
        let all = async { while sending.join_next().await.is_some() {} };
        // What is not said by then is said no more.
        let _ = timeout(FAREWELL, all).await;
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
        Ok(Endpoints(all))
    }
}
