//! `GET apps/{id}/channels` and `channels/{name}`: the channels of all nodes.

use clarim_hub::{AppIndex, ChannelKey};
use clarim_protocol::ChannelName;
use clarim_protocol::rest::Params;
use serde_json::{Value, json};

use crate::http::Http;
use crate::http::response::{ApiError, ApiResponse, json_value};
use crate::runtime::PAGE_SIZE;

/// Maximum number of members in a response.
const MAX_MEMBERS: usize = 500;

/// Lists channels: with `prefix` those whose names begin with it, with `after` those after that name.
pub(super) async fn list(http: &Http, app: AppIndex, query: &str) -> Result<ApiResponse, ApiError> {
    let params = Params::decode(query).map_err(|error| ApiError::malformed(error.to_string()))?;
    let prefix = params.get("prefix").unwrap_or_default();
    let after = params.get("after").unwrap_or_default();
    let found = http.directory().channels(app, prefix).await;
    let count = found.value.len();
    let mut left = found.value.into_iter().skip_while(|(name, _)| name.as_str() <= after);
    let page: Vec<Value> = left
        .by_ref()
        .take(PAGE_SIZE)
        .map(|(name, state)| {
            json!({ "name": name, "subscriptions": state.subscriptions, "users": state.users })
        })
        .collect();
    let next = left.next().and_then(|_| page.last()).map(|last| last["name"].clone());
    Ok(json_value(&json!({
        "channels": page, "count": count, "next": next, "is_partial": found.is_partial,
    })))
}

/// Lists the members of a presence channel. Other channels have none.
pub(super) async fn show(http: &Http, app: AppIndex, name: &str) -> Result<ApiResponse, ApiError> {
    let name = ChannelName::parse(name, usize::MAX)
        .map_err(|error| ApiError::malformed(error.to_string()))?;
    let key = ChannelKey { app, name };
    let found = http.directory().users(&key).await;
    let count = found.value.len();
    let members: Vec<String> = found.value.into_iter().take(MAX_MEMBERS).collect();
    Ok(json_value(&json!({ "members": members, "count": count, "is_partial": found.is_partial })))
}
