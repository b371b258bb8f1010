//! Sessions: the logged-in user, and protection against CSRF.

use anyhow::anyhow;
use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use async_trait::async_trait;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use clarim::notification::Notifiable;
use serde::{Deserialize, Serialize};
use sqlx::{AnyPool, FromRow};
use subtle::ConstantTimeEq as _;
use time::{Duration, OffsetDateTime};
use tower_sessions::cookie::SameSite;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore};
use ts_rs::TS;
use uuid::Uuid;

use crate::app::App;
use crate::database::{USERS, now};
use crate::error::{ApiError, ApiResult};

/// The logged-in user. As an extractor, it rejects guests.
#[derive(Debug, Clone, Serialize, FromRow, TS)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) login: String,
    pub(crate) name: String,
}

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
}

const USER: &str = "user";
const TOKEN: &str = "csrf";

impl FromRequestParts<App> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let session = parts.extensions.get::<Session>().ok_or(ApiError::Unauthenticated)?;
        let id: i64 = session.get(USER).await?.ok_or(ApiError::Unauthenticated)?;
        Self::find(&app.db, id).await?.ok_or(ApiError::Unauthenticated)
    }
}

/// The session cookie, which scripts cannot read and other sites' forms do not send.
pub(crate) fn layer(db: AnyPool, https: bool) -> SessionManagerLayer<Sessions> {
    SessionManagerLayer::new(Sessions { db })
        .with_name("demo_session")
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_secure(https)
        .with_expiry(Expiry::OnInactivity(Duration::days(7)))
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/session", get(show))
        .route("/api/login", post(log_in))
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

async fn show(State(app): State<App>, session: Session) -> ApiResult<Json<SessionInfo>> {
    let csrf = match session.get(TOKEN).await? {
        Some(token) => token,
        None => new_token(&session).await?,
    };
    let user = match session.get(USER).await? {
        Some(id) => User::find(&app.db, id).await?,
        None => None,
    };
    let server = app.settings.realtime.as_ref().map(|server| ServerAddress {
        host: server.host.clone(),
        port: server.port,
        scheme: if server.https { "https" } else { "http" },
    });
    let key = app.clarim.settings().app_key.as_ref();
    Ok(Json(SessionInfo {
        csrf,
        user,
        key: key.map(|key| key.key().to_owned()).unwrap_or_default(),
        server,
        people: USERS
            .map(|(id, login, name)| User { id, login: login.to_owned(), name: name.to_owned() })
            .to_vec(),
    }))
}

async fn new_token(session: &Session) -> ApiResult<String> {
    let token = Uuid::new_v4().simple().to_string();
    session.insert(TOKEN, &token).await?;
    Ok(token)
}

#[derive(Deserialize)]
struct Login {
    login: String,
    password: String,
}

async fn log_in(
    State(app): State<App>,
    session: Session,
    Json(given): Json<Login>,
) -> ApiResult<Json<SessionInfo>> {
    let found: Option<(i64, String)> =
        sqlx::query_as("SELECT id, password FROM users WHERE login = $1")
            .bind(given.login.trim().to_lowercase())
            .fetch_optional(&app.db)
            .await?;
    let (id, hash) = found.ok_or(ApiError::WrongLogin)?;
    // Slow on purpose, so it must not block the threads of other requests.
    let is_right = tokio::task::spawn_blocking(move || {
        let hash = PasswordHash::new(&hash)
            .map_err(|error| anyhow!("invalid password hash in the database: {error}"))?;
        anyhow::Ok(Argon2::default().verify_password(given.password.as_bytes(), &hash).is_ok())
    });
    if !is_right.await?? {
        return Err(ApiError::WrongLogin);
    }
    // A new session ID protects against session fixation.
    session.cycle_id().await?;
    session.insert(USER, id).await?;
    new_token(&session).await?;
    show(State(app), session).await
}

async fn log_out(State(app): State<App>, session: Session) -> ApiResult<Json<SessionInfo>> {
    session.flush().await?;
    show(State(app), session).await
}

/// Middleware that rejects requests other than GET without the session's CSRF token.
pub(crate) async fn protect(session: Session, request: Request, next: Next) -> ApiResult<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        let token: Option<String> = session.get(TOKEN).await?;
        let given = request.headers().get("x-csrf-token").map(|value| value.as_bytes());
        let is_valid = token
            .zip(given)
            .is_some_and(|(token, given)| bool::from(token.as_bytes().ct_eq(given)));
        if !is_valid {
            return Err(ApiError::InvalidCsrfToken);
        }
    }
    Ok(next.run(request).await)
}

/// A session store in the application's database. The published stores need another version of sqlx.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    db: AnyPool,
}

impl Sessions {
    /// Deletes expired sessions.
    pub(crate) async fn prune(db: &AnyPool) -> sqlx::Result<()> {
        let query = sqlx::query("DELETE FROM sessions WHERE expires_at < $1").bind(now());
        query.execute(db).await.map(drop)
    }
}

fn milliseconds(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        // IDs are 128 random bits, so a duplicate is an error.
        sqlx::query("INSERT INTO sessions (id, data, expires_at) VALUES ($1, $2, $3)")
            .bind(record.id.to_string())
            .bind(serde_json::to_string(record).map_err(broken)?)
            .bind(milliseconds(record.expiry_date))
            .execute(&self.db)
            .await
            .map(drop)
            .map_err(broken)
    }

    async fn save(&self, record: &Record) -> Result<()> {
        sqlx::query(
            "INSERT INTO sessions (id, data, expires_at) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at",
        )
        .bind(record.id.to_string())
        .bind(serde_json::to_string(record).map_err(broken)?)
        .bind(milliseconds(record.expiry_date))
        .execute(&self.db)
        .await
        .map(drop)
        .map_err(broken)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let data: Option<String> =
            sqlx::query_scalar("SELECT data FROM sessions WHERE id = $1 AND expires_at > $2")
                .bind(id.to_string())
                .bind(now())
                .fetch_optional(&self.db)
                .await
                .map_err(broken)?;
        data.map(|data| serde_json::from_str(&data).map_err(broken)).transpose()
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let query = sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id.to_string());
        query.execute(&self.db).await.map(drop).map_err(broken)
    }
}
