//! Questions to a worker about its connections, which no other thread can see.

use std::time::Duration;

use clarim_hub::{ChannelKey, ConnectionId, ConnectionInfo, Sockets, Worker};
use clarim_protocol::{Code, SocketId};
use tokio::sync::oneshot;

use super::origins::OriginId;
use super::sink::Sink;
use super::sockets::{Socket, SocketTable};

/// Maximum number of connections in one page.
pub(crate) const PAGE_SIZE: usize = 100;

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
#[derive(Debug, Clone)]
pub(crate) enum Selection {
    One(SocketId),
    /// The first subscribers of a channel.
    SubscribersOf(ChannelKey),
    /// At most `limit` connections from the index `first` on.
    From {
        first: u32,
        limit: usize,
    },
}

impl Selection {
    /// Describes the selected connections of a worker.
    fn page(&self, hub: &Worker<Sink>, sockets: &SocketTable) -> ConnectionPage {
        let mut page = ConnectionPage::default();
        let mut add = |id| {
            if let (Some(info), Some(socket)) = (hub.look_at(id, sockets.now), sockets.get(id)) {
                page.rows.push(ConnectionRow::new(&info, socket));
            }
        };
        match self {
            Self::One(socket_id) => hub.find(*socket_id).into_iter().for_each(&mut add),
            Self::SubscribersOf(channel) => {
                let subscribers = hub.subscribers(channel);
                subscribers.iter().take(PAGE_SIZE).copied().for_each(&mut add);
                page.more = (subscribers.len() > PAGE_SIZE).then_some(0);
            }
            Self::From { first, limit } => {
                let all = *first as usize..sockets.places();
                let mut ids = all.map(|n| ConnectionId(n as u32)).filter(|id| sockets.is_open(*id));
                ids.by_ref().take(*limit).for_each(&mut add);
                page.more = ids.next().map(|id| id.0);
            }
        }
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
}

impl ConnectionRow {
    pub(crate) fn new(info: &ConnectionInfo<'_>, socket: &Socket) -> Self {
        let channels = info.channels.iter().take(MAX_CHANNELS);
        Self {
            socket_id: info.socket_id,
            app: info.app.id.clone(),
            age: info.age,
            user: info.user.map(str::to_owned),
            outbox: socket.unsent(),
            channels: channels.map(|name| (*name).to_owned()).collect(),
            channel_count: info.channels.len(),
            origin: socket.origin(),
        }
    }
}
