//! Changes of stored messages: their authors edit and delete them, and all members react to them.

use axum::extract::{Path, State};
use axum::routing::put;
use axum::{Json, Router};
use clarim::{Broadcast, SocketId};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::store::{self, Change, Message};
use super::{MAX_BODY, checked};
use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::session::User;

/// The emojis that pages offer.
const EMOJIS: [&str; 6] = ["👍", "❤️", "😂", "🎉", "👀", "✅"];

/// A message was edited or deleted, or its reactions have changed. For the members of the conversation.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "chat.{conversation}")]
pub(super) struct MessageChanged {
    #[serde(skip)]
    conversation: i64,
    message: Message,
}

pub(super) fn routes() -> Router<App> {
    let message = "/api/conversations/{id}/messages/{message}";
    Router::new()
        .route(message, put(edit).delete(delete))
        .route(&format!("{message}/reactions"), put(react))
}

/// The message in the path of a request.
#[derive(Deserialize)]
struct Address {
    id: i64,
    message: Uuid,
}

async fn apply(
    app: &App,
    user: &User,
    address: &Address,
    socket: Option<SocketId>,
    change: Change,
) -> ApiResult<Json<Message>> {
    let conversation = address.id;
    store::check_member(&app.db, conversation, user.id).await?;
    let message = store::change(&app.db, conversation, address.message, user.id, change).await?;
    let event = MessageChanged { conversation, message: message.clone() };
    app.clarim.broadcast(event).to_others(socket).rescue().await;
    Ok(Json(message))
}

#[derive(Deserialize)]
struct Edit {
    body: String,
}

async fn edit(
    State(app): State<App>,
    user: User,
    Path(address): Path<Address>,
    socket: Option<SocketId>,
    Json(Edit { body }): Json<Edit>,
) -> ApiResult<Json<Message>> {
    let body = checked("body", &body, MAX_BODY)?.to_owned();
    apply(&app, &user, &address, socket, Change::Body(body)).await
}

async fn delete(
    State(app): State<App>,
    user: User,
    Path(address): Path<Address>,
    socket: Option<SocketId>,
) -> ApiResult<Json<Message>> {
    apply(&app, &user, &address, socket, Change::Body(String::new())).await
}

#[derive(Deserialize)]
struct React {
    emoji: String,
    /// Not a toggle, so that a request may be repeated.
    is_on: bool,
}

async fn react(
    State(app): State<App>,
    user: User,
    Path(address): Path<Address>,
    socket: Option<SocketId>,
    Json(React { emoji, is_on }): Json<React>,
) -> ApiResult<Json<Message>> {
    if !EMOJIS.contains(&emoji.as_str()) {
        return Err(ApiError::Invalid("emoji", "invalid"));
    }
    apply(&app, &user, &address, socket, Change::Reaction { emoji, is_on }).await
}
