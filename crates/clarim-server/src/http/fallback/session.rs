//! One session: a WebSocket on one side, the requests of a page on the other.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

use super::order::Order;

/// A page that listens no more has gone.
const GONE: Duration = Duration::from_secs(5);

/// A page hears something at least so often; pusher-js waits for two minutes.
const HEARTBEAT: Duration = Duration::from_secs(25);

/// When the text of a stream is longer than this, in UTF-16, pusher-js leaves it for a new one, and with it
/// whatever comes there between the two. So nothing comes.
const LONGEST_STREAM: usize = 256 << 10;

/// For so long it is waited for the new stream.
const TAKEOVER: Duration = Duration::from_secs(5);

/// Messages are put together to lines of about so many bytes.
const LINE: usize = 64 << 10;

/// How a page listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One answer that does not end.
    Streaming,
    /// An answer for each time that there is something to say.
    Polling,
}

/// A request by which the page listens.
#[derive(Debug)]
pub(super) struct Listener {
    kind: Kind,
    lines: mpsc::Sender<Bytes>,
    /// UTF-16 units.
    written: usize,
}

impl Listener {
    pub(super) fn new(kind: Kind, lines: mpsc::Sender<Bytes>) -> Self {
        Self { kind, lines, written: 0 }
    }

    fn is_full(&self) -> bool {
        self.kind == Kind::Streaming && self.written > LONGEST_STREAM
    }
}

/// A request of the page, with its number.
#[derive(Debug)]
pub(super) enum Visit {
    Listen { n: Option<u64>, listener: Listener },
    Say { n: Option<u64>, messages: Vec<String> },
}

/// What the server has to say, or that it has closed.
enum Said {
    Messages(Vec<String>),
    Closed(u16, String),
}

pub(super) struct Session {
    socket: WebSocketStream<UnixStream>,
    visits: mpsc::Receiver<Visit>,
    listener: Option<Listener>,
    order: Order,
    /// Of whoever listens: when they hear a heartbeat. Of nobody: when the page has gone.
    due: Instant,
    /// The server has closed, and this is still to be said.
    last: Option<Said>,
}

impl Session {
    pub(super) fn new(socket: UnixStream, visits: mpsc::Receiver<Visit>) -> Self {
        // The other end is this server, which has limits of its own.
        let socket = ClientBuilder::new().limits(Limits::unlimited()).take_over(socket);
        let due = Instant::now() + GONE;
        Self { socket, visits, listener: None, order: Order::default(), due, last: None }
    }

    /// Until one of both sides has gone.
    pub(super) async fn run(mut self, first: Visit) {
        if let Visit::Listen { listener, .. } = &first {
            // There is room for the first line.
            let _ = listener.lines.try_send(Bytes::from_static(b"o\n"));
        }
        let is_polling =
            matches!(&first, Visit::Listen { listener, .. } if listener.kind == Kind::Polling);
        if self.visit(first).await.is_err() {
            return;
        }
        if is_polling {
            self.hang_up();
        }
        while self.step().await.is_ok() {}
        // Dropping its end tells the engine.
    }

    /// What happens next. An error: nothing more will.
    async fn step(&mut self) -> Result<(), ()> {
        let (due, late) = (self.due, self.order.due());
        tokio::select! {
            visit = self.visits.recv() => self.visit(visit.ok_or(())?).await,
            said = heard(self.listener.as_ref(), &mut self.last, &mut self.socket) => self.tell(said),
            () = closed(self.listener.as_ref()) => {
                self.hang_up();
                Ok(())
            }
            () = at(late) => {
                let messages = self.order.give_up();
                self.send(messages).await
            }
            () = sleep_until(due) => self.wait_no_more(),
        }
    }

