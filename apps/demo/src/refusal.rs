//! Why a request is not answered with what it asked for.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

pub(crate) type Answer<T> = Result<T, Refusal>;

/// A code, which the page has words for in the user's language.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Nobody is logged in.
    Guest,
    /// Name or password are wrong.
    WrongLogin,
    /// The user may not.
    Forbidden,
    NotFound,
    /// Of this field, what is wrong.
    Invalid(&'static str, &'static str),
    /// The request doesn't have the session's token.
    Forged,
    Broken(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Guest => (StatusCode::UNAUTHORIZED, "guest"),
            Self::WrongLogin => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_login"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Invalid(_, code) => (StatusCode::UNPROCESSABLE_ENTITY, *code),
            // As Laravel answers it
            Self::Forged => (StatusCode::from_u16(419).unwrap_or(StatusCode::FORBIDDEN), "csrf"),
            Self::Broken(error) => {
                tracing::error!("{error:#}");
                (StatusCode::INTERNAL_SERVER_ERROR, "broken")
            }
        };
        let field = if let Self::Invalid(field, _) = self { Some(field) } else { None };
        (status, Json(json!({ "code": code, "field": field }))).into_response()
    }
}
