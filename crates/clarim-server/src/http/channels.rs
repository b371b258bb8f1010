//! What there is: `GET /apps/{id}/channels`, `channels/{channel}`, `channels/{channel}/users`,
//! `connections`.

use std::time::Duration;

use clarim_hub::{ChannelKey, ChannelState, Node};
use clarim_protocol::rest::Info;
use clarim_protocol::{ChannelName, Frame};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Refused, json_value};
use super::signed::Signed;
use crate::inbox::Inboxes;

/// All occupied channels, or those with a prefix.
pub(crate) fn list(request: &Signed, node: &Node<Inboxes>) -> Answer {
    let info = wanted(request);
    let prefix = request.param("filter_by_prefix").unwrap_or_default();
    let channels: Map<String, Value> = node
        .channels(request.app, prefix)
        .into_iter()
        .map(|(name, state)| {
            let text = name.as_str().to_owned();
            (text, attributes(&ChannelKey { app: request.app, name }, &state, info))
        })
        .collect();
    json_value(&json!({ "channels": channels }))
}

/// One channel.
pub(crate) fn show(
    request: &Signed,
    channel: &str,
    node: &Node<Inboxes>,
    now: Duration,
) -> Result<Answer, Refused> {
    let key = key(request, channel, node)?;
    let state = node.channel(&key, now);
    let mut answer = attributes(&key, &state, wanted(request));
    answer["occupied"] = Value::from(state.subscriptions > 0);
    Ok(json_value(&answer))
}

/// The users on a presence channel.
pub(crate) fn users(
    request: &Signed,
    channel: &str,
    node: &Node<Inboxes>,
) -> Result<Answer, Refused> {
    let key = key(request, channel, node)?;
    if !key.name.is_presence() {
        return Err(Refused::malformed("Users can only be retrieved for presence channels."));
    }
    let ids: Vec<Value> = node.users(&key).iter().map(|id| json!({ "id": id.as_str() })).collect();
    Ok(json_value(&json!({ "users": ids })))
}

/// How many connections the app has.
pub(crate) fn connections(request: &Signed, node: &Node<Inboxes>) -> Answer {
    json_value(&json!({ "connections": node.apps().connections(request.app) }))
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
