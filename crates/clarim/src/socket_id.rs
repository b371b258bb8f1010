//! The socket id of a request's page.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;

/// The header in which Echo sends the id.
const HEADER: &str = "x-socket-id";

/// The id of the page's WebSocket connection, for [`to_others`](crate::PendingBroadcast::to_others). Echo
/// sends it as `X-Socket-ID` with each request of axios, Turbo and jQuery; the option `http` of `@clarim/vue`
/// and `@clarim/react` with those of Inertia to the page's own origin.
///
/// As a parameter of an axum handler, a missing header is answered with status 400; use `Option<SocketId>` to
/// accept requests without it.
///
/// ```
/// use clarim::{Broadcast, Clarim, SocketId};
/// # use axum::extract::State;
/// # use serde::Serialize;
/// #
/// # #[derive(Serialize, Broadcast)]
/// # #[broadcast(private = "chat")]
/// # struct Said { text: String }
///
/// async fn say(State(clarim): State<Clarim>, socket: Option<SocketId>, text: String) {
///     clarim.broadcast(Said { text }).to_others(socket).rescue().await;
/// }
/// # axum::Router::<Clarim>::new().route("/say", axum::routing::post(say));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(pub clarim_protocol::SocketId);

impl From<&SocketId> for Option<SocketId> {
    fn from(id: &SocketId) -> Self {
        Some(*id)
    }
}

impl<S: Sync> FromRequestParts<S> for SocketId {
    type Rejection = (StatusCode, String);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let missing = || (StatusCode::BAD_REQUEST, "the header X-Socket-ID is missing".to_owned());
        read(parts)?.ok_or_else(missing)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for SocketId {
    type Rejection = (StatusCode, String);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        read(parts)
    }
}

/// Reads the header. Before a page is connected, some versions of Echo send it empty or as `undefined`.
fn read(parts: &Parts) -> Result<Option<SocketId>, (StatusCode, String)> {
    let Some(text) = parts.headers.get(HEADER) else { return Ok(None) };
    let text = text.to_str().unwrap_or("?").trim();
    if matches!(text, "" | "undefined" | "null") {
        return Ok(None);
    }
    let id = text.parse().map_err(|error| {
        (StatusCode::UNPROCESSABLE_ENTITY, format!("the header X-Socket-ID is invalid: {error}"))
    })?;
    Ok(Some(SocketId(id)))
}
