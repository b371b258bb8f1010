//! The endpoints that read what is kept of a channel: `GET /apps/{id}/channels/{channel}/history` and
//! `…/position`.

use std::time::Duration;

use clarim_hub::{AppIndex, ChannelKey, HistoryPage, HistoryQuery, Node};
use clarim_protocol::rest::{History, HistoryEvent, HistoryRequest, InvalidHistoryRequest};
use clarim_protocol::{ChannelName, InvalidChannelName, Position};
use hyper::StatusCode;
use tokio::time::{Instant, sleep};

use super::Directory;
use crate::http::response::{ApiError, ApiResponse, json};
use crate::http::signed::ApiRequest;
use crate::runtime::Sink;

/// Time for this node to open a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two looks whether a channel is open.
const OPEN_PAUSE: Duration = Duration::from_millis(10);

/// Maximum size of the events of a page, in bytes.
const PAGE_BYTES: usize = 1 << 20;

/// A history that was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The server has no app with this id.
    #[error("No matching application for ID [{app_id}].")]
    UnknownApp {
        /// The id, at most 64 characters of it.
        app_id: String,
    },
    /// The channel's name is invalid.
    #[error("{0}.")]
    Channel(#[from] InvalidChannelName),
    /// A parameter is invalid.
    #[error("{0}.")]
    Request(#[from] InvalidHistoryRequest),
    /// No history rule of the app matches the channel.
    #[error("The channel {channel} has no history: no history rule of the app matches its name.")]
    NoHistory {
        /// The channel.
        channel: String,
    },
    /// The history can't be read at the moment.
    #[error("The history of the channel can't be read on this node at the moment. Try again.")]
    Unavailable,
}

impl HistoryError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownApp { .. } => "unknown_app",
            Self::Channel(error) => error.code(),
            Self::Request(error) => error.code(),
            Self::NoHistory { .. } => "no_history",
            Self::Unavailable => "history_unavailable",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        *self == Self::Unavailable
    }
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        let status = match &error {
            HistoryError::UnknownApp { .. } | HistoryError::NoHistory { .. } => {
                StatusCode::NOT_FOUND
            }
            HistoryError::Channel(_) | HistoryError::Request(_) => StatusCode::BAD_REQUEST,
            HistoryError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

/// Reads a page of the history of a channel.
pub(crate) fn read(
    directory: Directory<'_>,
    app: AppIndex,
    channel: &str,
    request: HistoryRequest,
) -> Result<History, HistoryError> {
    let Directory { node, now, .. } = directory;
    let key = key_with_history(app, channel, node)?;
    let HistoryRequest { since, limit, direction } = request.checked()?;
    let limit = limit.unwrap_or(HistoryRequest::DEFAULT_LIMIT);
    let query = HistoryQuery { since, direction, limit, bytes: PAGE_BYTES };
    let page = node.history(&key, &query, now).ok_or(HistoryError::Unavailable)?;
    let HistoryPage { position: Position { epoch, offset }, events, has_more, gap } = page;
    let events = events.iter().filter_map(|event| HistoryEvent::of_frame(&event.frame));
    Ok(History { epoch, offset, events: events.collect(), has_more, gap })
}

/// Returns the position behind the last event of a channel.
pub(crate) fn read_position(
    directory: Directory<'_>,
    app: AppIndex,
    channel: &str,
) -> Result<Position, HistoryError> {
    let key = key_with_history(app, channel, directory.node)?;
    directory.node.position(&key, directory.now).ok_or(HistoryError::Unavailable)
}

fn key_with_history(
    app: AppIndex,
    channel: &str,
    node: &Node<Sink>,
) -> Result<ChannelKey, HistoryError> {
    let settings = node.apps().get(app);
    let name = ChannelName::parse(channel, settings.limits.channel_name_bytes)?;
    if settings.history_of(&name).is_none() {
        return Err(HistoryError::NoHistory { channel: channel.to_owned() });
    }
    Ok(ChannelKey { app, name })
}

/// Reads as soon as this node can: in a cluster, it may have to open the channel.
pub(crate) async fn when_open<T>(
    read: impl Fn() -> Result<T, HistoryError>,
) -> Result<T, HistoryError> {
    let until = Instant::now() + OPEN_TIMEOUT;
    loop {
        match read() {
            Err(error) if error.is_temporary() && Instant::now() < until => {
                sleep(OPEN_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Answers a page of the history of a channel.
pub(crate) async fn history(
    request: &ApiRequest,
    channel: &str,
    directory: Directory<'_>,
) -> Result<ApiResponse, ApiError> {
    let page = HistoryRequest::parse(|name| request.param(name)).map_err(HistoryError::from)?;
    let read = || read(directory, request.app, channel, page);
    to_json(&when_open(read).await?)
}

/// Answers the position behind the last event of a channel.
pub(crate) async fn position(
    request: &ApiRequest,
    channel: &str,
    directory: Directory<'_>,
) -> Result<ApiResponse, ApiError> {
    let read = || read_position(directory, request.app, channel);
    to_json(&when_open(read).await?)
}

fn to_json(value: &impl serde::Serialize) -> Result<ApiResponse, ApiError> {
    let text = serde_json::to_vec(value);
    Ok(json(text.map_err(|_| ApiError::busy("The history can't be written as JSON."))?))
}
