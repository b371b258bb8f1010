//! `GET apps/{id}/channels` and `channels/{name}`: those of all nodes.

use clarim_hub::{AppIndex, ChannelKey};
use clarim_protocol::ChannelName;
use clarim_protocol::rest::Params;
use serde_json::{Value, json};

use super::PAGE;
use crate::http::Http;
use crate::http::answer::{Answer, Refused, json_value};

/// Members shown of one channel.
const MEMBERS: usize = 500;

/// With `prefix` those whose names begin with it, and with `after` those that come after that name.
pub(super) async fn list(http: &Http, app: AppIndex, query: &str) -> Result<Answer, Refused> {
    let params = Params::decode(query).map_err(|error| Refused::malformed(error.to_string()))?;
    let prefix = params.get("prefix").unwrap_or_default();
    let after = params.get("after").unwrap_or_default();
    let seen = http.directory().channels(app, prefix).await;
    let count = seen.what.len();
    let mut left = seen.what.into_iter().skip_while(|(name, _)| name.as_str() <= after);
    let page: Vec<Value> = left
        .by_ref()
        .take(PAGE)
        .map(|(name, state)| {
            json!({ "name": name, "subscriptions": state.subscriptions, "users": state.users })
        })
        .collect();
    let next = left.next().and_then(|_| page.last()).map(|last| last["name"].clone());
    Ok(json_value(&json!({
        "channels": page, "count": count, "next": next, "is_partial": seen.is_partial,
    })))
}

/// Members of a presence channel; of others there are only connections.
pub(super) async fn show(http: &Http, app: AppIndex, name: &str) -> Result<Answer, Refused> {
    let name = ChannelName::parse(name, usize::MAX)
        .map_err(|error| Refused::malformed(error.to_string()))?;
    let key = ChannelKey { app, name };
    let seen = http.directory().users(&key).await;
    let count = seen.what.len();
    let members: Vec<String> = seen.what.into_iter().take(MEMBERS).collect();
    Ok(json_value(&json!({ "members": members, "count": count, "is_partial": seen.is_partial })))
}
