//! The task of a client: executes the effects of the state machine, and passes inputs to it.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use clarim_protocol::{ChannelKind, ChannelName};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_websockets::{ClientBuilder, Limits, MaybeTlsStream, Message, WebSocketStream};

use crate::authorizer::{BoxFuture, UserAuthorization};
use crate::error::Error;
use crate::machine::{Effect, Input, Machine};
use crate::options::Options;
use crate::shared::{Command, Shared, Status};
use crate::state::State;
use crate::topic::{Event, Topic};
use crate::wire::{Greeting, Refusal, Signature, Subscription, SubscriptionError, Wire, text};

mod authorizing;
mod encryption;

use authorizing::{Answer, Authorized, ask_for_channel, ask_for_user};
use encryption::{open, secret};

type Socket = Box<WebSocketStream<MaybeTlsStream<TcpStream>>>;

/// Timeout for sending a message, and for closing the connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Driver {
    options: Options,
    url: hyper::Uri,
    shared: Arc<Shared>,
    status: watch::Sender<Status>,
    machine: Machine,
    started: Instant,
    socket: Option<Socket>,
    dialing: Option<BoxFuture<'static, Result<Socket, tokio_websockets::Error>>>,
    authorizing: FuturesUnordered<BoxFuture<'static, Authorized>>,
    /// Keys of encrypted channels, by channel.
    secrets: HashMap<String, [u8; 32]>,
    signs_in: bool,
    /// Whether the current connection is signed in.
    is_signed_in: bool,
    /// Whether the server's answer to a sign-in is outstanding.
    is_signing_in: bool,
    /// The last error of the server.
    refusal: Option<Refusal>,
}

/// An event that wakes the driver.
enum Wake {
    Command(Option<Command>),
    Dialed(Result<Socket, tokio_websockets::Error>),
    Message(Option<Result<Message, tokio_websockets::Error>>),
    Authorized(Authorized),
    DeadlinePassed,
}

