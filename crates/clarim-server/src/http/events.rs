//! The endpoints that publish: `POST /apps/{id}/events`, `batch_events`, `users/{user}/events`.

use clarim_hub::{ChannelKey, Placed};
use clarim_protocol::rest::{Batch, Event, UserEvent};
use clarim_protocol::{ChannelName, Position};
use futures_util::future::join_all;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::{Map, Value, json};

use super::channels::{Directory, attributes, partial};
use super::publish::{CheckedEvent, PublishError, PublishScope, Published, Publisher};
use super::response::{ApiError, ApiResponse, json, json_value};
use super::signed::{ApiRequest, parse};

/// Publishes one event to one or many channels.
pub(crate) async fn event(
    publisher: Publisher<'_>,
    directory: Directory<'_>,
    request: &ApiRequest,
) -> Result<ApiResponse, ApiError> {
    let event: Event<'_> = parse(&request.body)?;
    let event = publisher.check(request.app, &event)?;
    let Published { scope, mut placed } =
        publish(publisher, std::slice::from_ref(&event), request).await?;
    let Some(info) = event.info else {
        return Ok(with_warning(json("{}"), scope));
    };
    // All at once, so that a silent node is waited for only once.
    let mut found = join_all(event.channels.iter().map(|key| directory.channel(key))).await;
    for (key, found) in event.channels.iter().zip(&mut found) {
        found.value.position = take_position(&mut placed, key);
    }
    let is_partial = found.iter().any(|found| found.is_partial);
    let channels: Map<String, Value> = event
        .channels
        .iter()
        .zip(&found)
        .map(|(key, found)| (key.name.as_str().to_owned(), attributes(key, &found.value, info)))
        .collect();
    let response = json_value(&json!({ "channels": channels }));
    Ok(with_warning(partial(response, is_partial), scope))
}

/// Publishes several events, each to its own channel. All are checked before the first is published.
pub(crate) async fn batch(
    publisher: Publisher<'_>,
    directory: Directory<'_>,
    request: &ApiRequest,
) -> Result<ApiResponse, ApiError> {
    let Batch { batch } = parse(&request.body)?;
    let max = publisher.app(request.app).limits.events_per_batch;
    if batch.len() > max {
        let count = batch.len();
        let message = format!("Batch too large: it has {count} events, the maximum is {max}.");
        return Err(ApiError::malformed(message));
    }
    let mut events = Vec::with_capacity(batch.len());
    for (n, event) in batch.iter().enumerate() {
        let checked = publisher.check(request.app, event).map_err(|error| {
            let error = ApiError::from(error);
            ApiError::new(error.status, format!("batch[{n}]: {}", error.message))
        });
        events.push(checked?);
    }
    let Published { scope, mut placed } = publish(publisher, &events, request).await?;
    if events.iter().all(|event| event.info.is_none()) {
        return Ok(with_warning(json("{}"), scope));
    }
    let places = events.iter().map(|event| {
        let key = event.channels.first()?;
        take_position(&mut placed, key)
    });
    let places: Vec<Option<Position>> = places.collect();
    let found = join_all(events.iter().zip(places).map(async |(event, position)| {
        match (event.info, event.channels.first()) {
            (Some(info), Some(key)) => {
                let mut found = directory.channel(key).await;
                found.value.position = position;
                (attributes(key, &found.value, info), found.is_partial)
            }
            _ => (json!({}), false),
        }
    }));
    let (infos, are_partial): (Vec<Value>, Vec<bool>) = found.await.into_iter().unzip();
    let response = json_value(&json!({ "batch": infos }));
    Ok(with_warning(partial(response, are_partial.contains(&true)), scope))
}

/// Publishes an event to the connections that have signed in as a user.
pub(crate) async fn user_event(
    publisher: Publisher<'_>,
    request: &ApiRequest,
    user: &str,
) -> Result<ApiResponse, ApiError> {
    let event: UserEvent<'_> = parse(&request.body)?;
    let name =
        ChannelName::of_user(user).map_err(|error| ApiError::malformed(format!("{error}.")))?;
    publisher.check_content(request.app, &event.name, event.data)?;
    let checked = CheckedEvent {
        name: &event.name,
        data: event.data,
        channels: vec![ChannelKey { app: request.app, name }],
        except: None,
        info: None,
    };
    let Published { scope, .. } =
        publish(publisher, std::slice::from_ref(&checked), request).await?;
    Ok(with_warning(json("{}"), scope))
}

/// Takes the position of the next event on a channel.
fn take_position(placed: &mut Vec<Placed>, key: &ChannelKey) -> Option<Position> {
    let at = placed.iter().position(|placed| placed.channel == *key)?;
    Some(placed.remove(at).position)
}

async fn publish(
    publisher: Publisher<'_>,
    events: &[CheckedEvent<'_>],
    request: &ApiRequest,
) -> Result<Published, ApiError> {
    Ok(publisher.publish(events, Some(&request.headers)).await?)
}

/// Adds a warning if clients of other nodes have not got the event.
fn with_warning(mut response: ApiResponse, scope: PublishScope) -> ApiResponse {
    if scope == PublishScope::ThisNode {
        let warning = "local only: the bus is down, or not all nodes are back on it";
        response.headers_mut().insert("clarim-warning", HeaderValue::from_static(warning));
    }
    response
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        let status = match &error {
            PublishError::UnknownApp { .. } => StatusCode::NOT_FOUND,
            PublishError::Invalid { .. } => StatusCode::BAD_REQUEST,
            PublishError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            PublishError::OverCapacity
            | PublishError::BusDown { .. }
            | PublishError::NodesAway { .. }
            | PublishError::NotStored
            | PublishError::BusLost => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}
