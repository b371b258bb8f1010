//! The endpoints that query: `GET /apps/{id}/channels`, `channels/{channel}`, `channels/{channel}/users`,
//! `connections`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clarim_cluster::{Gathered, Query};
use clarim_hub::{AppIndex, ChannelKey, ChannelState, Node};
use clarim_protocol::rest::Info;
use clarim_protocol::{ChannelName, Frame};
use hyper::header::HeaderValue;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::response::{ApiError, ApiResponse, json_value};
use super::signed::ApiRequest;
use crate::cluster::Cluster;
use crate::runtime::Sink;

/// The channels and users of this node and, in a cluster, of all others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory<'a> {
    pub(crate) node: &'a Node<Sink>,
    pub(crate) now: Duration,
    pub(crate) cluster: Option<&'a Cluster>,
}

/// A result of all nodes.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    /// Some node has not replied.
    pub(crate) is_partial: bool,
}

impl Directory<'_> {
    /// Returns the state of a channel.
    pub(crate) async fn channel(&self, key: &ChannelKey) -> Found<ChannelState> {
        let mut value = self.node.channel(key, self.now);
        let name = key.name.as_str();
        let others = self.query(key.app, Query::Channel(name.to_owned().into())).await;
        if let Some(counts) = others.channels.get(name) {
            add(&mut value, counts.subscriptions, counts.users);
        }
        value.cached = value.cached.or(others.cached);
        Found { value, is_partial: others.is_partial }
    }

    /// Returns all occupied channels whose names begin with `prefix`.
    pub(crate) async fn channels(
        &self,
        app: AppIndex,
        prefix: &str,
    ) -> Found<BTreeMap<String, ChannelState>> {
        let local = self.node.channels(app, prefix).into_iter();
        let mut value: BTreeMap<_, _> =
            local.map(|(name, state)| (name.as_str().to_owned(), state)).collect();
        let others = self.query(app, Query::Channels(prefix.to_owned().into())).await;
        for (name, counts) in others.channels {
            add(value.entry(name).or_default(), counts.subscriptions, counts.users);
        }
        Found { value, is_partial: others.is_partial }
    }

    /// Returns the ids of the users on a presence channel.
    pub(crate) async fn users(&self, key: &ChannelKey) -> Found<BTreeSet<String>> {
        let local = self.node.users(key);
        let mut value: BTreeSet<String> = local.iter().map(|id| id.as_str().to_owned()).collect();
        let query = Query::Users(key.name.as_str().to_owned().into());
        let others = self.query(key.app, query).await;
        value.extend(others.users);
        Found { value, is_partial: others.is_partial }
    }

    /// Queries all other nodes, if there are any.
    pub(crate) async fn query(&self, app: AppIndex, query: Query<'static>) -> Gathered {
        match self.cluster {
            Some(cluster) => cluster.query(&self.node.apps().get(app).id, query).await,
            None => Gathered::default(),
        }
    }
}

/// Adds the numbers of other nodes.
fn add(state: &mut ChannelState, subscriptions: u64, users: u64) {
    state.subscriptions += usize::try_from(subscriptions).unwrap_or(0);
    // Each node knows all users of its presence channels.
    state.users = state.users.max(usize::try_from(users).unwrap_or(0));
}

/// Marks a response if some node has not replied.
pub(crate) fn partial(mut response: ApiResponse, is_partial: bool) -> ApiResponse {
    if is_partial {
        let note = HeaderValue::from_static("true");
        response.headers_mut().insert("clarim-partial", note);
    }
    response
}

/// Lists all occupied channels, or those with a prefix.
pub(crate) async fn list(request: &ApiRequest, directory: Directory<'_>) -> ApiResponse {
    let info = wanted(request);
    let prefix = request.param("filter_by_prefix").unwrap_or_default();
    let Found { value, is_partial } = directory.channels(request.app, prefix).await;
    let channels: Map<String, Value> = value
        .into_iter()
        .filter_map(|(text, state)| {
            let name = ChannelName::parse(&text, usize::MAX).ok()?;
            Some((text, attributes(&ChannelKey { app: request.app, name }, &state, info)))
        })
        .collect();
    partial(json_value(&json!({ "channels": channels })), is_partial)
}

/// Describes one channel.
pub(crate) async fn show(
    request: &ApiRequest,
    channel: &str,
    directory: Directory<'_>,
) -> Result<ApiResponse, ApiError> {
    let key = key(request, channel, directory.node)?;
    let Found { value, is_partial } = directory.channel(&key).await;
    let mut channel = attributes(&key, &value, wanted(request));
    channel["occupied"] = Value::from(value.subscriptions > 0);
    Ok(partial(json_value(&channel), is_partial))
}

/// Lists the users on a presence channel.
pub(crate) async fn users(
    request: &ApiRequest,
    channel: &str,
    directory: Directory<'_>,
) -> Result<ApiResponse, ApiError> {
    let key = key(request, channel, directory.node)?;
    if !key.name.is_presence() {
        return Err(ApiError::malformed("Users can only be retrieved for presence channels."));
    }
    let Found { value: ids, is_partial } = directory.users(&key).await;
    let ids: Vec<Value> = ids.into_iter().map(|id| json!({ "id": id })).collect();
    Ok(partial(json_value(&json!({ "users": ids })), is_partial))
}

/// Counts the connections of the app.
pub(crate) async fn connections(request: &ApiRequest, directory: Directory<'_>) -> ApiResponse {
    let local = u64::from(directory.node.apps().connections(request.app));
    let others = directory.query(request.app, Query::Connections).await;
    let response = json_value(&json!({ "connections": local + others.connections }));
    partial(response, others.is_partial)
}

/// The requested attributes, as far as the channel's kind has them.
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

/// Returns the data of an event from its frame.
fn data_of(frame: &Frame) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let event: Event<'_> = serde_json::from_slice(frame.payload()).ok()?;
    serde_json::from_str(event.data.get()).ok()
}

fn wanted(request: &ApiRequest) -> Info {
    request.param("info").map(Info::parse).unwrap_or_default()
}

fn key(request: &ApiRequest, channel: &str, node: &Node<Sink>) -> Result<ChannelKey, ApiError> {
    let max = node.apps().get(request.app).limits.channel_name_bytes;
    let name =
        ChannelName::parse(channel, max).map_err(|e| ApiError::malformed(format!("{e}.")))?;
    Ok(ChannelKey { app: request.app, name })
}
