//! Documents that several people write at once. Their updates go through the application, which stores and
//! broadcasts them; where their cursors are they whisper to each other.

mod content;
mod store;
#[cfg(test)]
mod tests;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use clarim::authorization::{Channels, Member};
use clarim::types::Types;
use clarim::{Broadcast, SocketId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use ts_rs::TS;

use crate::App;
use crate::refusal::{Answer, Refusal};
use crate::session::User;
use content::{Content, MAX_UPDATE, compute};
use store::Document;

/// The longest title, in characters.
const MAX_TITLE: usize = 80;
/// The longest update in an event, as base64. Servers of this protocol take events of 10,000 bytes and
/// more; this one 100,000.
const MAX_IN_EVENT: usize = 8_000;

/// Heard by those who have the document open.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(presence = "document.{document}", now)]
struct DocumentUpdated {
    #[serde(skip)]
    document: i64,
    /// 1 for the first of the document, 2 for the next, and so on.
    seq: i64,
    /// As base64. Nothing: it is too long for an event, ask for it.
    update: Option<String>,
}

/// Heard by everybody who may open it.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "documents")]
struct DocumentCreated {
    document: Document,
}

/// What a page does not have.
#[derive(Serialize, TS)]
struct DocumentState {
    /// As base64, as the next.
    update: String,
    /// How much the application has: a state vector. What is not in it the page sends.
    state: String,
    /// The number of the last update in it.
    seq: i64,
}

/// An update was stored.
#[derive(Serialize, TS)]
struct UpdateStored {
    seq: i64,
}

pub(crate) fn types(types: Types) -> Types {
    let types = types.event::<DocumentUpdated>().event::<DocumentCreated>();
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
        .route("/api/documents/{id}/sync", post(sync))
        .route("/api/documents/{id}/updates", post(update))
}

async fn list(State(app): State<App>, user: User) -> Answer<Json<Vec<Document>>> {
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
) -> Answer<Json<Document>> {
    let title = title.trim();
    if title.is_empty() {
        return Err(Refusal::Invalid("title", "empty"));
    }
    if title.chars().count() > MAX_TITLE {
        return Err(Refusal::Invalid("title", "too_long"));
    }
    let document = store::create(&app.db, title).await?;
    let event = DocumentCreated { document: document.clone() };
    app.clarim.broadcast(event).rescue().await.ok();
    Ok(Json(document))
}

/// Refuses who may not read it; whether there is one is not told either.
async fn check_member(app: &App, document: i64, user: &User) -> Answer<()> {
    match store::is_member(&app.db, document, user.id).await? {
        true => Ok(()),
        false => Err(Refusal::Forbidden),
    }
}

#[derive(Deserialize)]
struct Known {
    /// How much the page has: a state vector, as base64.
    state: String,
}

async fn sync(
    State(app): State<App>,
    user: User,
    Path(document): Path<i64>,
    Json(Known { state }): Json<Known>,
) -> Answer<Json<DocumentState>> {
    check_member(&app, document, &user).await?;
    let (updates, seq) = store::updates(&app.db, document).await?;
    let (update, state) = compute(move || Content::of(&updates)?.difference(&state)).await?;
    Ok(Json(DocumentState { update, state, seq }))
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
) -> Answer<Json<UpdateStored>> {
    check_member(&app, document, &user).await?;
    if update.len() > MAX_UPDATE.div_ceil(3) * 4 {
        return Err(content::Problem::TooLong.into());
    }
    let seq = store::add(&app.db, (document, user.id), content::decode(&update)?).await?;
    let update = (update.len() <= MAX_IN_EVENT).then_some(update);
    let event = DocumentUpdated { document, seq, update };
    // Who does not hear it finds it missing by the next one's number.
    app.clarim.broadcast(event).to_others(socket).rescue().await.ok();
    Ok(Json(UpdateStored { seq }))
}
