//! HTTP routes for a page's notifications.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::row::Page;
#[cfg(doc)]
use super::row::StoredNotification;
use super::table::Notifications;
use crate::authorization::callback::Answer;
use crate::authorization::rules::{Authenticate, by_closure};
use crate::error::Error;
use crate::notices::notifiable::Notifiable;

/// Maximum number of notifications in an answer, and of ids in a request.
const MAX_LIMIT: u32 = 100;

impl Notifications {
    /// Routes for the notifications of the current user, to be merged into the application's router.
    /// `authenticate` returns the user of a request, as in
    /// [`Channels::routes`](crate::authorization::Channels::routes). A guest gets status 401, and a request
    /// for another user's notification 404.
    ///
    /// | request | answer |
    /// |---|---|
    /// | `GET /notifications` | `{"data": […], "unread": 3}`: [`StoredNotification`]s, newest first |
    /// | … `?unread=true` | unread ones only |
    /// | … `?limit=15` | maximum number, up to 100 |
    /// | … `?before={id}` | those older than this one |
    /// | `POST /notifications/{id}/read` | 204 |
    /// | `POST /notifications/read` with `{"ids": […]}` | 204; at most 100, those of other users are left out |
    /// | `POST /notifications/read-all` | 204 |
    /// | `DELETE /notifications/{id}` | 204 |
    ///
    /// ```
    /// use axum::Router;
    /// use clarim::notification::{Notifiable, Notifications};
    ///
    /// struct User(u64);
    ///
    /// impl Notifiable for User {
    ///     fn notifiable_id(&self) -> String {
    ///         self.0.to_string()
    ///     }
    /// }
    ///
    /// fn app(table: Notifications) -> Router {
    ///     // The request's user, from a session or a token; None is a guest
    ///     let routes = table.routes(|parts| {
    ///         Some(User(parts.headers.get("x-user")?.to_str().ok()?.parse().ok()?))
    ///     });
    ///     Router::new().merge(routes)
    /// }
    /// ```
    pub fn routes<U, S, F, R, M>(self, authenticate: F) -> Router<S>
    where
        U: Notifiable + Send + Sync + 'static,
        S: Clone + Send + Sync + 'static,
        F: Fn(Parts) -> R + Clone + Send + Sync + 'static,
        R: Answer<Option<U>, M> + Send + 'static,
    {
        let api = Arc::new(Api { table: self, authenticate: by_closure(authenticate) });
        let list = api.clone();
        let read = api.clone();
        let several = api.clone();
        let all = api.clone();
        let one = api;
        let list =
            async move |State(state): State<S>, Query(query): Query<ListQuery>, parts: Parts| {
                let user = list.user(parts, state).await?;
                list.list(&user, &query).await
            };
        let read = async move |State(state): State<S>, Path(id): Path<Uuid>, parts: Parts| {
            let user = read.user(parts, state).await?;
            found(read.table.mark_as_read(&user, id).await?)
        };
        let several =
            async move |State(state): State<S>,
                        parts: Parts,
                        Json(ReadRequest { ids }): Json<ReadRequest>| {
                let user = several.user(parts, state).await?;
                if ids.len() > MAX_LIMIT as usize {
                    return Err(Refusal::TooManyIds);
                }
                several.table.mark_several_as_read(&user, &ids).await?;
                Ok::<_, Refusal>(StatusCode::NO_CONTENT)
            };
        let all = async move |State(state): State<S>, parts: Parts| {
            let user = all.user(parts, state).await?;
            all.table.mark_all_as_read(&user).await?;
            Ok::<_, Refusal>(StatusCode::NO_CONTENT)
        };
        let one = async move |State(state): State<S>, Path(id): Path<Uuid>, parts: Parts| {
            let user = one.user(parts, state).await?;
            found(one.table.delete(&user, id).await?)
        };
        Router::new()
            .route("/notifications", get(list))
            .route("/notifications/read", post(several))
            .route("/notifications/read-all", post(all))
            .route("/notifications/{id}", delete(one))
            .route("/notifications/{id}/read", post(read))
    }
}

/// The parameters of a list.
#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    unread: bool,
    before: Option<Uuid>,
    limit: Option<u32>,
}

/// The state of the routes.
struct Api<U, S> {
    table: Notifications,
    authenticate: Authenticate<U, S>,
}

impl<U: Notifiable, S> Api<U, S> {
    async fn user(&self, parts: Parts, state: S) -> Result<U, Refusal> {
        match (self.authenticate)(parts, state).await {
            Ok(Some(user)) => Ok(user),
            Ok(None) => Err(Refusal::Guest),
            Err(error) => Err(Refusal::Failed(error.to_string())),
        }
    }

    async fn list(&self, user: &U, query: &ListQuery) -> Result<Json<Value>, Refusal> {
        let mut page =
            query.limit.map_or_else(Page::default, |limit| Page::of(limit.min(MAX_LIMIT)));
        if let Some(id) = query.before {
            let last = self.table.find(user, id).await?.ok_or(Refusal::NotFound)?;
            page = page.before(&last);
        }
        let data = match query.unread {
            true => self.table.unread(user, page).await?,
            false => self.table.all(user, page).await?,
        };
        Ok(Json(json!({ "data": data, "unread": self.table.count_unread(user).await? })))
    }
}

/// A request to mark several notifications as read.
#[derive(Deserialize)]
struct ReadRequest {
    ids: Vec<Uuid>,
}

fn found(found: bool) -> Result<StatusCode, Refusal> {
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::NotFound) }
}

/// An answer other than 2xx.
enum Refusal {
    Guest,
    NotFound,
    TooManyIds,
    Failed(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Guest => (StatusCode::UNAUTHORIZED, "Unauthenticated.".to_owned()),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not found.".to_owned()),
            Self::TooManyIds => {
                (StatusCode::PAYLOAD_TOO_LARGE, format!("Send at most {MAX_LIMIT} ids."))
            }
            Self::Failed(error) => {
                tracing::error!(error, "cannot answer a request for notifications");
                (StatusCode::INTERNAL_SERVER_ERROR, "Server Error".to_owned())
            }
        };
        (status, Json(json!({ "message": message }))).into_response()
    }
}
