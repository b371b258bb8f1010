//! NATS, its core alone: what nobody listens to is gone.
//!
//! NATS answers nothing to a publish or a subscription. So this connection has subjects of its own, and
//! sends a number there behind what it has sent: when it comes back, the server has taken all before it.
//!
//! Nor does it count who gets a message; but it says of a question that nobody listens. So each subscription
//! follows a question that nobody answers, and whoever gets one drops it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event as NatsEvent, ServerAddr, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::Event;
use crate::keeper::{self, Place, next_batch};
use crate::line::{Command, Message, News};

/// What a token of a subject may hold as it is.
const TOKEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// An answer that takes longer will not come: the server is frozen, or the way to it is cut.
const PATIENCE: Duration = Duration::from_secs(3);

/// Time between two questions whether the server is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Messages of one subject that may wait here.
const CAPACITY: usize = 64 << 10;

/// Where NATS is, and how to get in.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) addresses: Vec<ServerAddr>,
    pub(crate) login: Login,
    pub(crate) is_tls: bool,
}

/// How to get in.
#[derive(Clone)]
pub(crate) enum Login {
    Nothing,
    Password(String, String),
    Token(String),
    /// The file with a user's JWT and key.
    Credentials(String),
}

impl Place for Servers {
    type Session = Session;

    async fn open(&self, news: &News) -> Result<Session, String> {
        let (events, happens) = unbounded_channel();
        let options = match &self.login {
            Login::Nothing => ConnectOptions::new(),
            Login::Password(user, password) => {
                ConnectOptions::with_user_and_password(user.clone(), password.clone())
            }
            Login::Token(token) => ConnectOptions::with_token(token.clone()),
            Login::Credentials(text) => ConnectOptions::with_credentials(text)
                .map_err(|error| format!("the credentials can't be read: {error}"))?,
        };
        let options = options
            .require_tls(self.is_tls)
            .name("clarim")
            .connection_timeout(PATIENCE)
            .ping_interval(LOOK)
            .subscription_capacity(CAPACITY)
            .event_callback(move |event| {
                // A session that has ended wants to hear nothing.
                let _ = events.send(event);
                ready(())
            });
        let client = options.connect(&self.addresses).await.map_err(|error| error.to_string())?;
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.map_err(|e| e.to_string())?;
        Ok(Session {
            client,
            inbox,
            answers,
            next_mark: 0,
            next_question: 0,
            unheard: HashSet::new(),
            waiting: VecDeque::new(),
            streams: SelectAll::new(),
            listened: HashMap::new(),
            happens,
            news: news.clone(),
        })
    }
}

pub(crate) struct Session {
    client: Client,
    /// What the connection's own subjects begin with, and what comes on them.
    inbox: String,
    answers: Subscriber,
    next_mark: u64,
    next_question: u64,
    /// Questions that nobody has heard.
    unheard: HashSet<u64>,
    /// What the server has not confirmed yet.
    waiting: VecDeque<Waiting>,
    streams: SelectAll<BoxStream<'static, (Arc<str>, Bytes)>>,
    listened: HashMap<Arc<str>, AbortHandle>,
    happens: UnboundedReceiver<NatsEvent>,
    news: News,
}

/// What is confirmed when a mark comes back.
struct Waiting {
    mark: u64,
    since: Instant,
    messages: Vec<Message>,
    /// With the question that went before it.
    subscribed: Vec<(Arc<str>, u64)>,
}

impl keeper::Session for Session {
    async fn listen(&mut self, subjects: Vec<Arc<str>>) -> Result<(), String> {
        for subject in &subjects {
            self.subscribe(subject).await?;
        }
        // Who was first is not asked again.
        let subscribed = subjects.into_iter().map(|subject| (subject, 0)).collect();
        self.mark(Vec::new(), subscribed).await?;
        while !self.waiting.is_empty() {
            let answer = timeout(PATIENCE, self.answers.next()).await;
            self.answered(&answer.ok().flatten().ok_or("the server does not answer")?);
        }
        Ok(())
    }

    async fn run(
        mut self,
        commands: &mut UnboundedReceiver<Command>,
        wanted: &mut HashSet<Arc<str>>,
    ) -> String {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                batch = next_batch(commands) => {
                    match timeout(PATIENCE, self.work(batch, wanted)).await {
                        Ok(done) => done,
                        Err(_) => Err("the server takes nothing".to_owned()),
                    }
                }
                Some((subject, message)) = self.streams.next(), if !self.streams.is_empty() => {
                    match self.news.message(subject, message) {
                        true => Ok(()),
                        false => Err("messages come faster than they are taken".to_owned()),
                    }
                }
                answer = self.answers.next() => match answer {
                    Some(answer) => {
                        self.answered(&answer);
                        Ok(())
                    }
                    None => Err("the connection was closed".to_owned()),
                },
                Some(event) = self.happens.recv() => match event {
                    NatsEvent::Connected | NatsEvent::LameDuckMode => Ok(()),
                    event => Err(event.to_string()),
                },
                _ = look.tick() => self.look().await,
            };
            if let Err(reason) = done {
                return reason;
            }
        }
    }
}

