//! The history of a channel, as the HTTP API returns it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::position::{Epoch, GapReason, Position};
use crate::websocket::Frame;

/// The order in which events are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HistoryDirection {
    /// From the oldest event to the newest.
    #[default]
    Forward,
    /// From the newest event to the oldest.
    Backward,
}

/// The parameters of `GET /apps/{id}/channels/{channel}/history`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryRequest {
    /// The last event that the reader has: the events after it are read or, backward, those before it.
    /// `None` begins with the oldest event or, backward, with the newest one.
    pub since: Option<Position>,
    /// Maximum number of events, up to [`MAX_LIMIT`](Self::MAX_LIMIT). The server may return fewer.
    /// Default: [`DEFAULT_LIMIT`](Self::DEFAULT_LIMIT).
    pub limit: Option<usize>,
    /// The order of the events.
    pub direction: HistoryDirection,
}

impl HistoryRequest {
    /// Number of events of a page without `limit`.
    pub const DEFAULT_LIMIT: usize = 100;
    /// Maximum number of events of a page.
    pub const MAX_LIMIT: usize = 1_000;

    /// Reads the parameters of a query.
    ///
    /// # Errors
    /// If one of them is invalid.
    pub fn parse<'a>(
        param: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Result<Self, InvalidHistoryRequest> {
        let since = match (param("since"), param("epoch")) {
            (None, None) => None,
            (Some(since), Some(epoch)) => Some(Position {
                epoch: epoch.parse().map_err(|_| InvalidHistoryRequest::Epoch)?,
                offset: since.parse().map_err(|_| InvalidHistoryRequest::Since)?,
            }),
            _ => return Err(InvalidHistoryRequest::Half),
        };
        let direction = match param("direction") {
            None | Some("forward") => HistoryDirection::Forward,
            Some("backward") => HistoryDirection::Backward,
            Some(_) => return Err(InvalidHistoryRequest::Direction),
        };
        let limit = param("limit").map(str::parse).transpose();
        let limit = limit.map_err(|_| InvalidHistoryRequest::Limit)?;
        Self { since, limit, direction }.checked()
    }

    /// Checks the limit.
    ///
    /// # Errors
    /// If it is 0 or too large.
    pub fn checked(self) -> Result<Self, InvalidHistoryRequest> {
        match self.limit {
            None | Some(1..=Self::MAX_LIMIT) => Ok(self),
            Some(_) => Err(InvalidHistoryRequest::Limit),
        }
    }

    /// Returns the parameters of a query.
    #[must_use]
    pub fn params(&self) -> Vec<(&'static str, String)> {
        let mut params = Vec::new();
        if let Some(Position { epoch, offset }) = self.since {
            params.push(("epoch", epoch.to_string()));
            params.push(("since", offset.to_string()));
        }
        params.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        if self.direction == HistoryDirection::Backward {
            params.push(("direction", "backward".to_owned()));
        }
        params
    }
}

/// The error of an invalid [`HistoryRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHistoryRequest {
    /// One of `since` and `epoch` is missing.
    #[error("since and epoch belong together: set both, or neither")]
    Half,
    /// The epoch is not one of the server's.
    #[error("epoch must be the epoch of a position that the server returned")]
    Epoch,
    /// `since` is not a number.
    #[error("since must be an offset: a whole number from 0")]
    Since,
    /// `limit` is out of range.
    #[error("limit must be a whole number from 1 to {}", HistoryRequest::MAX_LIMIT)]
    Limit,
    /// `direction` is unknown.
    #[error("direction must be forward or backward")]
    Direction,
}

impl InvalidHistoryRequest {
    /// Returns a stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Half => "history_since_incomplete",
            Self::Epoch => "history_epoch",
            Self::Since => "history_since",
            Self::Limit => "history_limit",
            Self::Direction => "history_direction",
        }
    }
}

/// A page of the history of a channel: the body of the answer to `GET /apps/{id}/channels/{channel}/history`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct History {
    /// The epoch of the history.
    pub epoch: Epoch,
    /// The offset of the newest event of the channel.
    pub offset: u64,
    /// The events, in the order that was asked for.
    pub events: Vec<HistoryEvent>,
    /// Whether there are more events in this order.
    pub has_more: bool,
    /// Why the events since the position that was asked for can't be read. Then `events` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapReason>,
}

impl History {
    /// Returns the position behind the newest event of the channel.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.offset }
    }
}

/// An event in the history of a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// The event's offset.
    #[serde(default)]
    pub offset: u64,
    /// The event's name.
    pub event: String,
    /// The event's data as it was published: a JSON string literal.
    pub data: Box<RawValue>,
    /// On client events of presence channels: the id of the user who sent it, a string or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Value>,
}

impl HistoryEvent {
    /// Reads an event from its frame. `None` if the frame is not an event.
    #[must_use]
    pub fn of_frame(frame: &Frame) -> Option<Self> {
        serde_json::from_slice(frame.payload()).ok()
    }

    /// Returns the data as text, as subscribers get it. Data that is not a string is returned as JSON.
    #[must_use]
    pub fn text(&self) -> String {
        let json = self.data.get();
        serde_json::from_str(json).unwrap_or_else(|_| json.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::server;

    #[test]
    fn parameters_are_read_as_they_are_written() {
        let since = Some(Position { epoch: "f1".parse().unwrap(), offset: 3 });
        let request =
            HistoryRequest { since, limit: Some(7), direction: HistoryDirection::Backward };
        for request in [request, HistoryRequest::default()] {
            let params = request.params();
            let param = |name: &str| {
                params.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
            };
            assert_eq!(HistoryRequest::parse(param), Ok(request));
        }
    }

    #[test]
    fn the_data_of_an_event_is_not_changed() {
        let raw = RawValue::from_string(r#""{\"a\":\"\u00e1\/\"}""#.to_owned()).unwrap();
        let channel = crate::ChannelName::parse("c", 200).unwrap();
        let frame = server::with_offset(&server::event("E", &channel, &raw), 7);
        let event = HistoryEvent::of_frame(&frame).unwrap();
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"offset":7,"event":"E","data":"{\"a\":\"\u00e1\/\"}"}"#
        );
        assert_eq!(event.text(), r#"{"a":"á/"}"#);
    }
}
