//! Protection against CSRF. A user's token is in the session. A guest's is in a cookie, which other sites can
//! neither read nor set, so guests need no session.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq as _;
use tower_sessions::Session;
use tower_sessions::cookie::{Cookie, SameSite};
use uuid::Uuid;

use crate::error::{ApiError, ApiResult};

/// The session's key of the token.
pub(super) const TOKEN: &str = "csrf";
const COOKIE: &str = "demo_csrf";

pub(super) fn new_token() -> String {
    Uuid::new_v4().simple().to_string()
}

pub(super) fn cookie(token: &str, https: bool) -> ApiResult<HeaderValue> {
    let cookie = Cookie::build((COOKIE, token)).path("/").http_only(true);
    let cookie = cookie.same_site(SameSite::Lax).secure(https).build();
    Ok(cookie.to_string().parse()?)
}

/// The token in a guest's cookie.
pub(super) fn of_guest(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == COOKIE)
        .map(|cookie| cookie.value().to_owned())
        .filter(|token| Uuid::try_parse(token).is_ok())
}

/// Middleware that rejects requests other than GET without the CSRF token.
pub(crate) async fn protect(session: Session, request: Request, next: Next) -> ApiResult<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        let stored: Option<String> = session.get(TOKEN).await?;
        let token = stored.or_else(|| of_guest(request.headers()));
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
