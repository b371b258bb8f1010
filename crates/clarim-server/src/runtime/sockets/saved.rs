//! Sockets in a snapshot.

use std::io;
use std::net::{IpAddr, TcpStream as StdStream};
use std::os::fd::AsFd;

use bytes::Bytes;
use clarim_hub::{ConnectionId, Sockets as _};
use clarim_protocol::Code;
use mio::net::TcpStream;
use mio::{Registry, Token};
use serde::{Deserialize, Serialize};

use super::SocketTable;
use super::backlog::SavedBacklog;
use super::socket::{Socket, State, Writing};
use crate::net::{DescriptorSender, Shared, TlsSession, Transport};
use crate::runtime::accept::ClientPermit;
use crate::runtime::origins::OriginId;

/// A socket. Times are the node's, in seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SavedSocket {
    /// The number of its descriptor.
    pub(crate) descriptor: u32,
    /// Boxed: most have none, and it is large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<Box<TlsSession>>,
    #[serde(default)]
    deflate: bool,
    #[serde(default)]
    ignores_input: bool,
    #[serde(default)]
    state: SavedState,
    /// Input that is not handled yet, as the client has sent it.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub(crate) input: Vec<u8>,
    /// The numbers of the frames in its send queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) frames: Vec<u32>,
    /// Bytes of the first of them that are sent.
    #[serde(default)]
    sent: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backlog: Option<SavedBacklog>,
    /// The client's address, if connections are counted by address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
enum SavedState {
    #[default]
    Open,
    Closing {
        until: u32,
    },
    Done {
        until: u32,
    },
}

/// A connection that the hub has restored.
#[derive(Debug)]
pub(crate) struct RestoredSocket {
    pub(crate) id: ConnectionId,
    pub(crate) saved: SavedSocket,
    /// The frames of its send queue.
    pub(crate) frames: Vec<Bytes>,
    pub(crate) origin: OriginId,
    pub(crate) permit: ClientPermit,
}

/// Saves a socket; `None` if it cannot be handed over.
pub(crate) fn save(
    table: &SocketTable,
    id: ConnectionId,
    descriptors: &mut DescriptorSender,
    number: impl Fn(&Shared) -> u32,
) -> io::Result<Option<SavedSocket>> {
    let Some(socket) = table.get(id) else { return Ok(None) };
    let Some((stream, tls)) = socket.transport.parts() else { return Ok(None) };
    Ok(Some(SavedSocket {
        descriptor: descriptors.add(stream.as_fd().try_clone_to_owned()?)?,
        tls: tls.cloned().map(Box::new),
        deflate: socket.deflate,
        ignores_input: socket.ignores_input,
        state: match socket.state {
            State::Open => SavedState::Open,
            State::Closing { until } => SavedState::Closing { until },
            State::Done { until } => SavedState::Done { until },
        },
        input: socket.decoder.replay(),
        frames: socket.outbox.queued().iter().map(number).collect(),
        sent: socket.outbox.sent() as u64,
        backlog: table.backlogs.save(id),
        address: socket.permit.address(),
        origin: None,
    }))
}

/// Adds a restored socket with its send queue.
pub(crate) fn restore(
    table: &mut SocketTable,
    restored: RestoredSocket,
    stream: StdStream,
    queue: &[Shared],
    registry: &Registry,
) -> io::Result<()> {
    let RestoredSocket { id, saved, origin, permit, .. } = restored;
    let mut stream = TcpStream::from_std(stream);
    let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
    registry.register(&mut stream, Token(id.0 as usize), interest)?;
    let has_unsent = saved.tls.as_ref().is_some_and(|session| session.has_unsent());
    let transport = Transport::restore(stream, saved.tls.map(|session| *session));
    let mut socket = Socket::new(transport, saved.deflate, origin, permit);
    socket.ignores_input = saved.ignores_input;
    socket.state = match saved.state {
        SavedState::Open => State::Open,
        SavedState::Closing { until } => State::Closing { until },
        SavedState::Done { until } => State::Done { until },
    };
    queue.iter().for_each(|frame| socket.outbox.push(frame));
    socket.outbox.skip(saved.sent as usize);
    if let Some(backlog) = saved.backlog {
        table.backlogs.restore(id, backlog);
    }
    if socket.outbox.unsent() > 0 || has_unsent {
        // Tried at once: the client may have read in the meantime.
        socket.writing = Writing::Resumed;
        table.unsent.push_back(id);
    } else if let State::Done { .. } = socket.state {
        table.gone.push(id);
    }
    table.put(id, socket);
    Ok(())
}

/// Closes all clients that cannot be handed over, with a code that makes them reconnect.
pub(crate) fn close_others(table: &mut SocketTable, reason: &str) {
    for id in others(table) {
        table.close(id, Code::GENERIC, reason);
    }
}

/// Whether something is still to be sent to clients that cannot be handed over.
pub(crate) fn have_others_unsent(table: &SocketTable) -> bool {
    others(table).into_iter().any(|id| table.get(id).is_some_and(|it| it.unsent() > 0))
}

/// Ends the connections that cannot be handed over.
pub(crate) fn give_up_others(table: &mut SocketTable) {
    let others = others(table);
    table.gone.extend(others);
}

/// The clients that cannot be handed over.
fn others(table: &SocketTable) -> Vec<ConnectionId> {
    let is_other =
        |id: &ConnectionId| table.get(*id).is_some_and(|it| it.transport.parts().is_none());
    (0..table.places()).map(|place| ConnectionId(place as u32)).filter(is_other).collect()
}
