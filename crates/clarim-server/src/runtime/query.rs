//! Questions to a worker about its connections, which no other thread can see.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use clarim_hub::{ConnectionId, ConnectionInfo, Sockets, Worker};
use clarim_protocol::{Code, SocketId};
use tokio::sync::oneshot;

use super::connection_filter::ConnectionFilter;
use super::origins::OriginId;
use super::sink::Sink;
use super::sockets::{Socket, SocketTable};

/// Maximum number of connections in one page.
pub(crate) const PAGE_SIZE: usize = 100;

/// Maximum number of connections that one query visits: the worker does nothing else in the meantime.
const MAX_VISITED: usize = 1_000;

/// Maximum number of channel names of one connection.
const MAX_CHANNELS: usize = 50;

/// A question to a worker.
#[derive(Debug)]
pub(crate) enum WorkerQuery {
    /// Describe some connections.
    Connections { selection: Selection, reply: oneshot::Sender<ConnectionPage> },
    /// Close a connection. The reply says whether it existed.
    Close { socket_id: SocketId, reply: oneshot::Sender<bool> },
}

impl WorkerQuery {
    /// Answers a question about the connections.
    pub(super) fn answer(self, hub: &Worker<Sink>, sockets: &mut SocketTable) {
        // The receiver of the reply may be gone.
        match self {
            Self::Connections { selection, reply } => {
                let _ = reply.send(selection.page(hub, sockets));
            }
            Self::Close { socket_id, reply } => {
                let found = hub.find(socket_id).filter(|id| sockets.is_open(*id));
                if let Some(id) = found {
                    sockets.close(id, Code::GENERIC, "Closed by an operator");
                }
                let _ = reply.send(found.is_some());
            }
        }
    }
}

/// The connections that a query is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// The index of the first one.
    pub(crate) first: u32,
    /// Maximum number of matches. `None`: all among the connections that the query visits.
    pub(crate) limit: Option<usize>,
    pub(crate) filter: Arc<ConnectionFilter>,
}

impl Selection {
    /// Describes the selected connections of a worker.
    fn page(&self, hub: &Worker<Sink>, sockets: &SocketTable) -> ConnectionPage {
        let mut page = ConnectionPage::default();
        let limit = self.limit.unwrap_or(MAX_VISITED);
        let end = sockets.places().min(self.first as usize + MAX_VISITED) as u32;
        for id in (self.first..end).map(ConnectionId) {
            if page.rows.len() == limit {
                page.more = Some(id.0);
                return page;
            }
            let Some(socket) = sockets.get(id).filter(|_| sockets.is_open(id)) else { continue };
            let Some(info) = hub.look_at(id, sockets.now) else { continue };
            if self.filter.matches(&info, socket) {
                page.rows.push(ConnectionRow::new(id, &info, socket));
            }
        }
        page.more = ((end as usize) < sockets.places()).then_some(end);
        page
    }
}

/// A page of connections.
#[derive(Debug, Default)]
pub(crate) struct ConnectionPage {
    pub(crate) rows: Vec<ConnectionRow>,
    /// The index to go on from, if there are more.
    pub(crate) more: Option<u32>,
}

/// A description of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionRow {
    /// Its index in the worker.
    pub(crate) index: u32,
    pub(crate) socket_id: SocketId,
    pub(crate) app: String,
    pub(crate) age: Duration,
    pub(crate) user: Option<String>,
    /// Bytes in its send queue.
    pub(crate) outbox: usize,
    /// The first of its channels.
    pub(crate) channels: Vec<String>,
    pub(crate) channel_count: usize,
    pub(crate) origin: OriginId,
    pub(crate) transport: &'static str,
    pub(crate) address: Option<IpAddr>,
}

impl ConnectionRow {
    fn new(id: ConnectionId, info: &ConnectionInfo<'_>, socket: &Socket) -> Self {
        let channels = info.channels.iter().take(MAX_CHANNELS);
        Self {
            index: id.0,
            socket_id: info.socket_id,
            app: info.app.id.clone(),
            age: info.age,
            user: info.user.map(str::to_owned),
            outbox: socket.unsent(),
            channels: channels.map(|name| (*name).to_owned()).collect(),
            channel_count: info.channels.len(),
            origin: socket.origin(),
            transport: socket.transport_name(),
            address: socket.address(),
        }
    }
}
