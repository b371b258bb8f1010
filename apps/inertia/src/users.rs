//! Users, and their login.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Redirect;
use clarim::authorization::Member;
use clarim::notification::Notifiable;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tower_sessions::Session;
use tower_sessions::session::Error;
use veer::{Inertia, InertiaResponse};

use crate::App;

pub(crate) const USERS: [User; 2] = [User { id: 1, name: "Ana" }, User { id: 2, name: "Bruno" }];

/// The logged-in user. As an extractor, it sends guests to the login.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) name: &'static str,
}

impl User {
    pub(crate) fn member(self) -> Member {
        Member::new(self.id).info(json!(self))
    }
}

impl Notifiable for User {
    fn notifiable_id(&self) -> String {
        self.id.to_string()
    }
}

impl FromRequestParts<App> for User {
    type Rejection = Redirect;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Redirect> {
        let guest = || Redirect::to("/login");
        let session = Session::from_request_parts(parts, app).await.map_err(|_| guest())?;
        let id: Option<u64> = session.get("user").await.ok().flatten();
        USERS.into_iter().find(|user| Some(user.id) == id).ok_or_else(guest)
    }
}

pub(crate) async fn login(inertia: Inertia) -> InertiaResponse {
    inertia.render("Login", json!({ "users": USERS }))
}

#[derive(Deserialize)]
pub(crate) struct Login {
    user: u64,
}

/// Anyone can be anyone here. A real application would check a password.
pub(crate) async fn log_in(
    session: Session,
    Json(login): Json<Login>,
) -> Result<Redirect, StatusCode> {
    stored(session.cycle_id().await)?;
    stored(session.insert("user", login.user).await)?;
    Ok(Redirect::to("/"))
}

pub(crate) async fn log_out(session: Session) -> Result<Redirect, StatusCode> {
    stored(session.flush().await)?;
    Ok(Redirect::to("/login"))
}

fn stored<T>(result: Result<T, Error>) -> Result<T, StatusCode> {
    result.map_err(|error| {
        tracing::error!(%error, "the session can't be stored");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}
