//! What there is: `GET /apps/{id}/channels`, `channels/{channel}`, `channels/{channel}/users`,
//! `connections`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clarim_hub::cluster::Gathered;
use clarim_hub::{AppIndex, ChannelKey, ChannelState, Node};
use clarim_protocol::cluster::Query;
use clarim_protocol::rest::Info;
use clarim_protocol::{ChannelName, Frame};
use hyper::header::HeaderValue;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Refused, json_value};
use super::signed::Signed;
use crate::cluster::Cluster;
use crate::inbox::Inboxes;

/// What there is on this node and, in a cluster, on all others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory<'a> {
    pub(crate) node: &'a Node<Inboxes>,
    pub(crate) now: Duration,
    pub(crate) cluster: Option<&'a Cluster>,
}

/// What was found, perhaps without what some node knows.
#[derive(Debug)]
pub(crate) struct Seen<T> {
    pub(crate) what: T,
    pub(crate) is_partial: bool,
}

impl Directory<'_> {
    /// What is known of a channel.
    pub(crate) async fn channel(&self, key: &ChannelKey) -> Seen<ChannelState> {
        let mut what = self.node.channel(key, self.now);
        let name = key.name.as_str();
        let others = self.ask(key.app, Query::Channel(name.to_owned().into())).await;
        if let Some((subscriptions, users)) = others.channels.get(name) {
            add(&mut what, *subscriptions, *users);
        }
        what.cached = what.cached.or(others.cached);
        Seen { what, is_partial: others.is_partial }
    }

    /// All occupied channels with a prefix.
    pub(crate) async fn channels(
        &self,
        app: AppIndex,
        prefix: &str,
    ) -> Seen<BTreeMap<String, ChannelState>> {
        let local = self.node.channels(app, prefix).into_iter();
        let mut what: BTreeMap<_, _> =
            local.map(|(name, state)| (name.as_str().to_owned(), state)).collect();
        let others = self.ask(app, Query::Channels(prefix.to_owned().into())).await;
        for (name, (subscriptions, users)) in others.channels {
            add(what.entry(name).or_default(), subscriptions, users);
        }
        Seen { what, is_partial: others.is_partial }
    }

    /// Ids of the users on a presence channel.
    pub(crate) async fn users(&self, key: &ChannelKey) -> Seen<BTreeSet<String>> {
        let local = self.node.users(key);
        let mut what: BTreeSet<String> = local.iter().map(|id| id.as_str().to_owned()).collect();
        let question = Query::Users(key.name.as_str().to_owned().into());
        let others = self.ask(key.app, question).await;
        what.extend(others.users);
        Seen { what, is_partial: others.is_partial }
    }

    /// Asks all other nodes, if there are any.
    pub(crate) async fn ask(&self, app: AppIndex, question: Query<'static>) -> Gathered {
        match self.cluster {
            Some(cluster) => cluster.ask(&self.node.apps().get(app).id, question).await,
            None => Gathered::default(),
        }
    }
}

/// Adds what other nodes have.
fn add(state: &mut ChannelState, subscriptions: u64, users: u64) {
    state.subscriptions += usize::try_from(subscriptions).unwrap_or(0);
    // Each node knows all users of the presence channels that it has.
    state.users = state.users.max(usize::try_from(users).unwrap_or(0));
}

/// The answer, with a note that some node has not said what it knows.
pub(crate) fn partial(mut answer: Answer, is_partial: bool) -> Answer {
    if is_partial {
        let note = HeaderValue::from_static("true");
        answer.headers_mut().insert("clarim-partial", note);
    }
    answer
}

/// All occupied channels, or those with a prefix.
pub(crate) async fn list(request: &Signed, directory: Directory<'_>) -> Answer {
    let info = wanted(request);
    let prefix = request.param("filter_by_prefix").unwrap_or_default();
    let Seen { what, is_partial } = directory.channels(request.app, prefix).await;
    let channels: Map<String, Value> = what
        .into_iter()
        .filter_map(|(text, state)| {
            let name = ChannelName::parse(&text, usize::MAX).ok()?;
            Some((text, attributes(&ChannelKey { app: request.app, name }, &state, info)))
        })
        .collect();
    partial(json_value(&json!({ "channels": channels })), is_partial)
}

/// One channel.
pub(crate) async fn show(
    request: &Signed,
    channel: &str,
    directory: Directory<'_>,
) -> Result<Answer, Refused> {
    let key = key(request, channel, directory.node)?;
    let Seen { what, is_partial } = directory.channel(&key).await;
    let mut answer = attributes(&key, &what, wanted(request));
    answer["occupied"] = Value::from(what.subscriptions > 0);
    Ok(partial(json_value(&answer), is_partial))
}

/// The users on a presence channel.
pub(crate) async fn users(
    request: &Signed,
    channel: &str,
    directory: Directory<'_>,
) -> Result<Answer, Refused> {
    let key = key(request, channel, directory.node)?;
    if !key.name.is_presence() {
        return Err(Refused::malformed("Users can only be retrieved for presence channels."));
    }
    let Seen { what: ids, is_partial } = directory.users(&key).await;
    let ids: Vec<Value> = ids.into_iter().map(|id| json!({ "id": id })).collect();
    Ok(partial(json_value(&json!({ "users": ids })), is_partial))
}

/// How many connections the app has.
pub(crate) async fn connections(request: &Signed, directory: Directory<'_>) -> Answer {
    let local = u64::from(directory.node.apps().connections(request.app));
    let others = directory.ask(request.app, Query::Connections).await;
    let answer = json_value(&json!({ "connections": local + others.connections }));
    partial(answer, others.is_partial)
}

/// The facts asked for, as far as the channel's kind has them.
pub(crate) fn attributes(key: &ChannelKey, state: &ChannelState, info: Info) -> Value {
    let mut attributes = Map::new();
    if info.user_count && key.name.is_presence() {
        attributes.insert("user_count".to_owned(), state.users.into());
    }
    if info.subscription_count && !key.name.is_presence() {
        attributes.insert("subscription_count".to_owned(), state.subscriptions.into());
    }
    if info.cache && key.name.is_cache() {
        let cached = state
            .cached
            .as_ref()
            .map(|(frame, ttl)| json!({ "data": data_of(frame), "ttl": ttl.as_secs() }));
        attributes.insert("cache".to_owned(), cached.unwrap_or(Value::Null));
    }
    Value::Object(attributes)
}

/// The data of an event, out of its frame.
fn data_of(frame: &Frame) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let event: Event<'_> = serde_json::from_slice(frame.payload()).ok()?;
    serde_json::from_str(event.data.get()).ok()
}

fn wanted(request: &Signed) -> Info {
    request.param("info").map(Info::parse).unwrap_or_default()
}

fn key(request: &Signed, channel: &str, node: &Node<Inboxes>) -> Result<ChannelKey, Refused> {
    let max = node.apps().get(request.app).limits.channel_name_bytes;
    let name = ChannelName::parse(channel, max).map_err(|e| Refused::malformed(format!("{e}.")))?;
    Ok(ChannelKey { app: request.app, name })
}
