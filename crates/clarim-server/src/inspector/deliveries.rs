//! `GET deliveries` and `POST deliveries/{id}/replay`: the last requests to webhooks, of this node.

use hyper::StatusCode;
use serde_json::json;

use crate::http::Http;
use crate::http::answer::{Answer, Refused, json_value};
use crate::webhooks::Replay;

pub(super) fn list(http: &Http) -> Answer {
    json_value(&json!({ "deliveries": http.webhooks.log.shown() }))
}

pub(super) fn replay(http: &Http, id: &str) -> Result<Answer, Refused> {
    let gone = || Refused::new(StatusCode::NOT_FOUND, "This delivery is not kept any more.");
    match http.webhooks.replay(id.parse().map_err(|_| gone())?) {
        Replay::Queued(_) => Ok(json_value(&json!({}))),
        Replay::Gone => Err(gone()),
        Replay::Full => Err(Refused::busy("The endpoint's queue is full. Try again.")),
    }
}
