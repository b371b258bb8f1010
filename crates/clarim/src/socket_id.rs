//! The connection from which a request's page listens.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;

/// The header in which Echo says it.
const HEADER: &str = "x-socket-id";

/// The id of the connection on which the page that made a request listens: Echo sends it as `X-Socket-ID`
/// with every request of axios, Turbo and jQuery. For [`to_others`](crate::PendingBroadcast::to_others).
///
/// As an argument of an axum handler it is there or the request is answered 400; `Option<SocketId>` takes
/// requests without it too.
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
///     clarim.broadcast(Said { text }).to_others(socket).rescue().await.ok();
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

/// Before a page is connected, some versions of Echo send it empty or as `undefined`.
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
