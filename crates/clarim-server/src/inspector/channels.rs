//! `GET apps/{id}/channels` and `channels/{name}`: the channels of all nodes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use clarim_hub::{AppIndex, ChannelKey, ChannelState};
use clarim_protocol::ChannelName;
use clarim_protocol::rest::{HistoryRequest, Params};
use serde_json::{Value, json};

use crate::http::response::{ApiError, ApiResponse, json_value};
use crate::http::{HistoryError, Http, history};
use crate::runtime::PAGE_SIZE;

/// The order of a list of channels.
#[derive(Debug, Clone, Copy)]
enum Order {
    Name,
    /// Those with most subscriptions first.
    Subscriptions,
    /// Those with most users first.
    Users,
}

struct PageRequest {
    /// A part of the name, as users of Echo know it, without `private-`.
    part: String,
    /// The previous response's `next`.
    after: String,
    order: Order,
}

/// Lists channels: with `contains` those whose names contain it, with `after` those after the previous
/// response's `next`, with `sort` those with most `subscriptions` or `users` first.
pub(super) async fn list(http: &Http, app: AppIndex, query: &str) -> Result<ApiResponse, ApiError> {
    let params = Params::decode(query).map_err(|error| ApiError::malformed(error.to_string()))?;
    let text = |name| params.get(name).unwrap_or_default().to_owned();
    let order = match params.get("sort") {
        None => Order::Name,
        Some("subscriptions") => Order::Subscriptions,
        Some("users") => Order::Users,
        Some(_) => return Err(ApiError::malformed("Invalid sort: use subscriptions or users.")),
    };
    let request = PageRequest { part: text("contains"), after: text("after"), order };
    let page = move |all: BTreeMap<String, ChannelState>| page(all, &request);
    let found = http.directory().channels(app, "", page).await?;
    let mut response = found.value;
    response["is_partial"] = found.is_partial.into();
    Ok(json_value(&response))
}

fn page(mut all: BTreeMap<String, ChannelState>, request: &PageRequest) -> Value {
    let total = all.len();
    all.retain(|name, _| name.contains(&request.part));
    let count = all.len();
    let mut all: Vec<_> = all.into_iter().collect();
    // Sorting keeps the names of equals in order.
    match request.order {
        Order::Name => {}
        Order::Subscriptions => all.sort_by_key(|(_, state)| Reverse(state.subscriptions)),
        Order::Users => all.sort_by_key(|(_, state)| Reverse(state.users)),
    }
    let first = match request.order {
        Order::Name => all.partition_point(|(name, _)| *name <= request.after),
        _ => request.after.parse().unwrap_or(0),
    };
    let mut left = all.into_iter().skip(first);
    let page: Vec<Value> = left
        .by_ref()
        .take(PAGE_SIZE)
        .map(|(name, state)| {
            json!({ "name": name, "subscriptions": state.subscriptions, "users": state.users })
        })
        .collect();
    let next = left.next().and_then(|_| page.last()).map(|last| match request.order {
        Order::Name => last["name"].clone(),
        // Numbers change all the time, so these pages are counted.
        _ => (first + PAGE_SIZE).to_string().into(),
    });
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

/// Lists the members of a presence channel: with `after` those after that id. Other channels have none.
pub(super) async fn show(
    http: &Http,
    app: AppIndex,
    name: &str,
    query: &str,
) -> Result<ApiResponse, ApiError> {
    let params = Params::decode(query).map_err(|error| ApiError::malformed(error.to_string()))?;
    let after = params.get("after").unwrap_or_default();
    let name = ChannelName::parse(name, usize::MAX)
        .map_err(|error| ApiError::malformed(error.to_string()))?;
    let key = ChannelKey { app, name };
    let found = http.directory().users(&key).await;
    let count = found.value.len();
    let mut left = found.value.into_iter().skip_while(|id| id.as_str() <= after);
    let members: Vec<String> = left.by_ref().take(PAGE_SIZE).collect();
    let next = left.next().and_then(|_| members.last());
    Ok(json_value(&json!({
        "members": members, "count": count, "next": next, "is_partial": found.is_partial,
    })))
}
