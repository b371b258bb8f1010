//! Request bodies and parameters.

use serde::Deserialize;
use serde_json::value::RawValue;

/// One event to publish: the body of `POST /apps/{id}/events`, and an item of a batch.
#[derive(Debug, Deserialize)]
pub struct Event<'a> {
    /// The event's name.
    pub name: String,
    /// A JSON string literal, which goes to subscribers byte for byte.
    #[serde(borrow)]
    pub data: &'a RawValue,
    /// The channels; wins over `channel`.
    #[serde(default)]
    pub channels: Option<Vec<String>>,
    /// The channel, when it is one.
    #[serde(default)]
    pub channel: Option<String>,
    /// The connection that must not get the event: usually the one that caused it.
    #[serde(default)]
    pub socket_id: Option<String>,
    /// What to tell about the channels in the answer, separated by commas.
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

/// Which facts about a channel a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Info {
    /// Users on a presence channel.
    pub user_count: bool,
    /// Connections on any other channel.
    pub subscription_count: bool,
    /// The last event of a cache channel.
    pub cache: bool,
}

impl Info {
    /// Reads a list like `user_count,subscription_count`. `occupied` is always told; what is unknown is
    /// passed over, as Pusher and Reverb do.
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
