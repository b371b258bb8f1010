//! The endpoints that publish: `POST /apps/{id}/events`, `batch_events`, `users/{user}/events`.

use std::borrow::Cow;

use clarim_hub::{AppIndex, ChannelKey, Placed};
use clarim_protocol::rest::{Batch, Event, UserEvent};
use clarim_protocol::{ChannelName, Position};
use futures_util::future::join_all;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::Http;
use super::channels::{Directory, attributes};
use super::idempotency::{self, Answer, Claim, IdempotencyKeys, KeyKind, Keyed};
use super::publish::{CheckedEvent, PublishError, PublishScope, Published, Publisher};
use super::response::{ApiError, ApiResponse};
use super::signed::{ApiRequest, parse};

/// An endpoint that publishes.
#[derive(Debug, Clone, Hash)]
pub(crate) enum Endpoint {
    Event,
    Batch,
    /// To the connections of this user.
    User(String),
}

/// The body of a request.
enum Body<'a> {
    Event(Event<'a>),
    Batch(Batch<'a>),
    User { user: &'a str, event: UserEvent<'a> },
}

impl Endpoint {
    fn parse<'a>(&'a self, body: &'a [u8]) -> Result<Body<'a>, ApiError> {
        Ok(match self {
            Self::Event => Body::Event(parse(body)?),
            Self::Batch => Body::Batch(parse(body)?),
            Self::User(user) => Body::User { user, event: parse(body)? },
        })
    }
}

impl Body<'_> {
    /// Checks all events, before the first is published.
    fn check(
        &self,
        publisher: Publisher<'_>,
        app: AppIndex,
    ) -> Result<Vec<CheckedEvent<'_>>, ApiError> {
        match self {
            Self::Event(event) => Ok(vec![publisher.check(app, event)?]),
            Self::Batch(Batch { batch }) => check_batch(publisher, app, batch),
            Self::User { user, event } => Ok(vec![check_user_event(publisher, app, user, event)?]),
        }
    }
}

/// Checks an event to the connections that have signed in as a user.
fn check_user_event<'e>(
    publisher: Publisher<'_>,
    app: AppIndex,
    user: &str,
    event: &'e UserEvent<'_>,
) -> Result<CheckedEvent<'e>, ApiError> {
    let name =
        ChannelName::of_user(user).map_err(|error| ApiError::malformed(format!("{error}.")))?;
    publisher.check_content(app, &event.name, event.data)?;
    Ok(CheckedEvent {
        name: event.name.as_str().into(),
        data: Cow::Borrowed(event.data),
        channels: vec![ChannelKey { app, name }],
        except: None,
        info: None,
        idempotency_key: None,
        log_key: None,
    })
}

/// Checks the events of a batch.
fn check_batch<'e>(
    publisher: Publisher<'_>,
    app: AppIndex,
    batch: &'e [Event<'_>],
) -> Result<Vec<CheckedEvent<'e>>, ApiError> {
    let max = publisher.app(app).limits.events_per_batch;
    if batch.len() > max {
        let count = batch.len();
        let message = format!("Batch too large: it has {count} events, the maximum is {max}.");
        return Err(ApiError::malformed(message));
    }
    let checked = batch.iter().enumerate().map(|(n, event)| {
        publisher.check(app, event).map_err(|error| {
            let error = ApiError::from(error);
            ApiError::new(error.status, format!("batch[{n}]: {}", error.message))
        })
    });
    checked.collect()
}

