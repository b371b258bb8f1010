//! Conversations: a private channel for each, and one on which everybody sees who is online.

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

use crate::App;
use crate::notifications::Mentioned;
use crate::refusal::{Answer, Refusal};
use crate::session::User;
use store::{Conversation, Message};

/// The longest message, in characters.
const MAX_BODY: usize = 2000;
/// The most messages in one answer.
const PAGE: i64 = 50;

/// Heard by the members of the conversation.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "chat.{conversation}")]
struct MessageSent {
    #[serde(skip)]
    conversation: i64,
    message: Message,
}

/// Heard by the other pages of the same user, whose counters go down.
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
    /// Whether there are more in the direction that was asked for.
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

async fn list(State(app): State<App>, user: User) -> Answer<Json<Vec<Conversation>>> {
    Ok(Json(store::conversations(&app.db, user.id).await?))
}

#[derive(Deserialize)]
struct Asked {
    /// Those before this number: going back in the history.
    before: Option<i64>,
    /// Those after it: what was missed.
    after: Option<i64>,
}

async fn messages(
    State(app): State<App>,
    user: User,
    Path(conversation): Path<i64>,
    Query(asked): Query<Asked>,
) -> Answer<Json<MessagePage>> {
    store::check_member(&app.db, conversation, user.id).await?;
    // One more than is told, to know whether there are more.
    let limit = PAGE + 1;
    let mut messages = match asked {
        Asked { after: Some(seq), .. } => store::after(&app.db, conversation, seq, limit).await?,
        Asked { before, .. } => {
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
) -> Answer<Json<Message>> {
    store::check_member(&app.db, conversation, user.id).await?;
    let body = draft.body.trim();
    if body.is_empty() {
        return Err(Refusal::Invalid("body", "empty"));
    }
    if body.chars().count() > MAX_BODY {
        return Err(Refusal::Invalid("body", "too_long"));
    }
    let (message, is_new) = store::add(&app.db, (conversation, user.id), draft.id, body).await?;
    // Said again if it was stored before: maybe this process ended between the two. Pages know messages by
    // their ids.
    let event = MessageSent { conversation, message: message.clone() };
    app.clarim.broadcast(event).to_others(socket).rescue().await.ok();
    if is_new {
        notify_mentioned(&app, &user, &message).await?;
    }
    Ok(Json(message))
}

/// Members whose login is in the message behind an `@`.
async fn notify_mentioned(app: &App, author: &User, message: &Message) -> Answer<()> {
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
        // The message is sent, whatever becomes of this.
        if let Err(error) = app.clarim.notify(&user, mentioned).await {
            tracing::error!(%error, "a mention was not told");
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
) -> Answer<StatusCode> {
    store::check_member(&app.db, conversation, user.id).await?;
    if store::set_read(&app.db, conversation, user.id, seq).await? {
        let event = ConversationRead { user: user.id, conversation, seq };
        app.clarim.broadcast(event).to_others(socket).rescue().await.ok();
    }
    Ok(StatusCode::NO_CONTENT)
}
