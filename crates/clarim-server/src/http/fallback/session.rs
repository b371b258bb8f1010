//! One session: a WebSocket on one side, the requests of a page on the other.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use clarim_protocol::client::{self, ClientFrame};
use futures_util::stream::SplitStream;
use futures_util::{FutureExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_websockets::{ClientBuilder, Limits, Payload, WebSocketStream};

use super::order::Order;
use super::outgoing::Outgoing;
use super::request::{Listener, PageRequest, Transport};
use super::sessions::SessionPlace;

/// Time without a listening request after which a page is considered gone.
const GONE: Duration = Duration::from_secs(5);

/// Maximum time between two lines to a page. pusher-js waits for two minutes.
const HEARTBEAT: Duration = Duration::from_secs(25);

/// Timeout for the new stream.
const TAKEOVER: Duration = Duration::from_secs(5);

/// The message to which every client replies with `pusher:pong`.
const PING: &str = r#"{"event":"pusher:ping","data":{}}"#;

/// Size above which a line gets no more messages.
const LINE: usize = 64 << 10;

/// Messages of the server, its request to acknowledge what was before, or its close frame.
enum ServerOutput {
    Messages(Vec<String>),
    Ask(Payload),
    Closed(u16, String),
}

/// A request of the server to acknowledge what was sent before it.
struct Asked {
    payload: Payload,
    /// Number of the page's replies to `pusher:ping` until then.
    pongs: usize,
}

/// A session of a page.
pub(super) struct Session {
    socket: SplitStream<WebSocketStream<DuplexStream>>,
    outgoing: Outgoing,
    requests: mpsc::Receiver<PageRequest>,
    listener: Option<Listener>,
    order: Order,
    /// Time of the next heartbeat if the page listens, or else the time when it is considered gone.
    due: Instant,
    /// What the server has sent behind messages, and is still to be delivered.
    last: Option<ServerOutput>,
    /// Number of `pusher:ping` without a reply.
    unanswered: usize,
    asked: Option<Asked>,
    place: SessionPlace,
}

impl Session {
    pub(super) fn new(
        socket: DuplexStream,
        requests: mpsc::Receiver<PageRequest>,
        place: SessionPlace,
    ) -> Self {
        // The other end is this server, which has its own limits.
        let socket = ClientBuilder::new().limits(Limits::unlimited()).take_over(socket);
        let (outgoing, socket) = socket.split();
        Self {
            socket,
            outgoing: Outgoing::new(outgoing),
            requests,
            listener: None,
            order: Order::default(),
            due: Instant::now() + GONE,
            last: None,
            unanswered: 0,
            asked: None,
            place,
        }
    }

    /// Runs until the page or the server ends the session.
    pub(super) async fn run(mut self, first: PageRequest) {
        if let PageRequest::Listen { listener, .. } = &first {
            // The channel has room for the first line.
            let _ = listener.lines.try_send(Bytes::from_static(b"o\n"));
        }
        let is_polling = first.is_polling();
        if self.handle(first).is_err() {
            return;
        }
        if is_polling {
            self.hang_up();
        }
        while self.step().await.is_ok() {}
        // Dropping this end of the socket ends the connection in the engine.
    }

    /// Handles the next event. An error ends the session.
    async fn step(&mut self) -> Result<(), ()> {
        let due = self.due;
        let late = self.order.due();
        tokio::select! {
            request = self.requests.recv() => self.handle(request.ok_or(())?),
            sent = self.outgoing.run() => sent.map_err(drop),
            output = next_output(self.listener.as_ref(), &mut self.last, &mut self.socket) => {
                self.deliver(output)
            }
            () = closed(self.listener.as_ref()) => {
                self.hang_up();
                Ok(())
            }
            () = at(late) => {
                let messages = self.order.give_up();
                self.send(messages)
            }
            () = sleep_until(due) => self.heartbeat(),
        }
    }

    fn handle(&mut self, request: PageRequest) -> Result<(), ()> {
        match request {
            PageRequest::Listen { n, listener } => {
                self.listener = Some(listener);
                self.place.set_listening(true);
                self.due = Instant::now() + HEARTBEAT;
                let messages = self.order.take(n, Vec::new());
                self.send(messages)
            }
            PageRequest::Send { n, messages, share } => {
                if messages.is_empty() {
                    // A heartbeat of the page. On a stream it answers one of ours.
                    self.outgoing.ping();
                    if self.listener.as_ref().is_some_and(|it| it.transport == Transport::Polling) {
                        self.heartbeat()?;
                    }
                }
                let messages = self.order.take(n, messages);
                self.send(messages)?;
                self.outgoing.keep(share);
                Ok(())
            }
        }
    }

    /// Sends messages to the engine. Fails if the page sends far more than it reads.
    fn send(&mut self, messages: Vec<String>) -> Result<(), ()> {
        for message in messages {
            match self.acknowledgement(&message) {
                Some(payload) => self.outgoing.pong(payload),
                None => self.outgoing.text(message),
            }
        }
        if self.outgoing.is_full() { Err(()) } else { Ok(()) }
    }

    /// Takes a message of the page. If it is the reply to the `pusher:ping` behind everything that the server
    /// has asked about, returns what acknowledges that.
    fn acknowledgement(&mut self, message: &str) -> Option<Payload> {
        let is_pong = message.contains("pusher:pong")
            && matches!(client::decode(message), Ok(ClientFrame::Pong));
        if !is_pong {
            return None;
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        let asked = self.asked.as_mut()?;
        asked.pongs = asked.pongs.saturating_sub(1);
        self.asked.take_if(|asked| asked.pongs == 0).map(|asked| asked.payload)
    }

    /// Makes the page acknowledge what was sent so far. The WebSocket on this side would do so before the
    /// page has it.
    fn ask(&mut self, payload: Payload) -> Result<(), ()> {
        let listener = self.listener.as_ref().ok_or(())?;
        match listener.transport {
            // The page polls again because it has got the last response.
            Transport::Polling => self.outgoing.pong(payload),
            Transport::Streaming => {
                self.write_messages(&[PING.to_owned()])?;
                self.asked = Some(Asked { payload, pongs: self.unanswered });
            }
        }
        Ok(())
    }

    /// Sends a heartbeat. Fails if the page does not listen, or does not read.
    fn heartbeat(&mut self) -> Result<(), ()> {
        let listener = self.listener.as_mut().ok_or(())?;
        listener.written = 0;
        self.write(Bytes::from_static(b"h\n"))
    }

    fn deliver(&mut self, output: ServerOutput) -> Result<(), ()> {
        match output {
            ServerOutput::Messages(messages) => self.write_messages(&messages),
            ServerOutput::Ask(payload) => self.ask(payload),
            ServerOutput::Closed(code, reason) => {
                let closed = serde_json::json!([code, reason]);
                self.write(format!("c{closed}\n").into())?;
                Err(())
            }
        }
    }

    fn write_messages(&mut self, messages: &[String]) -> Result<(), ()> {
        self.unanswered += messages.iter().filter(|message| *message == PING).count();
        let line = serde_json::to_string(messages).map_err(drop)?;
        self.write(format!("a{line}\n").into())
    }

    /// Writes a line to the listening request.
    fn write(&mut self, line: Bytes) -> Result<(), ()> {
        let listener = self.listener.as_mut().ok_or(())?;
        let text = str::from_utf8(&line).map_err(drop)?;
        listener.written += text.encode_utf16().count();
        listener.lines.try_send(line).map_err(drop)?;
        let is_full = listener.is_full();
        let transport = listener.transport;
        self.due = Instant::now() + if is_full { TAKEOVER } else { HEARTBEAT };
        if transport == Transport::Polling {
            self.hang_up();
        }
        Ok(())
    }

    /// Ends the listening request.
    fn hang_up(&mut self) {
        self.listener = None;
        self.place.set_listening(false);
        self.due = Instant::now() + GONE;
    }
}

/// Returns the server's next output once the page listens and has room. Cancel safe.
async fn next_output(
    listener: Option<&Listener>,
    last: &mut Option<ServerOutput>,
    socket: &mut SplitStream<WebSocketStream<DuplexStream>>,
) -> ServerOutput {
    match listener {
        Some(listener) if !listener.is_full() => {
            // The permit is given back: only this session takes the next one.
            let _ = listener.lines.reserve().await;
        }
        _ => pending().await,
    }
    if let Some(output) = last.take() {
        return output;
    }
    let mut messages = Vec::new();
    let mut size = 0;
    loop {
        let next = match messages.is_empty() {
            true => socket.next().await,
            false if size >= LINE => return ServerOutput::Messages(messages),
            // Add the messages that are here already.
            false => match socket.next().now_or_never() {
                Some(next) => next,
                None => return ServerOutput::Messages(messages),
            },
        };
        let end = match next {
            // Nothing but a request to acknowledge is binary.
            Some(Ok(message)) if message.is_binary() => ServerOutput::Ask(message.into_payload()),
            Some(Ok(message)) => match (message.as_text(), message.as_close()) {
                (Some(text), _) => {
                    size += text.len();
                    messages.push(text.to_owned());
                    continue;
                }
                (None, Some((code, reason))) => {
                    ServerOutput::Closed(code.into(), reason.to_owned())
                }
                // The socket answers pings itself.
                (None, None) => continue,
            },
            Some(Err(_)) | None => ServerOutput::Closed(1006, "The connection was lost".to_owned()),
        };
        if messages.is_empty() {
            return end;
        }
        *last = Some(end);
        return ServerOutput::Messages(messages);
    }
}

/// Returns once the listening request is gone.
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
