//! The login.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use tower_sessions::Session;

use super::store::Sessions;
use super::{USER, csrf, show};
use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::limits::Key;

/// Maximum length of a login and of a password, in bytes.
const MAX_LENGTH: usize = 256;

/// The address that the request came from: the browser's, or that of a proxy.
pub(super) struct Address(Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(peer.map(|ConnectInfo(peer)| peer.ip())))
    }
}

#[derive(Deserialize)]
pub(super) struct Login {
    login: String,
    password: String,
}

pub(super) async fn log_in(
    State(app): State<App>,
    session: Session,
    Address(address): Address,
    headers: HeaderMap,
    Json(given): Json<Login>,
) -> ApiResult<Response> {
    let login = given.login.trim().to_lowercase();
    if login.len() > MAX_LENGTH || given.password.len() > MAX_LENGTH {
        return Err(ApiError::WrongLogin);
    }
    let key = Key { login: login.clone(), address };
    app.limits.admit(key.clone(), Instant::now())?;
    let found: Option<(i64, String)> =
        sqlx::query_as("SELECT id, password FROM users WHERE login = $1")
            .bind(login)
            .fetch_optional(&app.db)
            .await?;
    let (id, hash) = found.ok_or(ApiError::WrongLogin)?;
    if !app.limits.verify(given.password, hash).await? {
        return Err(ApiError::WrongLogin);
    }
    app.limits.succeeded(&key);
    Sessions::prune_user(&app.db, id).await?;
    // A new session ID protects against session fixation.
    session.cycle_id().await?;
    session.insert(USER, id).await?;
    session.insert(csrf::TOKEN, csrf::new_token()).await?;
    show(State(app), session, headers).await
}
