//! Sessions: the logged-in user, and protection against CSRF.

mod csrf;
mod login;
mod store;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clarim::notification::Notifiable;
use serde::Serialize;
use sqlx::{AnyPool, FromRow};
use time::Duration;
use tower_sessions::cookie::SameSite;
use tower_sessions::{Expiry, Session, SessionManagerLayer};
use ts_rs::TS;

use crate::app::App;
use crate::database::{USERS, now};
use crate::error::{ApiError, ApiResult};

pub(crate) use csrf::protect;
pub(crate) use store::Sessions;

/// The logged-in user. As an extractor, it rejects guests.
#[derive(Debug, Clone, Serialize, FromRow, TS)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) login: String,
    pub(crate) name: String,
}

/// Milliseconds after which a user's next request is recorded.
const ACTIVITY: i64 = 60_000;

impl Notifiable for User {
    fn notifiable_id(&self) -> String {
        self.id.to_string()
    }
}

impl User {
    pub(crate) async fn find(db: &AnyPool, id: i64) -> sqlx::Result<Option<Self>> {
        let query = sqlx::query_as("SELECT id, login, name FROM users WHERE id = $1");
        query.bind(id).fetch_optional(db).await
    }

    /// Records that the user is active, for the dashboard.
    async fn touch(&self, db: &AnyPool) -> sqlx::Result<()> {
        let now = now();
        let query = sqlx::query_scalar("SELECT active_at FROM users WHERE id = $1");
        let recorded: i64 = query.bind(self.id).fetch_one(db).await?;
        if now - recorded < ACTIVITY {
            return Ok(());
        }
        let query = sqlx::query("UPDATE users SET active_at = $1 WHERE id = $2");
        query.bind(now).bind(self.id).execute(db).await.map(drop)
    }
}

const USER: &str = "user";

impl FromRequestParts<App> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let session = parts.extensions.get::<Session>().ok_or(ApiError::Unauthenticated)?;
        let id: i64 = session.get(USER).await?.ok_or(ApiError::Unauthenticated)?;
        let user = Self::find(&app.db, id).await?.ok_or(ApiError::Unauthenticated)?;
        user.touch(&app.db).await?;
        Ok(user)
    }
}

/// The session cookie, which scripts cannot read and other sites' forms do not send.
pub(crate) fn layer(db: AnyPool, https: bool) -> SessionManagerLayer<Sessions> {
    SessionManagerLayer::new(Sessions::new(db))
        .with_name("demo_session")
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_secure(https)
        .with_expiry(Expiry::OnInactivity(Duration::days(7)))
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/session", get(show))
        .route("/api/login", post(login::log_in))
        .route("/api/logout", post(log_out))
}

/// The session's data for a page.
#[derive(Serialize, TS)]
pub(crate) struct SessionInfo {
    /// Token that requests other than GET send as `X-CSRF-TOKEN`.
    csrf: String,
    user: Option<User>,
    /// Key of the app at the Clarim server.
    key: String,
    /// The Clarim server, if its address is not the page's own.
    server: Option<ServerAddress>,
    /// The demo users. A real application would not list them.
    people: Vec<User>,
}

#[derive(Serialize, TS)]
struct ServerAddress {
    host: String,
    port: u16,
    #[ts(type = "'http' | 'https'")]
    scheme: &'static str,
}

/// Guests have no session, so that requests without a cookie store nothing. Their CSRF token is in a cookie.
async fn show(State(app): State<App>, session: Session, headers: HeaderMap) -> ApiResult<Response> {
    let user = match session.get(USER).await? {
        Some(id) => User::find(&app.db, id).await?,
        None => None,
    };
    let stored: Option<String> = session.get(csrf::TOKEN).await?;
    let known = stored.or_else(|| csrf::of_guest(&headers));
    let (csrf, cookie) = match known {
        Some(token) => (token, None),
        None => {
            let token = csrf::new_token();
            let cookie = csrf::cookie(&token, app.settings.url.starts_with("https:"))?;
            (token, Some([(header::SET_COOKIE, cookie)]))
        }
    };
    let server = app.settings.realtime.as_ref().map(|server| ServerAddress {
        host: server.host.clone(),
        port: server.port,
        scheme: if server.https { "https" } else { "http" },
    });
    let key = app.clarim.settings().app_key.as_ref();
    let info = SessionInfo {
        csrf,
        user,
        key: key.map(|key| key.key().to_owned()).unwrap_or_default(),
        server,
        people: USERS
            .map(|(id, login, name)| User { id, login: login.to_owned(), name: name.to_owned() })
            .to_vec(),
    };
    Ok((cookie, Json(info)).into_response())
}

async fn log_out(
    State(app): State<App>,
    session: Session,
    headers: HeaderMap,
) -> ApiResult<Response> {
    session.flush().await?;
    show(State(app), session, headers).await
}
