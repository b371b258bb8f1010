use clarim::notification::{Notification, StoredNotification};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::AnyPool;
use ts_rs::TS;

use crate::session::User;

/// Maximum length of a text, in characters.
const MAX_TEXT: usize = 140;

/// A message of a conversation mentions the user with `@login`.
#[derive(Debug, Serialize, TS)]
pub(crate) struct Mentioned {
    from: String,
    conversation: i64,
    /// The message's id. Notifications of former versions have none, and their text is stored.
    message: String,
    /// The beginning of the message. Empty if the message was deleted.
    text: String,
}

impl Mentioned {
    pub(crate) fn new(from: &str, conversation: i64, message: String, body: &str) -> Self {
        Self { from: from.to_owned(), conversation, message, text: excerpt(body) }
    }
}

impl Notification<User> for Mentioned {
    /// Without the text, because the message may be edited or deleted.
    fn to_array(&self, _: &User) -> serde_json::Result<Value> {
        Ok(json!({ "from": self.from, "conversation": self.conversation, "message": self.message }))
    }

    fn to_broadcast(&self, _: &User) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }
}

/// Adds the texts to stored mentions.
pub(super) async fn set_texts(db: &AnyPool, all: &mut [StoredNotification]) -> sqlx::Result<()> {
    for one in all {
        let Some(id) = one.data["message"].as_str() else { continue };
        let body = sqlx::query_scalar("SELECT body FROM messages WHERE id = $1");
        let body: Option<String> = body.bind(id.to_owned()).fetch_optional(db).await?;
        one.data["text"] = excerpt(&body.unwrap_or_default()).into();
    }
    Ok(())
}

fn excerpt(body: &str) -> String {
    body.chars().take(MAX_TEXT).collect()
}
