//! Chat: a private channel per conversation, and a presence channel of all users who are online.

mod changes;
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
use changes::MessageChanged;
use store::{Conversation, Message};

/// Maximum length of a message, in characters.
const MAX_BODY: usize = 2000;
/// Maximum length of a conversation's title, in characters.
const MAX_TITLE: usize = 80;
/// Maximum number of a conversation's members.
const MAX_MEMBERS: usize = 50;
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

/// A member has read a conversation: the others see it, and the member's other pages count less as unread.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "chat.{conversation}")]
struct ConversationRead {
    #[serde(skip)]
    conversation: i64,
    user: i64,
    seq: i64,
}

/// A new conversation of this user.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "App.Models.User.{user}")]
struct ConversationCreated {
    #[serde(skip)]
    user: i64,
    conversation: i64,
}

/// Messages of a conversation, oldest first.
#[derive(Serialize, TS)]
struct MessagePage {
    messages: Vec<Message>,
    /// Whether there are more messages in the requested direction.
    has_more: bool,
}

pub(crate) fn types(types: Types) -> Types {
    let types = types.event::<MessageSent>().event::<MessageChanged>().event::<ConversationRead>();
    types.event::<ConversationCreated>().member::<Conversation>().member::<MessagePage>()
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
        .route("/api/conversations", get(list).post(create))
        .route("/api/conversations/{id}/messages", get(messages).post(send))
        .route("/api/conversations/{id}/read", post(read))
        .merge(changes::routes())
}

async fn list(State(app): State<App>, user: User) -> ApiResult<Json<Vec<Conversation>>> {
    Ok(Json(store::conversations(&app.db, user.id).await?))
}

#[derive(Deserialize)]
struct NewConversation {
    /// Made by the page. A repeated request returns the same conversation.
    key: Uuid,
    title: String,
    /// Beside the user who creates it.
    members: Vec<i64>,
}

async fn create(
    State(app): State<App>,
    user: User,
    socket: Option<SocketId>,
    Json(NewConversation { key, title, mut members }): Json<NewConversation>,
) -> ApiResult<Json<i64>> {
    let title = checked("title", &title, MAX_TITLE)?;
    members.push(user.id);
    members.sort_unstable();
    members.dedup();
    if members.len() < 2 {
        return Err(ApiError::Invalid("members", "empty"));
    }
    if members.len() > MAX_MEMBERS {
        return Err(ApiError::Invalid("members", "too_long"));
    }
    for id in &members {
        User::find(&app.db, *id).await?.ok_or(ApiError::Invalid("members", "not_found"))?;
    }
    let conversation = store::create(&app.db, key, title, &members).await?;
    store::check_member(&app.db, conversation, user.id).await?;
    for user in members {
        let event = ConversationCreated { user, conversation };
        app.clarim.broadcast(event).to_others(socket).rescue().await;
    }
    Ok(Json(conversation))
}

/// The text without surrounding whitespace, if it is neither empty nor too long.
fn checked<'a>(field: &'static str, text: &'a str, max: usize) -> ApiResult<&'a str> {
    match text.trim() {
        "" => Err(ApiError::Invalid(field, "empty")),
        text if text.chars().count() > max => Err(ApiError::Invalid(field, "too_long")),
        text => Ok(text),
    }
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
    let body = checked("body", &draft.body, MAX_BODY)?;
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
    let members = members.into_iter().map(|member| member.user);
    for user in members.filter(is_mentioned) {
        let conversation = message.conversation;
        let mentioned =
            Mentioned::new(&author.name, conversation, message.id.clone(), &message.body);
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
        let event = ConversationRead { conversation, user: user.id, seq };
        app.clarim.broadcast(event).to_others(socket).rescue().await;
    }
    Ok(StatusCode::NO_CONTENT)
}
