//! Request bodies and parameters.

use serde::Deserialize;
use serde_json::value::RawValue;

/// One event to publish: the body of `POST /apps/{id}/events`, and an item of a batch.
#[derive(Debug, Deserialize)]
pub struct Event<'a> {
    /// The event's name.
    pub name: String,
    /// A JSON string literal, which subscribers get unchanged.
    #[serde(borrow)]
    pub data: &'a RawValue,
    /// The channels. Overrides `channel`.
    #[serde(default)]
    pub channels: Option<Vec<String>>,
    /// The channel of an event for one channel.
    #[serde(default)]
    pub channel: Option<String>,
    /// A connection to skip, usually the cause of the event.
    #[serde(default)]
    pub socket_id: Option<String>,
    /// The channel attributes to return, separated by commas.
    #[serde(default)]
    pub info: Option<String>,
}

/// The body of `POST /apps/{id}/batch_events`.
#[derive(Debug, Deserialize)]
pub struct Batch<'a> {
    /// The events, published in this order.
    #[serde(borrow)]
    pub batch: Vec<Event<'a>>,
}

/// The body of `POST /apps/{id}/users/{user}/events`.
#[derive(Debug, Deserialize)]
pub struct UserEvent<'a> {
    /// The event's name.
    pub name: String,
    /// A JSON string literal, as in [`Event`].
    #[serde(borrow)]
    pub data: &'a RawValue,
}

/// The channel attributes that a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Info {
    /// The number of users on a presence channel.
    pub user_count: bool,
    /// The number of subscriptions to any other channel.
    pub subscription_count: bool,
    /// The last event of a cache channel.
    pub cache: bool,
}

impl Info {
    /// Parses a list like `user_count,subscription_count`. `occupied` is always returned; unknown
    /// attributes are ignored, as by Pusher and Reverb.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let has = |wanted: &str| list.split(',').any(|item| item.trim() == wanted);
        Self {
            user_count: has("user_count"),
            subscription_count: has("subscription_count"),
            cache: has("cache"),
        }
    }
}