/// Publishes what is in the body of a request.
pub(crate) async fn publish_request(
    http: &Http,
    request: &ApiRequest,
    endpoint: Endpoint,
) -> Result<ApiResponse, ApiError> {
    let header = idempotency::header(&request.headers)?;
    let body = endpoint.parse(&request.body)?;
    let mut events = body.check(http.publisher(), request.app)?;
    if header.is_none() && events.iter().all(|event| event.idempotency_key.is_none()) {
        return Ok(answer(http, request, &endpoint, &events).await?.into());
    }
    if let Some(key) = header.filter(|_| http.logs.is_some()) {
        for (n, event) in events.iter_mut().enumerate() {
            event.log_key.get_or_insert_with(|| format!("r{n}:{key}").into());
        }
    }
    // The request goes on when its client has gone: the key needs its answer.
    let http = http.clone();
    let request = request.clone();
    let events: Vec<_> = events.into_iter().map(CheckedEvent::into_owned).collect();
    let answered =
        tokio::spawn(async move { answer_once(&http, &request, &endpoint, &events).await });
    Ok(answered.await.map_err(|_| PublishError::ShuttingDown)??.into())
}

/// Publishes the events of a request with a key, or returns the first answer.
async fn answer_once(
    http: &Http,
    request: &ApiRequest,
    endpoint: &Endpoint,
    events: &[CheckedEvent<'_>],
) -> Result<Answer, ApiError> {
    let keyed = idempotency::header(&request.headers)?.map(|text| {
        let fingerprint = idempotency::fingerprint((endpoint, &request.body));
        Keyed { kind: KeyKind::Request, app: app_id(http, request), text, fingerprint }
    });
    let claim = claim(http, keyed).await?;
    if let Some(Claim::Repeat(answer)) = claim {
        return Ok(answer);
    }
    let answer = answer(http, request, endpoint, events).await?;
    if let Some(Claim::First(key)) = claim {
        key.answer(answer.clone(), http.now());
    }
    Ok(answer)
}

fn app_id<'a>(http: &'a Http, request: &ApiRequest) -> &'a str {
    &http.node.apps().get(request.app).id
}

async fn claim(http: &Http, keyed: Option<Keyed<'_>>) -> Result<Option<Claim>, PublishError> {
    if keyed.is_none() {
        return Ok(None);
    }
    Ok(http.keys.claim(&[keyed], http.now()).await?.pop())
}

