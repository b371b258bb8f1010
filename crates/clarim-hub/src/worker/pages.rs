//! Pages: opening, closing, and the acknowledgements of their connections.

use std::ops::Range;
use std::time::Duration;

use clarim_protocol::{ChannelName, PageId, SocketId};

use super::state::WorkerState;
use crate::address::{AppIndex, ConnectionId};
use crate::connection::ChannelIndex;
use crate::outputs::{Output, OutputSink, Replayed, WorkerMessage};
use crate::pages::{Acknowledged, Newcomer, Page, PageSince, Positions};
use crate::sockets::Sockets;

/// Minimum time between two requests to pages that get one event after another. Of these events, a page that
/// comes back gets those of half this time twice, on average.
const PACE: Duration = Duration::from_millis(100);

/// Gives a page to a new connection. Returns the connection's socket id: the page's, if it has one that no
/// other connection uses.
pub(super) fn open<S: OutputSink>(
    worker: &mut WorkerState<S>,
    app: AppIndex,
    page: &PageId,
    id: ConnectionId,
    nonce: u64,
    now: Duration,
) -> SocketId {
    let addr = worker.addr(id);
    let socket_id = addr.socket_id(nonce);
    let new = Newcomer { app, addr, socket_id, changes: worker.subscribers.changes() };
    let back = worker.node.pages().open(worker.node.app(app), page, new, now);
    if let Some(replaced) = back.replaced {
        let connection = replaced.addr.connection;
        let message = WorkerMessage::Replaced { connection, socket_id: replaced.socket_id };
        worker.node.output(Output::Worker(replaced.addr.worker, message));
    }
    worker.pages.insert(id, back.page);
    if back.socket_id != socket_id {
        worker.pages.add_alias(back.socket_id, id);
    }
    back.socket_id
}

/// Leaves the page of a connection whose socket is closed to its next connection.
pub(super) fn close<S: OutputSink>(
    worker: &mut WorkerState<S>,
    app: AppIndex,
    id: ConnectionId,
    socket_id: SocketId,
    now: Duration,
) {
    worker.pages.remove_alias(socket_id, id);
    if let Some(page) = worker.pages.remove(id) {
        worker.node.pages().close(&page, worker.addr(id), worker.node.app(app), now);
    }
}

/// Returns the position from which the page of a connection needs the events of a channel.
pub(super) fn since<S: OutputSink>(
    worker: &WorkerState<S>,
    id: ConnectionId,
    channel: &ChannelName,
) -> Option<PageSince> {
    worker.pages.get(id)?.since(worker.addr(id), channel)
}

/// Records a subscription to a channel with history.
pub(super) fn subscribed<S: OutputSink>(
    worker: &mut WorkerState<S>,
    id: ConnectionId,
    channel: ChannelIndex,
    replayed: Replayed,
) {
    let Some(page) = worker.pages.get(id) else { return };
    let key = worker.subscribers.key(channel);
    let max = worker.node.app(key.app).limits.channels_per_connection;
    let all = || sent(worker, id, None);
    page.subscribed(worker.addr(id), &key.name, replayed, max, all);
    worker.subscribers.follow(channel, replayed.to);
}

/// Forgets the position of a channel that the client has unsubscribed from.
pub(super) fn unsubscribed<S: OutputSink>(
    worker: &WorkerState<S>,
    id: ConnectionId,
    channel: &ChannelName,
) {
    if let Some(page) = worker.pages.get(id) {
        page.unsubscribed(worker.addr(id), channel);
    }
}

/// Asks the pages that have got events since the last call to acknowledge them, at most once per [`PACE`].
pub(super) fn ask_changed<S: OutputSink>(
    worker: &mut WorkerState<S>,
    now: Duration,
    sockets: &mut impl Sockets,
) {
    if !worker.subscribers.has_changed() || now < worker.next_request {
        return;
    }
    worker.next_request = now + PACE;
    let changed = worker.subscribers.take_changed();
    for id in changed.into_iter().flat_map(|channel| worker.subscribers.at(channel)) {
        if let Some(page) = worker.pages.get(*id)
            && !sockets.is_session(*id)
            && let Some(number) = request(worker, *id, page, now)
        {
            sockets.ask(*id, &number.to_be_bytes());
        }
    }
}

/// Asks the pages of the connections in `slots` to acknowledge what they have been sent. Without new events,
/// these are pages that use the HTTP fallback, have got a gap, or have not replied to the last request.
pub(super) fn ask<S: OutputSink>(
    worker: &WorkerState<S>,
    slots: Range<usize>,
    now: Duration,
    sockets: &mut impl Sockets,
) {
    if worker.pages.is_empty() {
        return;
    }
    for (id, page) in worker.pages.range(slots) {
        let number = request(worker, id, page, now);
        if let Some(number) = number.or_else(|| page.ask_replaced(worker.addr(id))) {
            sockets.ask(id, &number.to_be_bytes());
        }
    }
}

fn request<S: OutputSink>(
    worker: &WorkerState<S>,
    id: ConnectionId,
    page: &Page,
    now: Duration,
) -> Option<u64> {
    let changes = worker.subscribers.changes();
    page.ask(worker.addr(id), changes, now, |after| sent(worker, id, after))
}

/// Returns the positions up to which a connection has been sent everything: all, or those of channels that
/// have changed after a number of changes.
fn sent<S: OutputSink>(worker: &WorkerState<S>, id: ConnectionId, after: Option<u64>) -> Positions {
    let connection = worker.connections.get(id.0 as usize);
    let subscriptions = connection.map_or(&[][..], |connection| &connection.subscriptions);
    let channels = subscriptions.iter().map(|subscription| subscription.position.channel);
    channels
        .filter_map(|channel| {
            let position = worker.subscribers.sent(channel, after)?;
            let channel = worker.subscribers.key(channel).name.clone();
            Some(Acknowledged { channel, position })
        })
        .collect()
}

/// Handles the payload of a pong. Returns whether it replies to a request.
pub(super) fn acknowledge<S: OutputSink>(
    worker: &WorkerState<S>,
    id: ConnectionId,
    payload: &[u8],
) -> bool {
    let Ok(number) = payload.try_into().map(u64::from_be_bytes) else { return false };
    worker.pages.get(id).is_some_and(|page| page.acknowledge(worker.addr(id), number))
}

/// Handles the reply to a close frame: the client is still there.
pub(super) fn replied<S: OutputSink>(worker: &WorkerState<S>, id: ConnectionId) {
    if let Some(page) = worker.pages.get(id) {
        page.replied(worker.addr(id));
    }
}
