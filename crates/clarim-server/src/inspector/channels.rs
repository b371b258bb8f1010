//! `GET apps/{id}/channels` and `channels/{name}`: the channels of all nodes.

use std::collections::BTreeMap;

use clarim_hub::{AppIndex, ChannelKey, ChannelState};
use clarim_protocol::ChannelName;
use clarim_protocol::rest::{HistoryRequest, Params};
use serde_json::{Value, json};

use crate::http::response::{ApiError, ApiResponse, json_value};
use crate::http::{HistoryError, Http, history};
use crate::runtime::PAGE_SIZE;

/// Maximum number of members in a response.
const MAX_MEMBERS: usize = 500;

/// Lists channels: with `contains` those whose names contain it, with `after` those after that name.
pub(super) async fn list(http: &Http, app: AppIndex, query: &str) -> Result<ApiResponse, ApiError> {
    let params = Params::decode(query).map_err(|error| ApiError::malformed(error.to_string()))?;
    // As users of Echo know it, without `private-`, a name is a part of the channel's.
    let part = params.get("contains").unwrap_or_default().to_owned();
    let after = params.get("after").unwrap_or_default().to_owned();
    let page = move |all: BTreeMap<String, ChannelState>| page(all, &part, &after);
    let found = http.directory().channels(app, "", page).await?;
    let mut response = found.value;
    response["is_partial"] = found.is_partial.into();
    Ok(json_value(&response))
}

fn page(mut all: BTreeMap<String, ChannelState>, part: &str, after: &str) -> Value {
    let total = all.len();
    all.retain(|name, _| name.contains(part));
    let count = all.len();
    let mut left = all.into_iter().skip_while(|(name, _)| name.as_str() <= after);
    let page: Vec<Value> = left
        .by_ref()
        .take(PAGE_SIZE)
        .map(|(name, state)| {
            json!({ "name": name, "subscriptions": state.subscriptions, "users": state.users })
        })
        .collect();
    let next = left.next().and_then(|_| page.last()).map(|last| last["name"].clone());
    json!({ "channels": page, "count": count, "total": total, "next": next })
}

/// Reads what is kept of a channel on this node, the newest event first. `null`: it has no history.
pub(super) async fn kept(
    http: &Http,
    app: AppIndex,
    name: &str,
    query: &str,
) -> Result<ApiResponse, ApiError> {
    let params = Params::decode(query).map_err(|error| ApiError::malformed(error.to_string()))?;
    let page = HistoryRequest::parse(|name| params.get(name)).map_err(HistoryError::from)?;
    match history::when_open(|| history::read(http.directory(), app, name, page)).await {
        Ok(page) => Ok(json_value(&json!({ "history": page }))),
        Err(HistoryError::NoHistory { .. }) => Ok(json_value(&json!({ "history": null }))),
        Err(error) => Err(error.into()),
    }
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