impl Session {
    async fn work(
        &mut self,
        batch: Vec<Command>,
        wanted: &mut HashSet<Arc<str>>,
    ) -> Result<(), String> {
        let (mut messages, mut subscribed) = (Vec::new(), Vec::new());
        for command in batch {
            match command {
                Command::Subscribe(subject) => {
                    let question = self.ask_who_listens(&subject).await?;
                    self.subscribe(&subject).await?;
                    wanted.insert(subject.clone());
                    subscribed.push((subject, question));
                }
                Command::Unsubscribe(subject) => {
                    wanted.remove(&subject);
                    if let Some(stream) = self.listened.remove(&subject) {
                        // The stream ends, and with it the subscription.
                        stream.abort();
                    }
                }
                Command::Publish(message) => {
                    let (subject, bytes) = (encode(&message.subject), message.bytes.clone());
                    // One that is refused, as too long, is dropped, and so told to be lost.
                    if self.client.publish(subject, bytes).await.is_ok() {
                        messages.push(message);
                    }
                }
            }
        }
        self.mark(messages, subscribed).await
    }

    /// The number of the question. That nobody has heard it is known before a later mark comes back.
    async fn ask_who_listens(&mut self, subject: &str) -> Result<u64, String> {
        self.next_question += 1;
        let reply = format!("{}.{}", self.inbox, self.next_question);
        let asked = self.client.publish_with_reply(encode(subject), reply, Bytes::new()).await;
        asked.map_err(|error| error.to_string())?;
        Ok(self.next_question)
    }

    async fn subscribe(&mut self, subject: &Arc<str>) -> Result<(), String> {
        if self.listened.contains_key(subject) {
            return Ok(());
        }
        let stream = self.client.subscribe(encode(subject)).await.map_err(|e| e.to_string())?;
        let (handle, registration) = AbortHandle::new_pair();
        let name = subject.clone();
        let stream = stream.filter_map(move |message| {
            let is_question = message.reply.is_some();
            ready((!is_question).then(|| (name.clone(), message.payload)))
        });
        self.streams.push(Abortable::new(stream, registration).boxed());
        self.listened.insert(subject.clone(), handle);
        Ok(())
    }

    /// Asks the server to say when it has taken all that was sent so far.
    async fn mark(
        &mut self,
        messages: Vec<Message>,
        subscribed: Vec<(Arc<str>, u64)>,
    ) -> Result<(), String> {
        self.next_mark += 1;
        let mark = self.next_mark;
        self.waiting.push_back(Waiting { mark, since: Instant::now(), messages, subscribed });
        let bytes = Bytes::copy_from_slice(&mark.to_le_bytes());
        let inbox = format!("{}.mark", self.inbox);
        self.client.publish(inbox, bytes).await.map_err(|error| error.to_string())
    }

    /// Takes a mark that has come back, or that nobody has heard a question.
    fn answered(&mut self, answer: &async_nats::Message) {
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            let question = answer.subject.rsplit('.').next().and_then(|n| n.parse::<u64>().ok());
            self.unheard.extend(question);
        } else {
            self.confirmed(&answer.payload);
        }
    }

    fn confirmed(&mut self, mark: &[u8]) {
        let mark = mark.try_into().map_or(0, u64::from_le_bytes);
        while let Some(done) = self.waiting.pop_front_if(|waiting| waiting.mark <= mark) {
            for message in done.messages {
                message.taken(None);
            }
            for (subject, question) in done.subscribed {
                let is_first = self.unheard.remove(&question);
                self.news.tell(Event::Subscribed { subject, is_first });
            }
        }
    }

    /// Whether the server is still there.
    async fn look(&mut self) -> Result<(), String> {
        match self.waiting.front() {
            Some(waiting) if waiting.since.elapsed() > PATIENCE => {
                Err("the server does not answer".to_owned())
            }
            Some(_) => Ok(()),
            None => self.mark(Vec::new(), Vec::new()).await,
        }
    }
}

/// A subject of ours as one token of theirs, where spaces and dots mean something.
fn encode(subject: &str) -> String {
    utf8_percent_encode(subject, TOKEN).to_string()
}
