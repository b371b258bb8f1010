//! Messages of a page on their way to the engine.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};

use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use tokio::io::DuplexStream;
use tokio_websockets::{Error, Message, Payload, WebSocketStream};

use crate::http::body::BudgetShare;

/// Maximum size of the messages that wait.
const MAX_BYTES: usize = 1 << 20;

/// Messages of a page that the engine has not read yet. It does not read while too much waits for the page,
/// so a session must go on with everything else in the meantime.
#[derive(Debug)]
pub(super) struct Outgoing {
    socket: SplitSink<WebSocketStream<DuplexStream>, Message>,
    waiting: VecDeque<Message>,
    bytes: usize,
    /// Whether the socket may have something to flush.
    is_unflushed: bool,
    /// The bodies of the requests count until all messages are sent.
    shares: Vec<BudgetShare>,
}

impl Outgoing {
    pub(super) fn new(socket: SplitSink<WebSocketStream<DuplexStream>, Message>) -> Self {
        Self { socket, waiting: VecDeque::new(), bytes: 0, is_unflushed: false, shares: Vec::new() }
    }

    /// Queues a ping control frame.
    pub(super) fn ping(&mut self) {
        self.push(Message::ping(Bytes::new()));
    }

    /// Queues the reply to a ping control frame.
    pub(super) fn pong(&mut self, payload: Payload) {
        self.push(Message::pong(payload));
    }

    /// Queues a message.
    pub(super) fn text(&mut self, message: String) {
        self.push(Message::text(message));
    }

    fn push(&mut self, message: Message) {
        self.bytes += message.as_payload().len() + size_of::<Message>();
        self.is_unflushed = true;
        self.waiting.push_back(message);
    }

    /// Keeps the share of a request's body while messages wait.
    pub(super) fn keep(&mut self, share: BudgetShare) {
        if self.is_unflushed {
            self.shares.push(share);
        }
    }

    /// Whether the page has sent too much for what it reads.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > MAX_BYTES
    }

    /// Sends what waits, and then waits forever. Cancel safe.
    pub(super) async fn run(&mut self) -> Result<(), Error> {
        while self.is_unflushed {
            while !self.waiting.is_empty() {
                poll_fn(|context| self.socket.poll_ready_unpin(context)).await?;
                if let Some(message) = self.waiting.pop_front() {
                    self.bytes -= message.as_payload().len() + size_of::<Message>();
                    self.socket.start_send_unpin(message)?;
                }
            }
            poll_fn(|context| self.socket.poll_flush_unpin(context)).await?;
            self.is_unflushed = false;
            self.shares.clear();
        }
        pending().await
    }
}
