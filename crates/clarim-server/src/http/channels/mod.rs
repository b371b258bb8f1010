//! The endpoints that query: `GET /apps/{id}/channels`, `channels/{channel}`, `channels/{channel}/users`,
//! `connections`.

pub(crate) mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use clarim_cluster::{Gathered, Query};
use clarim_hub::{AppIndex, ChannelKey, ChannelState, Node};
use clarim_protocol::rest::Info;
use clarim_protocol::{ChannelKind, ChannelName, Frame, Position};
use hyper::header::HeaderValue;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::response::{ApiError, ApiResponse, json as json_response, json_value};
use super::signed::ApiRequest;
use crate::cluster::Cluster;
use crate::runtime::Sink;

/// The channels and users of this node and, in a cluster, of all others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory<'a> {
    pub(crate) node: &'a Arc<Node<Sink>>,
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

    /// Returns what `then` makes of all occupied channels whose names begin with `prefix`. A hundred thousand
    /// of them take a tenth of a second, for which the clients of this worker must not wait: another thread
    /// does it.
    pub(crate) async fn channels<T: Send + 'static>(
        &self,
        app: AppIndex,
        prefix: &str,
        then: impl FnOnce(BTreeMap<String, ChannelState>) -> T + Send + 'static,
    ) -> Result<Found<T>, ApiError> {
        let others = self.query(app, Query::Channels(prefix.to_owned().into())).await;
        let Gathered { channels: others, is_partial, .. } = others;
        let node = self.node.clone();
        let prefix = prefix.to_owned();
        let made = tokio::task::spawn_blocking(move || {
            let local = node.channels(app, &prefix).into_iter();
            let mut all: BTreeMap<_, _> =
                local.map(|(name, state)| (name.as_str().to_owned(), state)).collect();
            for (name, counts) in others {
                add(all.entry(name).or_default(), counts.subscriptions, counts.users);
            }
            then(all)
        });
        let value = made.await.map_err(|_| ApiError::busy("The server is shutting down."))?;
        Ok(Found { value, is_partial })
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

/// The channels of a list request.
struct ListPage {
    app: AppIndex,
    /// Names up to this one are left out.
    after: Option<String>,
    limit: usize,
    info: Info,
}

/// Lists all occupied channels, or those with a prefix. As an extension, `limit` and `after` select a page:
/// the response has `next` if there are more channels, the value of `after` for the next page.
pub(crate) async fn list(
    request: &ApiRequest,
    directory: Directory<'_>,
) -> Result<ApiResponse, ApiError> {
    let limit = match request.param("limit").map(str::parse) {
        None => usize::MAX,
        Some(Ok(limit @ 1..)) => limit,
        Some(_) => return Err(ApiError::malformed("limit must be a whole number above 0.")),
    };
    let info = wanted(request)?;
    let prefix = request.param("filter_by_prefix").unwrap_or_default();
    // Without a prefix, Pusher rejects this too. Laravel's tools ask so, and get the numbers of those
    // channels that have some.
    if info.is_only_user_count() && !ChannelKind::Presence.may_begin_with(prefix) {
        return Err(ApiError::malformed(
            "user_count may only be requested for presence channels; please supply filter_by_prefix beginning with presence-.",
        ));
    }
    let after = request.param("after").map(str::to_owned);
    let page = ListPage { app: request.app, after, limit, info };
    let found = directory.channels(request.app, prefix, move |all| page.render(all)).await?;
    Ok(partial(json_response(found.value), found.is_partial))
}

impl ListPage {
    fn render(&self, all: BTreeMap<String, ChannelState>) -> String {
        let is_selected = |name: &str| self.after.as_deref().is_none_or(|after| name > after);
        let mut selected = all.into_iter().filter(|(name, _)| is_selected(name));
        let channels: Map<String, Value> = selected
            .by_ref()
            .take(self.limit)
            .filter_map(|(text, state)| {
                let name = ChannelName::parse(&text, usize::MAX).ok()?;
                Some((text, attributes(&ChannelKey { app: self.app, name }, &state, self.info)))
            })
            .collect();
        let next = channels.keys().next_back().cloned().filter(|_| selected.next().is_some());
        let mut body = Map::from_iter([("channels".to_owned(), Value::from(channels))]);
        body.extend(next.map(|next| ("next".to_owned(), Value::from(next))));
        Value::from(body).to_string()
    }
}

/// Describes one channel.
pub(crate) async fn show(
    request: &ApiRequest,
    channel: &str,
    directory: Directory<'_>,
) -> Result<ApiResponse, ApiError> {
    let key = key(request, channel, directory.node)?;
    let info = wanted(request)?;
    if info.is_only_user_count() && !key.name.is_presence() {
        return Err(ApiError::malformed(
            "Cannot retrieve the user count unless the channel is a presence channel.",
        ));
    }
    let Found { value, is_partial } = directory.channel(&key).await;
    let mut channel = attributes(&key, &value, info);
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
    if info.subscription_count {
        attributes.insert("subscription_count".to_owned(), state.subscriptions.into());
    }
    if info.cache && key.name.is_cache() {
        let cached = state
            .cached
            .as_ref()
            .map(|(frame, ttl)| json!({ "data": data_of(frame), "ttl": ttl.as_secs() }));
        attributes.insert("cache".to_owned(), cached.unwrap_or(Value::Null));
    }
    if let Some(Position { epoch, offset }) = state.position.filter(|_| info.position) {
        attributes.insert("epoch".to_owned(), epoch.to_string().into());
        attributes.insert("offset".to_owned(), offset.into());
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

fn wanted(request: &ApiRequest) -> Result<Info, ApiError> {
    let list = request.param("info").unwrap_or_default();
    Info::parse(list).map_err(|error| ApiError::malformed(format!("{error}.")))
}

fn key(request: &ApiRequest, channel: &str, node: &Node<Sink>) -> Result<ChannelKey, ApiError> {
    let max = node.apps().get(request.app).limits.channel_name_bytes;
    let name =
        ChannelName::parse(channel, max).map_err(|e| ApiError::malformed(format!("{e}.")))?;
    Ok(ChannelKey { app: request.app, name })
}
