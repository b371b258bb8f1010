//! The sockets of a worker, as the hub sees them.

use clarim_protocol::{Code, Frame, server};

use crate::address::ConnectionId;
use crate::rejected::Rejected;

/// The sockets of a worker, which send the hub's frames. Frames are queued; nothing waits.
pub trait Sockets {
    /// Queues a frame for one connection.
    fn send(&mut self, connection: ConnectionId, frame: Frame);

    /// Queues a ping: a control frame and, unless `frame_only`, a message. Some clients reply only to the
    /// one, some only to the other.
    fn ping(&mut self, connection: ConnectionId, frame_only: bool) {
        if !frame_only {
            self.send(connection, server::ping());
        }
        self.send(connection, Frame::control_ping(&[]));
    }

    /// Queues a request to acknowledge everything before it: a ping control frame, whose pong has the same
    /// payload.
    fn ask(&mut self, connection: ConnectionId, payload: &[u8]) {
        self.send(connection, Frame::control_ping(payload));
    }

    /// Returns whether a connection uses the HTTP fallback, where each reply of the client is a request.
    fn is_session(&self, _connection: ConnectionId) -> bool {
        false
    }

    /// Queues one frame for many connections. This is the hot path.
    fn send_to_all(
        &mut self,
        connections: &[ConnectionId],
        except: Option<ConnectionId>,
        frame: Frame,
    );

    /// Queues a close frame, after which nothing more is sent or read. Call
    /// [`Worker::leave_all`](crate::Worker::leave_all) as soon as possible, and
    /// [`Worker::close`](crate::Worker::close) when the socket is closed.
    fn close(&mut self, connection: ConnectionId, code: Code, reason: &str);

    /// Counts a rejected request.
    fn rejected(&mut self, _: Rejected) {}
}
