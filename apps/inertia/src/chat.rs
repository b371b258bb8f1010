//! The chats: their page, and what is sent when someone writes.

use std::sync::PoisonError;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Redirect;
use clarim::notification::{Notification, Via};
use clarim::{Broadcast, SocketId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use veer::{Inertia, InertiaResponse};

use crate::App;
use crate::users::{USERS, User};

const CHATS: [Chat; 2] = [Chat { id: 1, name: "Team" }, Chat { id: 2, name: "Lunch" }];

#[derive(Clone, Copy, Serialize)]
pub(crate) struct Chat {
    id: u64,
    name: &'static str,
}

pub(crate) fn find(id: u64) -> Option<Chat> {
    CHATS.into_iter().find(|chat| chat.id == id)
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Message {
    id: usize,
    chat_id: u64,
    user: User,
    content: String,
}

#[derive(Serialize, Broadcast)]
#[broadcast(presence = "chat.{message.chat_id}")]
struct MessageSent {
    message: Message,
}

#[derive(Serialize)]
struct NewMessage {
    chat_id: u64,
    message: String,
}

/// The layout shows it on every page. It is not stored.
impl Notification<User> for NewMessage {
    fn via(&self, _: &User) -> Vec<Via> {
        vec![Via::Broadcast]
    }
}

pub(crate) async fn show(
    State(app): State<App>,
    inertia: Inertia,
    user: User,
    Path(id): Path<u64>,
) -> Result<InertiaResponse, StatusCode> {
    find(id).ok_or(StatusCode::NOT_FOUND)?;
    let mut messages = app.messages.lock().unwrap_or_else(PoisonError::into_inner).clone();
    messages.retain(|message| message.chat_id == id);
    let auth = json!({ "user": user });
    let props = json!({ "chatId": id, "auth": auth, "chats": CHATS, "messages": messages });
    Ok(inertia.render("Chat", props))
}

#[derive(Deserialize)]
pub(crate) struct Draft {
    content: String,
}

pub(crate) async fn send(
    State(app): State<App>,
    user: User,
    socket: Option<SocketId>,
    Path(id): Path<u64>,
    Json(draft): Json<Draft>,
) -> Result<Redirect, StatusCode> {
    let chat = find(id).ok_or(StatusCode::NOT_FOUND)?;
    let message = add(&app, id, user, draft.content);
    // The sender's page gets the message as a prop, all others get the event.
    app.clarim.broadcast(MessageSent { message }).to_others(socket).rescue().await;

    let message = format!("{} wrote in {}", user.name, chat.name);
    let others = USERS.iter().filter(|other| other.id != user.id);
    let notification = NewMessage { chat_id: id, message };
    if let Err(error) = app.clarim.notify_all(others, notification).await {
        tracing::error!(%error, "the message is sent, but the notification failed");
    }
    Ok(Redirect::to(&format!("/chats/{id}")))
}

fn add(app: &App, chat_id: u64, user: User, content: String) -> Message {
    let mut messages = app.messages.lock().unwrap_or_else(PoisonError::into_inner);
    let message = Message { id: messages.len() + 1, chat_id, user, content };
    messages.push(message.clone());
    message
}
