//! `GET connections` and `POST connections/{id}/close`: those of this node.

use clarim_hub::{ChannelKey, ConnectionAddr};
use clarim_protocol::rest::Params;
use clarim_protocol::{ChannelName, SocketId};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::asks::{Ask, PAGE, Page, Which};
use super::{Inspector, app_of};
use crate::http::Http;
use crate::http::answer::{Answer, Refused, json_value};

/// With `id` that one, with `app` and `channel` those on the channel; otherwise all, from `after` on, which
/// is what the answer before said in `next`.
pub(super) async fn list(http: &Http, all: &Inspector, query: &str) -> Result<Answer, Refused> {
    let params = Params::decode(query).map_err(|error| Refused::malformed(error.to_string()))?;
    let page = match (params.get("id"), params.get("channel"), params.get("app")) {
        (Some(id), ..) => match socket_id(id) {
            Ok((id, seat)) => all.ask(usize::from(seat.worker.0), Which::One(id)).await?,
            // What is not there may not be an id at all.
            Err(_) => Page::default(),
        },
        (None, Some(channel), Some(app)) => on(http, all, app, channel).await?,
        _ => return from(all, params.get("after").unwrap_or("0.0")).await,
    };
    Ok(all.answer(page, None))
}

async fn on(http: &Http, all: &Inspector, app: &str, channel: &str) -> Result<Page, Refused> {
    let app = app_of(http, app)?;
    let name = ChannelName::parse(channel, usize::MAX)
        .map_err(|error| Refused::malformed(error.to_string()))?;
    let which = Which::On(ChannelKey { app, name });
    let mut found = Page::default();
    for worker in 0..all.workers.len() {
        let page = all.ask(worker, which.clone()).await?;
        found.rows.extend(page.rows);
        found.more = found.more.or(page.more);
        if found.rows.len() >= PAGE {
            break;
        }
    }
    found.rows.truncate(PAGE);
    Ok(found)
}

async fn from(all: &Inspector, after: &str) -> Result<Answer, Refused> {
    let cursor = after.split_once('.').and_then(|(worker, place)| {
        Some((worker.parse::<usize>().ok()?, place.parse::<u32>().ok()?))
    });
    let (mut worker, mut place) = cursor.ok_or_else(|| Refused::malformed("after is no place."))?;
    let mut found = Page::default();
    while worker < all.workers.len() {
        let left = PAGE - found.rows.len();
        if left == 0 {
            return Ok(all.answer(found, Some(&format!("{worker}.{place}"))));
        }
        let page = all.ask(worker, Which::From(place, left)).await?;
        found.rows.extend(page.rows);
        (worker, place) = page.more.map_or((worker + 1, 0), |place| (worker, place));
    }
    Ok(all.answer(found, None))
}

/// Closes a connection. Its client comes back at once.
pub(super) async fn close(all: &Inspector, id: &str) -> Result<(), Refused> {
    let (socket_id, seat) = socket_id(id)?;
    let (answer, answered) = oneshot::channel();
    let worker = all.workers.get(usize::from(seat.worker.0)).ok_or_else(gone)?;
    put(worker, Ask::Close { socket_id, answer })?;
    if answered.await.unwrap_or(false) { Ok(()) } else { Err(gone()) }
}

fn socket_id(text: &str) -> Result<(SocketId, ConnectionAddr), Refused> {
    let id: SocketId = text.parse().map_err(|_| gone())?;
    Ok((id, ConnectionAddr::of(id).ok_or_else(gone)?))
}

fn gone() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "There is no such connection on this node.")
}

fn put(worker: &mpsc::Sender<Ask>, ask: Ask) -> Result<(), Refused> {
    worker.try_send(ask).map_err(|_| Refused::busy("The server is busy. Try again."))
}

impl Inspector {
    async fn ask(&self, worker: usize, which: Which) -> Result<Page, Refused> {
        let Some(worker) = self.workers.get(worker) else { return Ok(Page::default()) };
        let (answer, answered) = oneshot::channel();
        put(worker, Ask::Connections { which, answer })?;
        answered.await.map_err(|_| Refused::busy("The server is shutting down."))
    }

    fn answer(&self, page: Page, next: Option<&str>) -> Answer {
        let rows = page.rows.into_iter().map(|mut row| {
            row.facts["origin"] = self.origins.text(row.origin).as_deref().into();
            row.facts
        });
        let connections: Vec<Value> = rows.collect();
        let is_cut = page.more.is_some();
        json_value(&json!({ "connections": connections, "next": next, "is_cut": is_cut }))
    }
}