impl Driver {
    pub(crate) fn new(
        options: Options,
        url: hyper::Uri,
        shared: Arc<Shared>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            machine: Machine::new(options.timing.clone(), fastrand::u64(..)),
            options,
            url,
            shared,
            status,
            started: Instant::now(),
            socket: None,
            dialing: None,
            authorizing: FuturesUnordered::new(),
            secrets: HashMap::new(),
            signs_in: false,
            is_signed_in: false,
            is_signing_in: false,
            refusal: None,
        }
    }

    /// Runs until the client is dropped.
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let wake = tokio::select! {
                command = commands.recv() => Wake::Command(command),
                dialed = some(self.dialing.as_mut()) => Wake::Dialed(dialed),
                message = next(self.socket.as_mut()) => Wake::Message(message),
                Some(authorized) = self.authorizing.next() => Wake::Authorized(authorized),
                () = at(self.machine.deadline().map(|due| self.started + due)) => Wake::DeadlinePassed,
            };
            match wake {
                Wake::Command(None) => return self.hang_up().await,
                Wake::Command(Some(command)) => self.command(command).await,
                Wake::Dialed(dialed) => self.dialed(dialed).await,
                Wake::Message(message) => self.message(message).await,
                Wake::Authorized(authorized) => self.authorized(authorized).await,
                Wake::DeadlinePassed => self.take(Input::DeadlinePassed).await,
            }
        }
    }

    async fn take(&mut self, input: Input) {
        let is_late = input == Input::DeadlinePassed;
        let effects = self.machine.take(input, self.started.elapsed());
        for effect in effects {
            match effect {
                Effect::Dial => self.dialing = Some(dial(&self.url, &self.options)),
                Effect::HangUp => {
                    if is_late {
                        self.timed_out();
                    }
                    self.hang_up().await;
                }
                Effect::Ping => self.send(&json!({ "event": "pusher:ping", "data": {} })).await,
                Effect::Subscribe(channel) => self.subscribe(channel).await,
                Effect::Unsubscribe(channel) => {
                    self.secrets.remove(&channel);
                    let data = json!({ "channel": channel });
                    self.send(&json!({ "event": "pusher:unsubscribe", "data": data })).await;
                }
                Effect::Changed(state) => self.changed(state),
            }
        }
    }

    fn changed(&mut self, state: State) {
        tracing::debug!(%state, "connection");
        let refusal = self.refusal.take().map(|refusal| Error::Refused {
            code: refusal.code.unwrap_or_default(),
            message: refusal.message,
        });
        self.status.send_modify(|status| {
            status.state = state;
            if state != State::Connected {
                status.socket_id = None;
            }
            status.cause = match state {
                State::Failed => refusal,
                State::Connecting | State::Unavailable => status.cause.take(),
                _ => None,
            };
        });
        if state != State::Connected {
            self.authorizing.clear();
            self.is_signed_in = false;
            self.is_signing_in = false;
            for topic in self.shared.all_topics() {
                topic.pending();
            }
        }
    }

    fn lost(&self, cause: Error) {
        self.status.send_modify(|status| status.cause = Some(cause));
    }

    fn cannot_connect(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Connect { url: self.url.to_string(), source: source.into().into() }
    }

    /// The server did not answer an attempt, or a ping.
    fn timed_out(&self) {
        self.lost(if self.socket_id().is_some() {
            Error::Lost { reason: "the server did not answer a ping".to_owned() }
        } else {
            self.cannot_connect("the server did not answer in time")
        });
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Connect => self.take(Input::Connect).await,
            Command::Disconnect => self.take(Input::Disconnect).await,
            Command::Want(channel) => self.take(Input::Want(channel)).await,
            Command::Unwant(channel) => self.take(Input::Unwant(channel)).await,
            Command::Send(text) => {
                self.shared.sent();
                self.send_text(text).await;
            }
            // The caller may have stopped waiting.
            Command::Flush(done) => drop(done.send(())),
            Command::Retry(channel) => {
                if self.shared.topic(&channel).is_some_and(|topic| topic.retry()) {
                    self.subscribe(channel).await;
                }
            }
            Command::SignIn => {
                self.signs_in = true;
                // The caller waits for the answer to this sign-in.
                self.status
                    .send_modify(|status| status.user = status.user.take().filter(Result::is_ok));
                self.sign_in(0);
            }
        }
    }

    async fn dialed(&mut self, dialed: Result<Socket, tokio_websockets::Error>) {
        self.dialing = None;
        match dialed {
            // It counts as a connection once the server has sent its greeting.
            Ok(socket) => self.socket = Some(socket),
            Err(error) => {
                tracing::debug!(%error, url = %self.url, "cannot connect");
                self.lost(self.cannot_connect(error));
                self.take(Input::Closed { code: None }).await;
            }
        }
    }

    async fn message(&mut self, message: Option<Result<Message, tokio_websockets::Error>>) {
        let (code, reason) = match message {
            Some(Ok(message)) if message.is_close() => {
                let close = message.as_close().map(|(code, reason)| (u16::from(code), reason));
                if let Some((code, reason)) = close {
                    let earlier = self.refusal.take().map(|refusal| refusal.message);
                    let message = earlier.unwrap_or_else(|| reason.to_owned());
                    let reason = format!("{message} (code {code})");
                    self.refusal = Some(Refusal { code: Some(code), message });
                    (Some(code), reason)
                } else {
                    (None, "the server closed it".to_owned())
                }
            }
            Some(Ok(message)) => {
                self.take(Input::Received).await;
                match message.as_text().map(Wire::parse) {
                    Some(Ok(wire)) => self.received(wire).await,
                    Some(Err(error)) => tracing::warn!(%error, "invalid message from the server"),
                    None => {}
                }
                return;
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "connection lost");
                (None, error.to_string())
            }
            None => (None, "the server closed it".to_owned()),
        };
        self.socket = None;
        self.lost(match self.socket_id() {
            Some(_) => Error::Lost { reason },
            None => self.cannot_connect(reason),
        });
        self.take(Input::Closed { code }).await;
    }

    async fn received(&mut self, wire: Wire) {
        let topic = wire.channel.as_deref().and_then(|channel| self.shared.topic(channel));
        match (wire.event.as_str(), topic) {
            ("pusher:connection_established", _) => self.greeted(&wire).await,
            ("pusher:ping", _) => self.send(&json!({ "event": "pusher:pong", "data": {} })).await,
            ("pusher:error", _) => {
                self.refusal = wire.read().ok();
                let refusal = self.refusal.as_ref();
                let (code, message) =
                    refusal.map_or((None, ""), |refusal| (refusal.code, &refusal.message));
                tracing::warn!(code, message, "error from the server");
                self.sign_in_refused();
            }
            ("pusher:signin_success", _) => self.signed_in(&wire).await,
            ("pusher_internal:subscription_succeeded", Some(topic)) => {
                topic.subscribed(wire.members(), wire.start(), self.socket_id());
            }
            ("clarim:gap", Some(topic)) => topic.gap(wire.gap(), self.socket_id()),
            ("pusher:subscription_error", Some(topic)) => {
                let SubscriptionError { error, status } = wire.read().unwrap_or_default();
                let reason = format!("{error} ({status})");
                topic.refused(Error::Subscription { channel: topic.name.clone(), reason });
            }
            ("pusher_internal:member_added", Some(topic)) => {
                if let Some(member) = wire.member() {
                    topic.joining(member);
                }
            }
            ("pusher_internal:member_removed", Some(topic)) => {
                if let Some(member) = wire.member() {
                    topic.leaving(&member.id);
                }
            }
            (_, Some(topic)) => {
                if wire.offset().is_some_and(|offset| !topic.is_new(offset)) {
                    return;
                }
                let Some(json) = self.decrypted(&topic.name, wire.data()) else { return };
                let user_id = wire.user_id.as_ref().map(text);
                let channel = topic.name.clone();
                topic.event(Event { channel, name: wire.event, user_id, json });
            }
            (_, None) => {}
        }
    }

    async fn greeted(&mut self, wire: &Wire) {
        let Ok(Greeting { socket_id, activity_timeout }) = wire.read() else {
            tracing::warn!("cannot read the server's greeting");
            return;
        };
        self.refusal = None;
        self.status.send_modify(|status| status.socket_id = Some(socket_id));
        let activity = activity_timeout.map_or(Duration::MAX, Duration::from_secs);
        self.take(Input::Established { activity }).await;
        if self.signs_in {
            self.sign_in(0);
        }
    }

    /// Takes an error without code, after which the connection stays open, as the answer to a sign-in. The
    /// protocol has no other.
    fn sign_in_refused(&mut self) {
        let Some(Refusal { code: None, message }) = &self.refusal else { return };
        if std::mem::take(&mut self.is_signing_in) {
            let error = Error::authorization("the user", message.clone());
            self.status.send_modify(|status| status.user = Some(Err(error)));
        }
    }

    async fn signed_in(&mut self, wire: &Wire) {
        #[derive(Deserialize)]
        struct Success {
            user_data: String,
        }
        let was_signed_in = std::mem::replace(&mut self.is_signed_in, true);
        self.is_signing_in = false;
        let id = wire.read().ok().and_then(|Success { user_data }| {
            let user: Value = serde_json::from_str(&user_data).ok()?;
            Some(text(user.get("id")?))
        });
        let channel = id.as_ref().map(|id| format!("{}{id}", ChannelKind::User.prefix()));
        let missing = || Error::authorization("the user", "the server's answer has no id");
        self.status.send_modify(|status| status.user = Some(id.ok_or_else(missing)));
        // After a reconnection it is wanted already, but the server refuses it before the sign-in.
        let channel = channel.filter(|_| !was_signed_in);
        if let Some(topic) = channel.and_then(|channel| self.shared.topic(&channel)) {
            self.send_subscription(&topic, None).await;
        }
    }

    /// Subscribes to a channel. If it needs a signature, the authorizer is called first.
    async fn subscribe(&mut self, channel: String) {
        let Some(topic) = self.shared.topic(&channel) else { return };
        // The server refuses invalid names.
        let name = ChannelName::parse(&channel, usize::MAX).ok();
        let is_of_user = name.as_ref().is_some_and(|name| name.kind() == ChannelKind::User);
        if name.is_some_and(|name| name.needs_auth()) {
            self.authorize(topic, 0);
        } else if !is_of_user || self.is_signed_in || !self.signs_in {
            self.send_subscription(&topic, None).await;
        }
    }

    async fn send_subscription(&mut self, topic: &Topic, authorization: Option<Signature>) {
        let channel = &topic.name;
        let data = Subscription { channel, authorization, since: topic.since() };
        self.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
    }

    fn socket_id(&self) -> Option<String> {
        self.status.borrow().socket_id.clone()
    }

    fn authorize(&self, topic: Arc<Topic>, failures: usize) {
        let Some(socket_id) = self.socket_id() else { return };
        self.authorizing.push(ask_for_channel(&self.options, socket_id, topic, failures));
    }

    fn sign_in(&self, failures: usize) {
        let Some(socket_id) = self.socket_id() else { return };
        self.authorizing.push(ask_for_user(&self.options, socket_id, failures));
    }

    async fn authorized(&mut self, Authorized { socket_id, failures, answer }: Authorized) {
        // A signature is valid for one connection only.
        if self.socket_id() != Some(socket_id) {
            return;
        }
        match answer {
            Answer::User(Ok(UserAuthorization { auth, user_data })) => {
                self.is_signing_in = true;
                let data = json!({ "auth": auth, "user_data": user_data });
                self.send(&json!({ "event": "pusher:signin", "data": data })).await;
            }
            Answer::User(Err(error)) => {
                if matches!(error, Error::Unavailable { .. }) {
                    self.sign_in(failures + 1);
                }
                self.status.send_modify(|status| status.user = Some(Err(error)));
            }
            Answer::Channel(topic, answer) => {
                let channel = &topic.name;
                // The channel may have been left in the meantime, and joined again, or a retry was faster.
                let is_wanted =
                    |wanted: Arc<Topic>| Arc::ptr_eq(&wanted, &topic) && !topic.is_subscribed();
                if !self.shared.topic(channel).is_some_and(is_wanted) {
                    return;
                }
                let key = answer.and_then(|answer| Ok((secret(channel, &answer)?, answer)));
                match key {
                    Ok((secret, authorization)) => {
                        self.secrets.extend(secret.map(|key| (channel.clone(), key)));
                        self.send_subscription(&topic, Some(authorization.into())).await;
                    }
                    Err(error) => {
                        tracing::warn!(channel, %error, "cannot subscribe");
                        if matches!(error, Error::Unavailable { .. }) {
                            self.authorize(topic.clone(), failures + 1);
                        }
                        topic.refused(error);
                    }
                }
            }
        }
    }

    /// Decrypts the data of an encrypted channel. Returns `None` if it can't be decrypted.
    fn decrypted(&self, channel: &str, data: String) -> Option<String> {
        let Some(key) = self.secrets.get(channel) else { return Some(data) };
        let opened = open(key, &data);
        if opened.is_none() {
            tracing::warn!(channel, "cannot decrypt an event");
        }
        opened
    }

    async fn send(&mut self, message: &Value) {
        self.send_text(message.to_string()).await;
    }

    async fn send_text(&mut self, text: String) {
        let Some(socket) = &mut self.socket else { return };
        let sent = timeout(SEND_TIMEOUT, socket.send(Message::text(text))).await;
        if !matches!(sent, Ok(Ok(()))) {
            // Reading from the socket will report the end of the connection.
            tracing::debug!("cannot send a message");
        }
    }

    async fn hang_up(&mut self) {
        self.dialing = None;
        if let Some(mut socket) = self.socket.take() {
            // A server that does not answer must not block the client.
            let _ = timeout(SEND_TIMEOUT, socket.close()).await;
        }
    }
}

fn dial(
    url: &hyper::Uri,
    options: &Options,
) -> BoxFuture<'static, Result<Socket, tokio_websockets::Error>> {
    let limits = Limits::default().max_payload_len(Some(options.max_message_bytes));
    let builder = ClientBuilder::from_uri(url.clone()).limits(limits);
    Box::pin(async move { Ok(Box::new(builder.connect().await?.0)) })
}

/// Waits for the future; without one, forever.
async fn some<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn next(socket: Option<&mut Socket>) -> Option<Result<Message, tokio_websockets::Error>> {
    match socket {
        Some(socket) => socket.next().await,
        None => pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
