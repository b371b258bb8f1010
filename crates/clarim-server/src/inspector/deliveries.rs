//! `GET deliveries` and `POST deliveries/{id}/replay`: the last webhook requests of this node.

use hyper::StatusCode;
use serde_json::json;

use super::{Inspector, Replay};
use crate::http::response::{ApiError, ApiResponse, json_value};

pub(super) fn list(inspector: &Inspector) -> ApiResponse {
    json_value(&json!({ "deliveries": inspector.webhooks.deliveries() }))
}

pub(super) fn replay(inspector: &Inspector, id: &str) -> Result<ApiResponse, ApiError> {
    let gone = || ApiError::new(StatusCode::NOT_FOUND, "This delivery is not kept any more.");
    match inspector.webhooks.replay(id.parse().map_err(|_| gone())?) {
        Replay::Queued => Ok(json_value(&json!({}))),
        Replay::Gone => Err(gone()),
        Replay::Full => Err(ApiError::busy("The endpoint's queue is full. Try again.")),
    }
}
