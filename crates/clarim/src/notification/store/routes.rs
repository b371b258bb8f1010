//! The routes at which a page asks for its notifications.

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

#[cfg(doc)]
use super::StoredNotification;
use super::{Notifiable, Notifications, Page};
use crate::Error;
use crate::authorization::{Answer, Authenticate, by_closure};

/// The most that is answered at once.
const MAX_LIMIT: u32 = 100;

impl Notifications {
    /// Routes for the page of the user who asks, to be merged into the application's router. `authenticate`
    /// says who that is, as for [`Channels::routes`](crate::authorization::Channels::routes). A guest gets
    /// 401, and a request with somebody else's id 404.
    ///
    /// | request | answer |
    /// |---|---|
    /// | `GET /notifications` | `{"data": […], "unread": 3}`: [`StoredNotification`]s, newest first |
    /// | … `?unread=true` | only those that are not read |
    /// | … `?limit=15` | so many, at most 100 |
    /// | … `?before={id}` | those older than this one |
    /// | `POST /notifications/{id}/read` | 204 |
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
    ///     // Who makes the request: of your session, or of a token; None is a guest
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
        let desk = Arc::new(Desk { table: self, authenticate: by_closure(authenticate) });
        let (one, list, read, all) = (desk.clone(), desk.clone(), desk.clone(), desk);
        let list = async move |State(state): State<S>, Query(asked): Query<Asked>, parts: Parts| {
            let user = list.user(parts, state).await?;
            list.list(&user, &asked).await
        };
        let read = async move |State(state): State<S>, Path(id): Path<Uuid>, parts: Parts| {
            let user = read.user(parts, state).await?;
            found(read.table.mark_as_read(&user, id).await?)
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
            .route("/notifications/read-all", post(all))
            .route("/notifications/{id}", delete(one))
            .route("/notifications/{id}/read", post(read))
    }
}

/// Which part of the list.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    unread: bool,
    before: Option<Uuid>,
    limit: Option<u32>,
}

/// What answers the requests.
struct Desk<U, S> {
    table: Notifications,
    authenticate: Authenticate<U, S>,
}

impl<U: Notifiable, S> Desk<U, S> {
    async fn user(&self, parts: Parts, state: S) -> Result<U, Refusal> {
        match (self.authenticate)(parts, state).await {
            Ok(Some(user)) => Ok(user),
            Ok(None) => Err(Refusal::Guest),
            Err(error) => Err(Refusal::Broken(error.to_string())),
        }
    }

    async fn list(&self, user: &U, asked: &Asked) -> Result<Json<Value>, Refusal> {
        let mut page =
            asked.limit.map_or_else(Page::default, |limit| Page::of(limit.min(MAX_LIMIT)));
        if let Some(id) = asked.before {
            let last = self.table.find(user, id).await?.ok_or(Refusal::NotFound)?;
            page = page.before(&last);
        }
        let data = match asked.unread {
            true => self.table.unread(user, page).await?,
            false => self.table.all(user, page).await?,
        };
        Ok(Json(json!({ "data": data, "unread": self.table.count_unread(user).await? })))
    }
}

fn found(found: bool) -> Result<StatusCode, Refusal> {
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::NotFound) }
}

/// Why a request is not answered 2xx.
enum Refusal {
    Guest,
    NotFound,
    Broken(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Guest => (StatusCode::UNAUTHORIZED, "Unauthenticated."),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not found."),
            Self::Broken(error) => {
                tracing::error!(error, "notifications could not be asked for");
                (StatusCode::INTERNAL_SERVER_ERROR, "Server Error")
            }
        };
        (status, Json(json!({ "message": message }))).into_response()
    }
}
