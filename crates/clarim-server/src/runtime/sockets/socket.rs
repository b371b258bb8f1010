//! One socket: its stream, its send queue, and what it waits for.

use std::io;

use clarim_protocol::websocket::Decoder;

use std::net::IpAddr;

use crate::net::{Outbox, Shared, Transport};
use crate::runtime::accept::ClientPermit;
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
    pub(super) permit: ClientPermit,
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
        deflate: bool,
        origin: OriginId,
        permit: ClientPermit,
    ) -> Self {
        Self {
            transport,
            decoder: Decoder::default(),
            outbox: Outbox::default(),
            state: State::Open,
            writing: Writing::Idle,
            deflate,
            unread: false,
            ignores_input: false,
            is_paused: false,
            origin,
            permit,
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.transport.read(buffer)
    }

    /// The frames that are not sent completely.
    pub(crate) fn queued_frames(&self) -> &[Shared] {
        self.outbox.queued()
    }

    pub(crate) fn unsent(&self) -> usize {
        self.outbox.unsent()
    }

    /// Whether it is a session of the HTTP fallback, whose WebSocket ends inside this process: it would reply
    /// to ping control frames even if the page is gone.
    pub(super) fn is_session(&self) -> bool {
        matches!(self.transport, Transport::Local(_))
    }

    pub(crate) fn transport_name(&self) -> &'static str {
        match self.transport {
            Transport::Plain(_) => "ws",
            Transport::Secure(_) => "wss",
            Transport::Local(_) => "fallback",
        }
    }

    /// The client's address, if connections are counted by address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.permit.address()
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
    use std::sync::Arc;
    use std::task::Waker;
    use std::time::Duration;

    use bytes::Bytes;
    use clarim_hub::app::App;
    use clarim_hub::{Apps, ConnectionId, Sockets};
    use clarim_protocol::{Code, Frame};

    use super::super::{QueueLimits, SocketTable};
    use super::*;
    use crate::net::LocalStream;
    use crate::runtime::{
        Acceptor, AddressLimits, Capacity, CapacityLimits, Handshake, HandshakeParams,
    };

    #[test]
    fn the_flags_of_a_socket_fit_into_its_padding() {
        let without = size_of::<(Transport, Decoder, Outbox, State, [bool; 2], ClientPermit)>();
        assert_eq!(size_of::<Option<Socket>>(), without);
    }

    #[test]
    fn the_close_frame_of_a_slow_client_is_not_dropped() {
        let limits = QueueLimits { bytes: 1_000, timeout: Duration::from_secs(1) };
        let mut sockets = SocketTable::new(limits, false, Arc::default());
        let limits = CapacityLimits { clients: 1, sockets: 1, addresses: AddressLimits::default() };
        let (acceptor, mut receivers) = Acceptor::new(1, Arc::new(Capacity::new(limits)));
        let app = Apps::new([App::new("1", "key", "secret")]).find_by_id("1").unwrap();
        let params = HandshakeParams {
            app,
            deflate: false,
            origin: Default::default(),
            address: None,
            page: None,
        };
        let early = Bytes::new();
        acceptor.hand_over_local(
            tokio::io::duplex(1).0,
            Handshake { admission: Ok(params.clone()), early },
        );
        let permit = receivers[0].try_recv().unwrap().permit.admit(None).unwrap();
        let (near, far) = tokio::io::duplex(100);
        let [near, mut client] =
            [near, far].map(|end| Transport::Local(Box::new(LocalStream::new(end))));
        let id = ConnectionId(0);
        let poll = mio::Poll::new().unwrap();
        let waker = || Waker::noop().clone();
        sockets.insert(id, near, &params, permit, poll.registry(), waker).unwrap();
        sockets.send(id, Frame::text(&[b'x'; 500]));
        sockets.flush(1);
        sockets.close(id, Code::UNAUTHORIZED, "Terminated");
        sockets.now = Duration::from_secs(3);
        sockets.close_slow(|_| None);
        let mut received = Vec::new();
        let mut buffer = [0; 1_000];
        while let Ok(n @ 1..) = client.read(&mut buffer) {
            received.extend_from_slice(&buffer[..n]);
            sockets.writable(id);
            sockets.flush(1);
        }
        assert!(received.ends_with(Frame::close(Code::UNAUTHORIZED, "Terminated").bytes()));
    }
}
