//! One socket: its stream, its send queue, and what it waits for.

use std::io;

use clarim_protocol::websocket::Decoder;

use crate::net::{Outbox, Transport};
use crate::runtime::accept::{ClientPermit, HandshakeParams};
use crate::runtime::origins::OriginId;

/// One connection's socket. Kept small: most of them are idle.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(super) transport: Transport,
    pub(crate) decoder: Decoder,
    pub(super) outbox: Outbox,
    pub(super) state: State,
    pub(super) writing: Writing,
    /// Compression was negotiated: messages may be compressed in both directions.
    pub(crate) deflate: bool,
    /// In the engine's list of sockets that have more to read.
    pub(crate) unread: bool,
    /// Input is ignored since it violated the protocol.
    pub(crate) ignores_input: bool,
    /// Not read until its send queue is within the limit again.
    pub(super) is_paused: bool,
    pub(super) origin: OriginId,
    pub(super) _permit: ClientPermit,
}

/// The progress of writing a send queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// Its send queue is empty.
    Idle,
    /// It waits for its turn, in `SocketTable::unsent`.
    Queued,
    /// It waits for the client: the kernel's send buffer is full.
    Blocked,
    /// It waits for its turn, and was blocked before.
    Resumed,
}

/// The state of a socket. Times are the node's, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// A close frame is queued and the client has not answered it yet.
    Closing {
        until: u32,
    },
    /// Both sides have sent a close frame. The socket is removed once everything is sent.
    Done {
        until: u32,
    },
}

impl Socket {
    pub(super) fn new(
        transport: Transport,
        params: &HandshakeParams,
        permit: ClientPermit,
    ) -> Self {
        Self {
            transport,
            decoder: Decoder::default(),
            outbox: Outbox::default(),
            state: State::Open,
            writing: Writing::Idle,
            deflate: params.deflate,
            unread: false,
            ignores_input: false,
            is_paused: false,
            origin: params.origin,
            _permit: permit,
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.transport.read(buffer)
    }

    pub(crate) fn unsent(&self) -> usize {
        self.outbox.unsent()
    }

    /// Whether it is a session of the HTTP fallback, whose WebSocket ends inside this process: it would reply
    /// to ping control frames even if the page is gone.
    pub(super) fn is_session(&self) -> bool {
        matches!(self.transport, Transport::Local(_))
    }

    /// Whether nothing is special about it, and about its write.
    pub(super) fn is_plainly_queued(&self) -> bool {
        self.writing == Writing::Queued && !self.is_paused && self.state == State::Open
    }

    pub(crate) fn origin(&self) -> OriginId {
        self.origin
    }

    pub(crate) fn short_read_is_empty(&self) -> bool {
        self.transport.short_read_is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_a_socket_fit_into_its_padding() {
        let without = size_of::<(Transport, Decoder, Outbox, State, [bool; 2], ClientPermit)>();
        assert_eq!(size_of::<Option<Socket>>(), without);
    }
}
