//! The router: all routes and their middleware.

use anyhow::Result;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::any;
use clarim::authorization::Channels;
use tower_http::compression::CompressionLayer;
use tower_http::services::{ServeDir, ServeFile};
use tower_http::trace::TraceLayer;

use crate::app::App;
use crate::error::ApiError;
use crate::{chat, dashboard, editor, notifications, session};

const MAX_BODY: usize = 512 * 1024;

pub(crate) fn router(app: App) -> Result<Router> {
    // Channel authorization, feature by feature.
    let channels = Channels::new();
    let channels = chat::channels(channels);
    let channels = notifications::channels(channels);
    let channels = dashboard::channels(channels);
    let channels = editor::channels(channels);

    let api = Router::new()
        .merge(session::routes())
        .merge(chat::routes())
        .merge(notifications::routes())
        .merge(dashboard::routes())
        .merge(editor::routes())
        .merge(channels.routes_by_extractor(app.clarim.clone())?)
        .route("/api/{*rest}", any(async || ApiError::NotFound))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(session::protect))
        .layer(session::layer(app.db.clone(), app.settings.url.starts_with("https:")));
    let policy = policy(&app)?;
    Ok(Router::new()
        .merge(api)
        // A missing asset belongs to an old build. It is a 404 and not the fallback page, which browsers
        // would cache for a year.
        .nest_service("/assets", ServeDir::new(app.settings.web_root.join("assets")))
        .fallback_service(pages(&app))
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(policy, headers))
        .layer(TraceLayer::new_for_http())
        // The embedded server's own routes: WebSocket connections, and signed requests of other backends.
        .merge(app.clarim.routes())
        .with_state(app))
}

/// The built pages. Other paths return index.html, whose router handles them.
fn pages(app: &App) -> ServeDir<ServeFile> {
    let root = &app.settings.web_root;
    ServeDir::new(root).fallback(ServeFile::new(root.join("index.html")))
}

fn policy(app: &App) -> Result<HeaderValue> {
    let server = app.settings.realtime.as_ref().map(|server| server.origin()).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         font-src 'self'; connect-src 'self' {server}; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    );
    Ok(HeaderValue::from_str(&policy)?)
}

async fn headers(State(policy): State<HeaderValue>, request: Request, next: Next) -> Response {
    // The names of built files contain a hash of their content.
    let path = request.uri().path();
    let is_built = path.starts_with("/assets/");
    let is_of_a_user = path.starts_with("/api/");
    let mut response = next.run(request).await;
    let cache = match response.status().is_success() {
        true if is_built => "public, max-age=31536000, immutable",
        _ if is_of_a_user => "no-store",
        _ => "no-cache",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::CACHE_CONTROL, cache),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
