//! Notifications of one user: stored, and broadcast to every page of that user.

mod first;
mod mentioned;
#[cfg(test)]
mod tests;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use clarim::authorization::Channels;
use clarim::notification::{Notification, Page, StoredNotification};
use clarim::types::Types;
use clarim::{Broadcast, SocketId};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::session::User;

pub(crate) use first::notify_all;
pub(crate) use mentioned::Mentioned;

const PAGE: u32 = 100;
/// Maximum length of a greeting, in characters.
const MAX_TEXT: usize = 200;

/// A greeting from another user.
#[derive(Debug, Serialize, TS)]
pub(crate) struct Greeting {
    from: String,
    text: String,
}

impl Notification<User> for Greeting {}

/// The user has read notifications on another page.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "App.Models.User.{user}")]
struct NotificationsRead {
    #[serde(skip)]
    user: i64,
    /// `null`: all notifications.
    ids: Option<Vec<Uuid>>,
}

pub(crate) fn types(types: Types) -> Types {
    types
        .event::<NotificationsRead>()
        .notification::<Mentioned>("App\\Notifications\\Mentioned")
        .notification::<Greeting>("App\\Notifications\\Greeting")
}

pub(crate) fn channels(channels: Channels<User, App>) -> Channels<User, App> {
    channels.private("App.Models.User.{id}", |user: User, id: i64| user.id == id)
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/users", get(users))
        .route("/api/notifications", get(list).post(greet))
        .route("/api/notifications/read", post(read))
}

async fn users(State(app): State<App>, _: User) -> ApiResult<Json<Vec<User>>> {
    let all = sqlx::query_as("SELECT id, login, name FROM users ORDER BY name");
    Ok(Json(all.fetch_all(&app.db).await?))
}

#[derive(Deserialize)]
struct Filter {
    /// Only notifications older than this one.
    before: Option<Uuid>,
}

async fn list(
    State(app): State<App>,
    user: User,
    Query(asked): Query<Filter>,
) -> ApiResult<Json<Vec<StoredNotification>>> {
    let mut page = Page::of(PAGE);
    if let Some(id) = asked.before {
        let last = app.notifications.find(&user, id).await?.ok_or(ApiError::NotFound)?;
        page = page.before(&last);
    }
    let mut all = app.notifications.all(&user, page).await?;
    mentioned::set_texts(&app.db, &mut all).await?;
    Ok(Json(all))
}

#[derive(Deserialize)]
struct NewGreeting {
    to: i64,
    text: String,
}

async fn greet(
    State(app): State<App>,
    user: User,
    Json(NewGreeting { to, text }): Json<NewGreeting>,
) -> ApiResult<StatusCode> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ApiError::Invalid("text", "empty"));
    }
    if text.chars().count() > MAX_TEXT {
        return Err(ApiError::Invalid("text", "too_long"));
    }
    let to = User::find(&app.db, to).await?.ok_or(ApiError::Invalid("to", "not_found"))?;
    app.clarim.notify(&to, Greeting { from: user.name, text: text.to_owned() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Read {
    /// `null`: all notifications.
    ids: Option<Vec<Uuid>>,
}

async fn read(
    State(app): State<App>,
    user: User,
    socket: Option<SocketId>,
    Json(Read { ids }): Json<Read>,
) -> ApiResult<StatusCode> {
    match &ids {
        Some(ids) if ids.len() > PAGE as usize => return Err(ApiError::Invalid("ids", "too_long")),
        Some(ids) => {
            for id in ids {
                app.notifications.mark_as_read(&user, *id).await?;
            }
        }
        None => {
            app.notifications.mark_all_as_read(&user).await?;
        }
    }
    let event = NotificationsRead { user: user.id, ids };
    app.clarim.broadcast(event).to_others(socket).rescue().await;
    Ok(StatusCode::NO_CONTENT)
}
