//! Messages of the server.

use serde::Deserialize;
use serde_json::Value;

use crate::topic::Member;

/// A message of the server.
#[derive(Debug, Deserialize)]
pub(crate) struct Wire {
    pub(crate) event: String,
    #[serde(default)]
    pub(crate) channel: Option<String>,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    pub(crate) user_id: Option<Value>,
}

/// The data of `pusher:connection_established`.
#[derive(Debug, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) socket_id: String,
    #[serde(default)]
    pub(crate) activity_timeout: Option<u64>,
}

/// The data of `pusher:error`.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    pub(crate) code: Option<u16>,
    #[serde(default)]
    pub(crate) message: String,
}

/// The data of `pusher:subscription_error`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SubscriptionError {
    pub(crate) error: String,
    pub(crate) status: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Succeeded {
    presence: Present,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Present {
    ids: Vec<Value>,
    hash: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Joined {
    user_id: Value,
    #[serde(default)]
    user_info: Value,
}

impl Wire {
    pub(crate) fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The data as JSON text. Events contain it as a string; client events may contain a value, too.
    pub(crate) fn data(&self) -> String {
        match &self.data {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        }
    }

    pub(crate) fn read<T: for<'a> Deserialize<'a>>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.data())
    }

    /// The members in `subscription_succeeded`.
    pub(crate) fn members(&self) -> Vec<Member> {
        let Present { ids, mut hash } = self.read::<Succeeded>().unwrap_or_default().presence;
        let member = |id: &Value| {
            let id = text(id);
            let info = hash.remove(&id).unwrap_or_default();
            Member { id, info }
        };
        ids.iter().map(member).collect()
    }

    /// The member in `member_added` or `member_removed`.
    pub(crate) fn member(&self) -> Option<Member> {
        let Joined { user_id, user_info } = self.read().ok()?;
        Some(Member { id: text(&user_id), info: user_info })
    }
}

/// An id as text. Some servers send numbers.
pub(crate) fn text(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}
