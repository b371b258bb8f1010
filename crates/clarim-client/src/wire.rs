//! Messages of the server, and subscriptions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::authorizer::Authorization;
use crate::topic::{Gap, GapReason, Member, Since, Start};

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
    #[serde(default)]
    offset: Value,
}

/// The data of `pusher:subscribe`.
#[derive(Debug, Serialize)]
pub(crate) struct Subscription<'a> {
    pub(crate) channel: &'a str,
    #[serde(flatten)]
    pub(crate) authorization: Option<Signature>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Since>,
}

/// The part of an authorization that is for the server.
#[derive(Debug, Serialize)]
pub(crate) struct Signature {
    auth: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_data: Option<String>,
}

impl From<Authorization> for Signature {
    fn from(Authorization { auth, channel_data, .. }: Authorization) -> Self {
        Self { auth, channel_data }
    }
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

    /// The offset of an event on a channel with history.
    pub(crate) fn offset(&self) -> Option<u64> {
        self.offset.as_u64()
    }

    /// The start in `subscription_succeeded` of a channel with history.
    pub(crate) fn start(&self) -> Option<Start> {
        self.read().ok()
    }

    /// The gap in `clarim:gap`. If it can't be read, events are missing nevertheless.
    pub(crate) fn gap(&self) -> Gap {
        self.read().unwrap_or(Gap { reason: GapReason::Unknown, position: None })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::topic::Position;

    fn gap(data: &Value) -> Gap {
        let text = json!({ "event": "clarim:gap", "channel": "news", "data": data.to_string() });
        Wire::parse(&text.to_string()).unwrap().gap()
    }

    #[test]
    fn every_gap_is_read() {
        for (reason, expected) in [
            ("expired", GapReason::Expired),
            ("too_many", GapReason::TooMany),
            ("epoch", GapReason::Epoch),
            ("bus", GapReason::Bus),
            ("unknown", GapReason::Unknown),
            ("of a later version", GapReason::Unknown),
        ] {
            let read = gap(&json!({ "reason": reason, "epoch": "a", "offset": 7 }));
            assert_eq!(read.reason, expected);
            assert_eq!(read.position, Some(Position::new("a", 7)));
            if expected.to_string() != "unknown" {
                assert_eq!(expected.to_string(), reason);
            }
        }
        assert_eq!(gap(&json!({ "reason": "bus" })).position, None);
        assert_eq!(gap(&json!([])).reason, GapReason::Unknown);
    }

    #[test]
    fn fields_of_other_servers_do_no_harm() {
        let text = json!({ "event": "e", "channel": "news", "data": "{}", "offset": "7" });
        assert_eq!(Wire::parse(&text.to_string()).unwrap().offset(), None);
        let data = json!({ "epoch": 7, "presence": { "ids": ["1"], "hash": {} } }).to_string();
        let text = json!({ "event": "e", "channel": "presence-x", "data": data }).to_string();
        let wire = Wire::parse(&text).unwrap();
        assert_eq!(wire.start(), None);
        assert_eq!(wire.members().len(), 1);
    }
}
