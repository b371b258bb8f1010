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
    /// A key that identifies the event: the server publishes it once, however often it is sent.
    #[serde(default)]
    pub idempotency_key: Option<String>,
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "a set of named flags")]
pub struct Info {
    /// The number of users on a presence channel.
    pub user_count: bool,
    /// The number of subscriptions to the channel.
    pub subscription_count: bool,
    /// The last event of a cache channel.
    pub cache: bool,
    /// In answers to published events: the event's position in the history of the channel, if it has one.
    pub position: bool,
}

impl Info {
    /// Parses a list like `user_count,subscription_count`. `occupied` is always returned.
    ///
    /// # Errors
    /// If an attribute is unknown.
    pub fn parse(list: &str) -> Result<Self, UnknownAttribute> {
        let mut info = Self::default();
        for attribute in list.split(',').map(str::trim) {
            match attribute {
                "user_count" => info.user_count = true,
                "subscription_count" => info.subscription_count = true,
                "cache" => info.cache = true,
                "position" => info.position = true,
                "occupied" | "" => {}
                unknown => return Err(UnknownAttribute(unknown.chars().take(64).collect())),
            }
        }
        Ok(info)
    }

    /// Whether nothing else than the number of users is asked for. Only presence channels have users.
    #[must_use]
    pub fn is_only_user_count(self) -> bool {
        self == Self { user_count: true, ..Self::default() }
    }
}

/// The error of an unknown channel attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "info has the unknown attribute {0:?}; known are user_count, subscription_count, cache, position and occupied"
)]
pub struct UnknownAttribute(String);

impl UnknownAttribute {
    /// Returns a stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "info_attribute_unknown"
    }
}
