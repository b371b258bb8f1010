//! Chat: a private channel per conversation, and a presence channel of all users who are online.

mod store;
#[cfg(test)]
mod tests;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use clarim::authorization::{Channels, Member};
use clarim::types::Types;
use clarim::{Broadcast, SocketId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use ts_rs::TS;
use uuid::Uuid;

use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::notifications::Mentioned;
use crate::session::User;
use store::{Conversation, Message};

/// Maximum length of a message, in characters.
const MAX_BODY: usize = 2000;
/// Maximum number of messages in a response.
const PAGE: i64 = 50;

/// A new message, for the members of the conversation.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "chat.{conversation}")]
struct MessageSent {
    #[serde(skip)]
    conversation: i64,
    message: Message,
}

/// The user has read a conversation on another page, whose unread counters change.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "App.Models.User.{user}")]
struct ConversationRead {
    #[serde(skip)]
    user: i64,
    conversation: i64,
    seq: i64,
}

/// Messages of a conversation, oldest first.
#[derive(Serialize, TS)]
struct MessagePage {
    messages: Vec<Message>,
    /// Whether there are more messages in the requested direction.
    has_more: bool,
}

pub(crate) fn types(types: Types) -> Types {
    let types = types.event::<MessageSent>().event::<ConversationRead>();
    types.member::<Conversation>().member::<MessagePage>()
}

pub(crate) fn channels(channels: Channels<User, App>) -> Channels<User, App> {
    channels
        .private("chat.{conversation}", |user: User, id: i64, State(app): State<App>| async move {
            store::is_member(&app.db, id, user.id).await
        })
        .presence("online", |user: User| Some(Member::new(user.id).info(json!(user))))
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/conversations", get(list))
        .route("/api/conversations/{id}/messages", get(messages).post(send))
        .route("/api/conversations/{id}/read", post(read))
}

async fn list(State(app): State<App>, user: User) -> ApiResult<Json<Vec<Conversation>>> {
    Ok(Json(store::conversations(&app.db, user.id).await?))
}

#[derive(Deserialize)]
struct Filter {
    /// Only messages before this number, to page back in the history.
    before: Option<i64>,
    /// Only messages after this number, to catch up after a disconnection.
    after: Option<i64>,
}

async fn messages(
    State(app): State<App>,
    user: User,
    Path(conversation): Path<i64>,
    Query(asked): Query<Filter>,
) -> ApiResult<Json<MessagePage>> {
    store::check_member(&app.db, conversation, user.id).await?;
    // One more than is returned, to know whether there are more.
    let limit = PAGE + 1;
    let mut messages = match asked {
        Filter { after: Some(seq), .. } => store::after(&app.db, conversation, seq, limit).await?,
        Filter { before, .. } => {
            let seq = before.unwrap_or(i64::MAX);
            store::before(&app.db, conversation, seq, limit).await?
        }
    };
    let has_more = messages.len() > PAGE.unsigned_abs() as usize;
    if has_more && asked.after.is_some() {
        messages.pop();
    } else if has_more {
        messages.remove(0);
    }
    Ok(Json(MessagePage { messages, has_more }))
}

#[derive(Deserialize)]
struct Draft {
    id: Uuid,
    body: String,
}

async fn send(
    State(app): State<App>,
    user: User,
    Path(conversation): Path<i64>,
    socket: Option<SocketId>,
    Json(draft): Json<Draft>,
) -> ApiResult<Json<Message>> {
    store::check_member(&app.db, conversation, user.id).await?;
    let body = draft.body.trim();
    if body.is_empty() {
        return Err(ApiError::Invalid("body", "empty"));
    }
    if body.chars().count() > MAX_BODY {
        return Err(ApiError::Invalid("body", "too_long"));
    }
    let (message, is_new) = store::add(&app.db, conversation, user.id, draft.id, body).await?;
    // Broadcast again even if it was stored before, because the process may have crashed in between. Pages
    // recognize messages by their IDs.
    let event = MessageSent { conversation, message: message.clone() };
    app.clarim.broadcast(event).to_others(socket).rescue().await;
    if is_new {
        notify_mentioned(&app, &user, &message).await?;
    }
    Ok(Json(message))
}

/// Notifies the members whose login is in the message after an `@`.
async fn notify_mentioned(app: &App, author: &User, message: &Message) -> ApiResult<()> {
    let text = message.body.to_lowercase();
    let is_mentioned = |user: &User| {
        let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '@');
        user.id != author.id && words.into_iter().any(|word| word == format!("@{}", user.login))
    };
    let members = store::members(&app.db, message.conversation).await?;
    for user in members.into_iter().filter(is_mentioned) {
        let mentioned = Mentioned {
            from: author.name.clone(),
            conversation: message.conversation,
            text: message.body.chars().take(140).collect(),
        };
        // A failed notification does not fail the message.
        if let Err(error) = app.clarim.notify(&user, mentioned).await {
            tracing::error!(%error, "notification of a mention failed");
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Read {
    seq: i64,
}

async fn read(
    State(app): State<App>,
    user: User,
    Path(conversation): Path<i64>,
    socket: Option<SocketId>,
    Json(Read { seq }): Json<Read>,
) -> ApiResult<StatusCode> {
    store::check_member(&app.db, conversation, user.id).await?;
    if store::set_read(&app.db, conversation, user.id, seq).await? {
        let event = ConversationRead { user: user.id, conversation, seq };
        app.clarim.broadcast(event).to_others(socket).rescue().await;
    }
    Ok(StatusCode::NO_CONTENT)
}
