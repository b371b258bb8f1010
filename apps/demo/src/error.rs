//! Errors of the HTTP API.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// An error response with a code, which the page translates into a message for the user.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// No user is logged in.
    Unauthenticated,
    /// Wrong name or password.
    WrongLogin,
    /// The user has no permission.
    Forbidden,
    NotFound,
    /// This field is invalid, with a code for the reason.
    Invalid(&'static str, &'static str),
    /// The request has no CSRF token or a wrong one.
    InvalidCsrfToken,
    /// Too many attempts to log in.
    TooManyAttempts,
    /// Too many requests of this kind at this moment.
    Busy,
    /// A later attempt may succeed.
    Unavailable(anyhow::Error),
    Internal(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::Internal(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "guest"),
            Self::WrongLogin => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_login"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Invalid(_, code) => (StatusCode::UNPROCESSABLE_ENTITY, *code),
            // The status that Laravel uses.
            Self::InvalidCsrfToken => {
                (StatusCode::from_u16(419).unwrap_or(StatusCode::FORBIDDEN), "csrf")
            }
            Self::TooManyAttempts => (StatusCode::TOO_MANY_REQUESTS, "too_many_attempts"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Unavailable(error) => {
                tracing::warn!("{error:#}");
                (StatusCode::SERVICE_UNAVAILABLE, "busy")
            }
            Self::Internal(error) => {
                tracing::error!("{error:#}");
                (StatusCode::INTERNAL_SERVER_ERROR, "broken")
            }
        };
        let field = if let Self::Invalid(field, _) = self { Some(field) } else { None };
        (status, Json(json!({ "code": code, "field": field }))).into_response()
    }
}
