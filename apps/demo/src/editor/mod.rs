//! Documents that several users edit at once. The application stores and broadcasts their updates. Cursor
//! positions are client events between the pages.
//!
//! Updates are those of Yjs. The library (yrs) is not made for hostile ones: some make it panic, ask for
//! hundreds of gigabytes, or crash without a panic to catch. So an update passes three gates:
//!
//! - [`wire`] checks its bytes without the library.
//! - [`sandbox`](mod@sandbox) runs the library in a process with limits, for one request. If it crashes, the
//!   update is rejected with 422 and nothing has changed. The database is not locked while it runs.
//! - Before an update is stored, [`content`] loads the document with it as the next request will. What is
//!   stored and broadcast was written by yrs, never by a page.
//!
//! The alternative, to store opaque updates and let pages merge them, was rejected: one hostile editor could
//! then break the document in every browser, and nothing could be compacted.

mod content;
mod sandbox;
mod store;
#[cfg(test)]
mod tests;
mod wire;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use clarim::authorization::{Channels, Member};
use clarim::types::Types;
use clarim::{Broadcast, SocketId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use ts_rs::TS;

use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::session::User;
use content::{page_state, page_update};
use store::Document;

pub(crate) use sandbox::{COMMAND as SANDBOX, main as sandbox};

/// Maximum length of a title, in characters.
const MAX_TITLE: usize = 80;
/// Maximum length of an update in an event, as base64. Pusher servers accept events of 10,000 bytes or more;
/// Clarim accepts 100,000.
const MAX_IN_EVENT: usize = 8_000;

/// An update, for pages with the document open.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(presence = "document.{document}", now)]
struct DocumentUpdated {
    #[serde(skip)]
    document: i64,
    /// Sequence number in the document, from 1.
    seq: i64,
    /// As base64. `null` if it is too long for an event: fetch it with a sync.
    update: Option<String>,
}

/// A new document, for all users.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "documents")]
struct DocumentCreated {
    document: Document,
}

/// A document was renamed or deleted. Pages load the list again: not every user may know its title.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "documents")]
struct DocumentsChanged {}

/// The changes that a page does not have.
#[derive(Serialize, TS)]
struct DocumentState {
    /// The changes, as base64.
    update: String,
    /// The application's state vector, as base64. The page sends its changes since then.
    state: String,
    /// Sequence number of the last update in it.
    seq: i64,
}

/// The response to a stored update.
#[derive(Serialize, TS)]
struct UpdateStored {
    seq: i64,
}

pub(crate) fn types(types: Types) -> Types {
    let types = types.event::<DocumentUpdated>().event::<DocumentCreated>();
    let types = types.event::<DocumentsChanged>();
    types.member::<Document>().member::<DocumentState>().member::<UpdateStored>()
}

pub(crate) fn channels(channels: Channels<User, App>) -> Channels<User, App> {
    channels.private("documents", |_: User| true).presence(
        "document.{document}",
        |user: User, id: i64, State(app): State<App>| async move {
            let is_member = store::is_member(&app.db, id, user.id).await?;
            sqlx::Result::<_>::Ok(is_member.then(|| Member::new(user.id).info(json!(user))))
        },
    )
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/documents", get(list).post(create))
        .route("/api/documents/{id}", put(rename).delete(delete))
        .route("/api/documents/{id}/sync", post(sync))
        .route("/api/documents/{id}/updates", post(update))
}

async fn list(State(app): State<App>, user: User) -> ApiResult<Json<Vec<Document>>> {
    Ok(Json(store::documents(&app.db, user.id).await?))
}

#[derive(Deserialize)]
struct NewDocument {
    title: String,
}

async fn create(
    State(app): State<App>,
    _: User,
    Json(NewDocument { title }): Json<NewDocument>,
) -> ApiResult<Json<Document>> {
    let document = store::create(&app.db, checked(&title)?).await?;
    let event = DocumentCreated { document: document.clone() };
    app.clarim.broadcast(event).rescue().await;
    Ok(Json(document))
}

/// Returns a title without the spaces around it.
fn checked(title: &str) -> ApiResult<&str> {
    let title = title.trim();
    if title.is_empty() {
        return Err(ApiError::Invalid("title", "empty"));
    }
    if title.chars().count() > MAX_TITLE {
        return Err(ApiError::Invalid("title", "too_long"));
    }
    Ok(title)
}

async fn rename(
    State(app): State<App>,
    user: User,
    Path(document): Path<i64>,
    Json(NewDocument { title }): Json<NewDocument>,
) -> ApiResult<StatusCode> {
    check_member(&app, document, &user).await?;
    store::rename(&app.db, document, checked(&title)?).await?;
    app.clarim.broadcast(DocumentsChanged {}).rescue().await;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(
    State(app): State<App>,
    user: User,
    Path(document): Path<i64>,
) -> ApiResult<StatusCode> {
    check_member(&app, document, &user).await?;
    store::delete(&app.db, document).await?;
    app.clarim.broadcast(DocumentsChanged {}).rescue().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Rejects users who are not editors, with the same error as for a document that does not exist.
async fn check_member(app: &App, document: i64, user: &User) -> ApiResult<()> {
    match store::is_member(&app.db, document, user.id).await? {
        true => Ok(()),
        false => Err(ApiError::Forbidden),
    }
}

#[derive(Deserialize)]
struct Known {
    /// The page's state vector, as base64.
    state: String,
}

async fn sync(
    State(app): State<App>,
    user: User,
    Path(document): Path<i64>,
    Json(Known { state }): Json<Known>,
) -> ApiResult<Json<DocumentState>> {
    check_member(&app, document, &user).await?;
    page_state(&state)?;
    let (outcome, seq) = store::compare(&app.db, document, state).await?;
    Ok(Json(DocumentState { update: outcome.update, state: outcome.state, seq }))
}

#[derive(Deserialize)]
struct NewUpdate {
    /// As base64.
    update: String,
}

async fn update(
    State(app): State<App>,
    user: User,
    Path(document): Path<i64>,
    socket: Option<SocketId>,
    Json(NewUpdate { update }): Json<NewUpdate>,
) -> ApiResult<Json<UpdateStored>> {
    check_member(&app, document, &user).await?;
    page_update(&update)?;
    let (update, seq) = store::add(&app.db, document, user.id, update).await?;
    let update = (update.len() <= MAX_IN_EVENT).then_some(update);
    let event = DocumentUpdated { document, seq, update };
    // A page that misses it detects the gap by the next sequence number.
    app.clarim.broadcast(event).to_others(socket).rescue().await;
    Ok(Json(UpdateStored { seq }))
}
