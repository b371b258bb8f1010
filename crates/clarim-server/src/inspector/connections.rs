//! `GET connections` and `POST connections/{id}/close`: the connections of this node.

use clarim_hub::ChannelKey;
use clarim_protocol::rest::Params;
use clarim_protocol::{ChannelName, SocketId};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{Inspector, find_app};
use crate::http::Http;
use crate::http::response::{ApiError, ApiResponse, json_value};
use crate::runtime::{ConnectionPage, ConnectionRow, PAGE_SIZE, Selection, WorkerQuery};

/// Lists connections: with `id` that one, with `app` and `channel` those on the channel, otherwise all from
/// `after` on, which is the previous response's `next`.
pub(super) async fn list(
    http: &Http,
    inspector: &Inspector,
    query: &str,
) -> Result<ApiResponse, ApiError> {
    let params = Params::decode(query).map_err(|error| ApiError::malformed(error.to_string()))?;
    let page = match (params.get("id"), params.get("channel"), params.get("app")) {
        (Some(id), ..) => match parse_id(id) {
            Ok(id) => find(inspector, id).await?,
            // A search for a text that is not an id finds nothing.
            Err(_) => ConnectionPage::default(),
        },
        (None, Some(channel), Some(app)) => subscribers_of(http, inspector, app, channel).await?,
        _ => return from(inspector, params.get("after").unwrap_or("0.0")).await,
    };
    Ok(inspector.respond(&page, None))
}

/// Finds a connection. A page keeps its socket id when it moves to another worker, so the id does not tell
/// which worker has it.
async fn find(inspector: &Inspector, id: SocketId) -> Result<ConnectionPage, ApiError> {
    for worker in 0..inspector.workers.len() {
        let page = inspector.query(worker, Selection::One(id)).await?;
        if !page.rows.is_empty() {
            return Ok(page);
        }
    }
    Ok(ConnectionPage::default())
}

async fn subscribers_of(
    http: &Http,
    inspector: &Inspector,
    app: &str,
    channel: &str,
) -> Result<ConnectionPage, ApiError> {
    let app = find_app(http, app)?;
    let name = ChannelName::parse(channel, usize::MAX)
        .map_err(|error| ApiError::malformed(error.to_string()))?;
    let selection = Selection::SubscribersOf(ChannelKey { app, name });
    let mut found = ConnectionPage::default();
    for worker in 0..inspector.workers.len() {
        let page = inspector.query(worker, selection.clone()).await?;
        found.rows.extend(page.rows);
        found.more = found.more.or(page.more);
        if found.rows.len() >= PAGE_SIZE {
            break;
        }
    }
    found.rows.truncate(PAGE_SIZE);
    Ok(found)
}

async fn from(inspector: &Inspector, after: &str) -> Result<ApiResponse, ApiError> {
    let cursor = after.split_once('.').and_then(|(worker, place)| {
        Some((worker.parse::<usize>().ok()?, place.parse::<u32>().ok()?))
    });
    let (mut worker, mut first) = cursor
        .ok_or_else(|| ApiError::malformed("Invalid after: use next of the previous response."))?;
    let mut found = ConnectionPage::default();
    while worker < inspector.workers.len() {
        let limit = PAGE_SIZE - found.rows.len();
        if limit == 0 {
            return Ok(inspector.respond(&found, Some(&format!("{worker}.{first}"))));
        }
        let page = inspector.query(worker, Selection::From { first, limit }).await?;
        found.rows.extend(page.rows);
        (worker, first) = page.more.map_or((worker + 1, 0), |first| (worker, first));
    }
    Ok(inspector.respond(&found, None))
}

/// Closes a connection. Its client reconnects at once.
pub(super) async fn close(inspector: &Inspector, id: &str) -> Result<(), ApiError> {
    let socket_id = parse_id(id)?;
    for worker in &inspector.workers {
        let (reply, replied) = oneshot::channel();
        send(worker, WorkerQuery::Close { socket_id, reply })?;
        if replied.await.unwrap_or(false) {
            return Ok(());
        }
    }
    Err(not_found())
}

fn parse_id(text: &str) -> Result<SocketId, ApiError> {
    text.parse().map_err(|_| not_found())
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "This node has no such connection.")
}

fn send(worker: &mpsc::Sender<WorkerQuery>, query: WorkerQuery) -> Result<(), ApiError> {
    worker.try_send(query).map_err(|_| ApiError::busy("The server is busy. Try again."))
}

impl Inspector {
    async fn query(&self, worker: usize, selection: Selection) -> Result<ConnectionPage, ApiError> {
        let Some(worker) = self.workers.get(worker) else { return Ok(ConnectionPage::default()) };
        let (reply, replied) = oneshot::channel();
        send(worker, WorkerQuery::Connections { selection, reply })?;
        replied.await.map_err(|_| ApiError::busy("The server is shutting down."))
    }

    fn respond(&self, page: &ConnectionPage, next: Option<&str>) -> ApiResponse {
        let connections: Vec<Value> = page.rows.iter().map(|row| self.describe(row)).collect();
        let is_cut = page.more.is_some();
        json_value(&json!({ "connections": connections, "next": next, "is_cut": is_cut }))
    }

    fn describe(&self, row: &ConnectionRow) -> Value {
        json!({
            "id": row.socket_id,
            "app": row.app,
            "age": row.age.as_secs(),
            "user": row.user,
            "outbox": row.outbox,
            "channels": row.channels,
            "channel_count": row.channel_count,
            "origin": self.origins.text(row.origin).as_deref(),
        })
    }
}
