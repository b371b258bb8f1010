//! `GET connections` and `POST connections/{id}/close`: the connections of this node.

use std::cmp::Reverse;
use std::sync::Arc;

use clarim_protocol::SocketId;
use clarim_protocol::rest::Params;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::Inspector;
use crate::http::response::{ApiError, ApiResponse, json_value};
use crate::runtime::{
    ConnectionFilter, ConnectionPage, ConnectionRow, PAGE_SIZE, Selection, WorkerQuery,
};

/// A number by which connections are sorted.
#[derive(Debug, Clone, Copy)]
enum Order {
    Age,
    Outbox,
    Subscriptions,
}

impl Order {
    fn of(self, row: &ConnectionRow) -> u64 {
        match self {
            Self::Age => row.age.as_secs(),
            Self::Outbox => row.outbox as u64,
            Self::Subscriptions => row.channel_count as u64,
        }
    }
}

/// Lists connections: with `filter` those that it matches, with `app` those of the app, with `after` those
/// after the previous response's `next`. With `sort` (`age`, `-age`: the oldest first), the first page only.
pub(super) async fn list(inspector: &Inspector, query: &str) -> Result<ApiResponse, ApiError> {
    let params = Params::decode(query).map_err(|error| ApiError::malformed(error.to_string()))?;
    let text = params.get("filter").unwrap_or_default();
    let filter = Arc::new(ConnectionFilter::parse(params.get("app"), text, &inspector.origins));
    match params.get("sort") {
        Some(sort) => inspector.sorted(filter, sort).await,
        None => inspector.page(filter, params.get("after").unwrap_or("0.0")).await,
    }
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

    async fn page(
        &self,
        filter: Arc<ConnectionFilter>,
        after: &str,
    ) -> Result<ApiResponse, ApiError> {
        let cursor = after.split_once('.').and_then(|(worker, index)| {
            Some((worker.parse::<usize>().ok()?, index.parse::<u32>().ok()?))
        });
        let (mut worker, mut first) = cursor.ok_or_else(|| {
            ApiError::malformed("Invalid after: use next of the previous response.")
        })?;
        let mut rows = Vec::new();
        while worker < self.workers.len() {
            // One more tells whether there is a next page, and where it begins.
            let limit = Some(PAGE_SIZE + 1 - rows.len());
            let page =
                self.query(worker, Selection { first, limit, filter: filter.clone() }).await?;
            rows.extend(page.rows);
            if rows.len() > PAGE_SIZE {
                let next = rows.pop().map(|row| format!("{worker}.{}", row.index));
                return Ok(self.respond(&rows, next.as_deref()));
            }
            (worker, first) = page.more.map_or((worker + 1, 0), |first| (worker, first));
        }
        Ok(self.respond(&rows, None))
    }

    async fn sorted(
        &self,
        filter: Arc<ConnectionFilter>,
        sort: &str,
    ) -> Result<ApiResponse, ApiError> {
        let order = match sort.trim_start_matches('-') {
            "age" => Order::Age,
            "outbox" => Order::Outbox,
            "subscriptions" => Order::Subscriptions,
            _ => {
                let message = "Invalid sort: use age, outbox or subscriptions, with - to reverse.";
                return Err(ApiError::malformed(message));
            }
        };
        let mut rows: Vec<ConnectionRow> = Vec::new();
        for worker in 0..self.workers.len() {
            let mut next = Some(0);
            while let Some(first) = next {
                let selection = Selection { first, limit: None, filter: filter.clone() };
                let page = self.query(worker, selection).await?;
                rows.extend(page.rows);
                if sort.starts_with('-') {
                    rows.sort_by_key(|row| Reverse(order.of(row)));
                } else {
                    rows.sort_by_key(|row| order.of(row));
                }
                // The others cannot come back into the first page.
                rows.truncate(PAGE_SIZE);
                next = page.more;
            }
        }
        Ok(self.respond(&rows, None))
    }

    fn respond(&self, rows: &[ConnectionRow], next: Option<&str>) -> ApiResponse {
        let connections: Vec<Value> = rows.iter().map(|row| self.describe(row)).collect();
        json_value(&json!({ "connections": connections, "next": next }))
    }

    fn describe(&self, row: &ConnectionRow) -> Value {
        json!({
            "id": row.socket_id,
            "app": row.app,
            "age": row.age.as_secs(),
            "user": row.user,
            "outbox": row.outbox,
            "channels": row.channels,
            "transport": row.transport,
            "address": row.address,
            "channel_count": row.channel_count,
            "origin": self.origins.text(row.origin).as_deref(),
        })
    }
}