async fn answer(
    http: &Http,
    request: &ApiRequest,
    endpoint: &Endpoint,
    events: &[CheckedEvent<'_>],
) -> Result<Answer, ApiError> {
    match (endpoint, events) {
        (Endpoint::Event | Endpoint::User(_), [event]) => publish_event(http, request, event).await,
        _ => publish_batch(http, request, events).await,
    }
}

/// Publishes one event to one or many channels.
async fn publish_event(
    http: &Http,
    request: &ApiRequest,
    event: &CheckedEvent<'_>,
) -> Result<Answer, ApiError> {
    let keyed = IdempotencyKeys::of_event(app_id(http, request), event);
    let claim = claim(http, keyed).await?;
    if let Some(Claim::Repeat(answer)) = claim {
        return Ok(answer);
    }
    let mut published = publish(http.publisher(), &[event], request).await?;
    let answer = describe(http.directory(), event, &mut published).await;
    if let Some(Claim::First(key)) = claim {
        key.answer(answer.clone(), http.now());
    }
    Ok(answer)
}

/// Publishes several events, each to its own channel.
async fn publish_batch(
    http: &Http,
    request: &ApiRequest,
    events: &[CheckedEvent<'_>],
) -> Result<Answer, ApiError> {
    let app = app_id(http, request);
    let keyed = events.iter().map(|event| IdempotencyKeys::of_event(app, event));
    let keyed: Vec<_> = keyed.collect();
    let claims = http.keys.claim(&keyed, http.now()).await?;
    let of_claims = events.iter().zip(&claims);
    let new: Vec<&CheckedEvent<'_>> =
        of_claims.filter(|(_, claim)| claim.is_to_publish()).map(|(event, _)| event).collect();
    let published = if new.is_empty() {
        Published { scope: PublishScope::AllNodes, placed: Vec::new() }
    } else {
        publish(http.publisher(), &new, request).await?
    };
    let scope = published.scope;
    let mut described = describe_items(http.directory(), &new, published).await.into_iter();
    let mut answers: Vec<Answer> = Vec::with_capacity(events.len());
    for claim in claims {
        let mut next = || described.next().unwrap_or_else(|| Answer::plain(scope));
        let answer = match claim {
            Claim::Unkeyed => next(),
            Claim::First(key) => {
                let answer = next();
                key.answer(answer.clone(), http.now());
                answer
            }
            Claim::Repeat(answer) => answer,
            Claim::SameAs(n) => answers[n].clone(),
        };
        answers.push(answer);
    }
    Ok(answer_of_batch(events, &answers))
}

/// The answer to a published event: the attributes of its channels that were asked for.
async fn describe(
    directory: Directory<'_>,
    event: &CheckedEvent<'_>,
    published: &mut Published,
) -> Answer {
    let scope = published.scope;
    let Some(info) = event.info else { return Answer::plain(scope) };
    // All at once, so that a silent node is waited for only once.
    let mut found = join_all(event.channels.iter().map(|key| directory.channel(key))).await;
    for (key, found) in event.channels.iter().zip(&mut found) {
        found.value.position = take_position(&mut published.placed, key);
    }
    let is_partial = found.iter().any(|found| found.is_partial);
    let channels: Map<String, Value> = event
        .channels
        .iter()
        .zip(&found)
        .map(|(key, found)| (key.name.as_str().to_owned(), attributes(key, &found.value, info)))
        .collect();
    let body = json!({ "channels": channels }).to_string().into();
    Answer { body, scope, is_partial }
}

/// The answers to the published events of a batch: the attributes of their channels.
async fn describe_items(
    directory: Directory<'_>,
    events: &[&CheckedEvent<'_>],
    published: Published,
) -> Vec<Answer> {
    let Published { scope, mut placed } = published;
    let places = events.iter().map(|event| {
        let key = event.channels.first()?;
        take_position(&mut placed, key)
    });
    let places: Vec<Option<Position>> = places.collect();
    let described = events.iter().zip(places).map(async |(event, position)| {
        match (event.info, event.channels.first()) {
            (Some(info), Some(key)) => {
                let mut found = directory.channel(key).await;
                found.value.position = position;
                let body = attributes(key, &found.value, info).to_string().into();
                Answer { body, scope, is_partial: found.is_partial }
            }
            _ => Answer::plain(scope),
        }
    });
    join_all(described).await
}

fn answer_of_batch(events: &[CheckedEvent<'_>], answers: &[Answer]) -> Answer {
    let scope = answers.iter().map(|answer| answer.scope).max();
    let scope = scope.unwrap_or(PublishScope::AllNodes);
    if events.iter().all(|event| event.info.is_none()) {
        return Answer::plain(scope);
    }
    let is_partial = answers.iter().any(|answer| answer.is_partial);
    let bodies: Vec<_> = answers.iter().map(|answer| &*answer.body).collect();
    let body = [&b"{\"batch\":["[..], &bodies.join(&b","[..]), b"]}"].concat().into();
    Answer { body, scope, is_partial }
}

/// Takes the position of the next event on a channel.
fn take_position(placed: &mut Vec<Placed>, key: &ChannelKey) -> Option<Position> {
    let at = placed.iter().position(|placed| placed.channel == *key)?;
    Some(placed.remove(at).position)
}

async fn publish(
    publisher: Publisher<'_>,
    events: &[&CheckedEvent<'_>],
    request: &ApiRequest,
) -> Result<Published, ApiError> {
    Ok(publisher.publish(events, Some(&request.headers)).await?)
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        let status = match &error {
            PublishError::UnknownApp { .. } => StatusCode::NOT_FOUND,
            PublishError::Invalid { .. } => StatusCode::BAD_REQUEST,
            PublishError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            PublishError::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            PublishError::KeyInProgress
            | PublishError::ShuttingDown
            | PublishError::OverCapacity
            | PublishError::BusDown { .. }
            | PublishError::NodesAway { .. }
            | PublishError::NotStored
            | PublishError::BusLost => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}