    async fn visit(&mut self, visit: Visit) -> Result<(), ()> {
        match visit {
            Visit::Listen { n, listener } => {
                self.listener = Some(listener);
                self.due = Instant::now() + HEARTBEAT;
                let messages = self.order.take(n, Vec::new());
                self.send(messages).await
            }
            Visit::Say { n, messages } => {
                if messages.is_empty() {
                    // A sign of life. On a stream it answers one of ours.
                    self.socket.send(Message::ping(Bytes::new())).await.map_err(drop)?;
                    if self.listener.as_ref().is_some_and(|it| it.kind == Kind::Polling) {
                        self.wait_no_more()?;
                    }
                }
                let messages = self.order.take(n, messages);
                self.send(messages).await
            }
        }
    }

    async fn send(&mut self, messages: Vec<String>) -> Result<(), ()> {
        for message in messages {
            self.socket.feed(Message::text(message)).await.map_err(drop)?;
        }
        self.socket.flush().await.map_err(drop)
    }

    /// A heartbeat for who listens; without anybody, or if they read nothing, the end.
    fn wait_no_more(&mut self) -> Result<(), ()> {
        let listener = self.listener.as_mut().ok_or(())?;
        listener.written = 0;
        self.write(Bytes::from_static(b"h\n"))
    }

    fn tell(&mut self, said: Said) -> Result<(), ()> {
        match said {
            Said::Messages(messages) => {
                let line = serde_json::to_string(&messages).map_err(drop)?;
                self.write(format!("a{line}\n").into())
            }
            Said::Closed(code, reason) => {
                let closed = serde_json::json!([code, reason]);
                self.write(format!("c{closed}\n").into())?;
                Err(())
            }
        }
    }

    /// A line for who listens.
    fn write(&mut self, line: Bytes) -> Result<(), ()> {
        let listener = self.listener.as_mut().ok_or(())?;
        let text = str::from_utf8(&line).map_err(drop)?;
        listener.written += text.encode_utf16().count();
        listener.lines.try_send(line).map_err(drop)?;
        let (is_full, kind) = (listener.is_full(), listener.kind);
        self.due = Instant::now() + if is_full { TAKEOVER } else { HEARTBEAT };
        if kind == Kind::Polling {
            self.hang_up();
        }
        Ok(())
    }

    /// Nobody listens any more.
    fn hang_up(&mut self) {
        self.listener = None;
        self.due = Instant::now() + GONE;
    }
}

/// What the server says next, if there is somebody who listens and has room. Can be dropped at any time.
async fn heard(
    listener: Option<&Listener>,
    last: &mut Option<Said>,
    socket: &mut WebSocketStream<UnixStream>,
) -> Said {
    match listener {
        Some(listener) if !listener.is_full() => {
            // A permit that is given back: who takes one next is the same who waits here.
            let _ = listener.lines.reserve().await;
        }
        _ => pending().await,
    }
    if let Some(said) = last.take() {
        return said;
    }
    let mut messages = Vec::new();
    let mut size = 0;
    loop {
        let next = match messages.is_empty() {
            true => socket.next().await,
            false if size >= LINE => return Said::Messages(messages),
            // What is here already goes along.
            false => match socket.next().now_or_never() {
                Some(next) => next,
                None => return Said::Messages(messages),
            },
        };
        let closed = match next {
            Some(Ok(message)) => match (message.as_text(), message.as_close()) {
                (Some(text), _) => {
                    size += text.len();
                    messages.push(text.to_owned());
                    continue;
                }
                (None, Some((code, reason))) => Said::Closed(code.into(), reason.to_owned()),
                // Pings are answered below.
                (None, None) => continue,
            },
            Some(Err(_)) | None => Said::Closed(1006, "The connection was lost".to_owned()),
        };
        if messages.is_empty() {
            return closed;
        }
        *last = Some(closed);
        return Said::Messages(messages);
    }
}

/// When who listens has gone.
async fn closed(listener: Option<&Listener>) {
    match listener {
        Some(listener) => listener.lines.closed().await,
        None => pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
