//! Members of presence channels, and users.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// A member of a presence channel, as other members see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    #[serde(rename = "user_id")]
    id: String,
    #[serde(rename = "user_info", skip_serializing_if = "Value::is_null")]
    info: Value,
}

impl Member {
    /// The user with this id. All connections with one id are one member.
    pub fn new(id: impl fmt::Display) -> Self {
        Self { id: id.to_string(), info: Value::Null }
    }

    /// Sets the information for other members, which Echo passes to `here`, `joining` and `leaving`.
    #[must_use]
    pub fn info(self, info: impl Into<Value>) -> Self {
        Self { info: info.into(), ..self }
    }
}

/// A user who signs in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UserData {
    id: String,
    #[serde(rename = "user_info", skip_serializing_if = "Value::is_null")]
    info: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    watchlist: Vec<String>,
}

impl UserData {
    /// The user with this id, who gets the events of [`Channel::user`](crate::Channel::user).
    pub fn new(id: impl fmt::Display) -> Self {
        Self { id: id.to_string(), info: Value::Null, watchlist: Vec::new() }
    }

    /// Sets the information for other members of presence channels that the user joins without a member of
    /// its own.
    #[must_use]
    pub fn info(self, info: impl Into<Value>) -> Self {
        Self { info: info.into(), ..self }
    }

    /// Sets the users whose online status the page receives.
    #[must_use]
    pub fn watchlist(self, ids: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        Self { watchlist: ids.into_iter().map(|id| id.to_string()).collect(), ..self }
    }
}
