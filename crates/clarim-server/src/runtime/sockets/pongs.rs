//! Replies to ping control frames.

use clarim_hub::{ConnectionId, Sockets};
use clarim_protocol::Frame;

use super::SocketTable;

/// Maximum number of pings from one read that are replied to one by one.
const MAX_PONGS: usize = 128;

/// The replies to the pings of one read. Of a flood of pings only the last gets a reply, as RFC 6455 allows
/// (section 5.5.3).
#[derive(Debug, Default)]
pub(crate) struct Pongs {
    sent: usize,
    last: Option<Frame>,
}

impl Pongs {
    /// Replies to a ping, now or in [`finish`](Self::finish).
    pub(crate) fn reply(&mut self, id: ConnectionId, payload: &[u8], sockets: &mut SocketTable) {
        let pong = Frame::control_pong(payload);
        if self.sent < MAX_PONGS {
            self.sent += 1;
            sockets.send(id, pong);
        } else {
            self.last = Some(pong);
        }
    }

    /// Replies to the last ping of a flood.
    pub(crate) fn finish(self, id: ConnectionId, sockets: &mut SocketTable) {
        if let Some(pong) = self.last {
            sockets.send(id, pong);
        }
    }
}
