//! A session with all servers concerned: it ends when one of them is lost.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, PushInfo, PushKind, Value};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{MissedTickBehavior, interval};

use super::servers::{Map, Servers, connect, said};
use crate::Event;
use crate::keeper::{self, Place, next_batch};
use crate::line::{Command, Message, News};

/// Subjects named in one command.
const NAMES: usize = 500;

/// Commands for one subject each that are under way at once.
const AT_ONCE: usize = 256;

/// Time between two questions whether a server is still there.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) struct Session {
    map: Map,
    links: Vec<Link>,
    broken: UnboundedReceiver<Breach>,
}

/// The connections to one server.
struct Link {
    listens: MultiplexedConnection,
    publishes: MultiplexedConnection,
}

type Work = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Place for Servers {
    type Session = Session;

    async fn open(&self, news: &News) -> Result<Session, String> {
        let map = self.find().await?;
        let (breaks, broken) = mpsc::unbounded_channel();
        let mut links = Vec::new();
        for server in &map.servers {
            let hears = Hears { news: news.clone(), breaks: breaks.clone() };
            let config = AsyncConnectionConfig::new().set_push_sender(move |push| hears.push(push));
            let listens = connect(server, config).await?;
            let publishes = connect(server, AsyncConnectionConfig::new()).await?;
            links.push(Link { listens, publishes });
        }
        Ok(Session { map, links, broken })
    }
}

impl keeper::Session for Session {
    async fn listen(&mut self, subjects: Vec<Arc<str>>) -> Result<(), String> {
        let work = self.subscriptions(&subjects, true);
        let mut under_way = futures_util::stream::iter(work).buffer_unordered(AT_ONCE);
        while let Some(done) = under_way.next().await {
            done?;
        }
        Ok(())
    }

    async fn run(
        mut self,
        commands: &mut UnboundedReceiver<Command>,
        wanted: &mut HashSet<Arc<str>>,
    ) -> String {
        let mut under_way: FuturesUnordered<Work> = FuturesUnordered::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = next_batch(commands) => {
                    for work in self.work(batch, wanted) {
                        let work = begin(work).await;
                        under_way.push(work);
                    }
                }
                Some(done) = under_way.next() => {
                    if let Err(reason) = done {
                        return reason;
                    }
                }
                Some(breach) = self.broken.recv() => match breach {
                    Breach::Lost(reason) => return reason,
                    Breach::Ended(subject) if wanted.contains(&*subject) => {
                        return "a slot of the cluster has moved".to_owned();
                    }
                    Breach::Ended(_) => {}
                },
                _ = look.tick() => {
                    for work in self.looks() {
                        let work = begin(work).await;
                        under_way.push(work);
                    }
                }
            }
        }
    }
}

/// What a server says of its own accord that may end the session.
enum Breach {
    /// The connection is of no more use.
    Lost(String),
    /// A subject is listened to no longer. If it should be, its slot has moved.
    Ended(Arc<str>),
}

impl Session {
    /// What is to be done for these commands, in their order.
    fn work(&self, batch: Vec<Command>, wanted: &mut HashSet<Arc<str>>) -> Vec<Work> {
        let mut work = Vec::new();
        let mut messages: Vec<Vec<Message>> = self.links.iter().map(|_| Vec::new()).collect();
        let mut run: Vec<Arc<str>> = Vec::new();
        let mut subscribes = true;
        for command in batch {
            let (subject, subscribe) = match command {
                Command::Publish(message) => {
                    messages[self.map.of(&message.subject)].push(message);
                    continue;
                }
                Command::Subscribe(subject) => {
                    wanted.insert(subject.clone());
                    (subject, true)
                }
                Command::Unsubscribe(subject) => {
                    wanted.remove(&subject);
                    (subject, false)
                }
            };
            if subscribe != subscribes {
                work.extend(self.subscriptions(&std::mem::take(&mut run), subscribes));
                subscribes = subscribe;
            }
            run.push(subject);
        }
        work.extend(self.subscriptions(&run, subscribes));
        for (link, messages) in self.links.iter().zip(messages) {
            if !messages.is_empty() {
                let publishes = link.publishes.clone();
                let publishing = publish(publishes, messages, self.map.is_sharded);
                work.push(Box::pin(publishing));
            }
        }
        work
    }

    /// Begins to listen to these subjects, or ends it.
    fn subscriptions(&self, subjects: &[Arc<str>], subscribe: bool) -> Vec<Work> {
        if !self.map.is_sharded {
            let command = |names: &[Arc<str>]| -> Work {
                let mut connection = self.links[0].listens.clone();
                let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().into()).collect();
                Box::pin(async move {
                    let done = if subscribe {
                        connection.subscribe(names).await
                    } else {
                        connection.unsubscribe(names).await
                    };
                    done.map_err(said)
                })
            };
            return subjects.chunks(NAMES).map(command).collect();
        }
        let name = if subscribe { "SSUBSCRIBE" } else { "SUNSUBSCRIBE" };
        // Subjects of one command would have to be of one slot.
        let command = |subject: &Arc<str>| -> Work {
            let mut connection = self.links[self.map.of(subject)].listens.clone();
            let command = redis::cmd(name).arg(subject.as_bytes()).to_owned();
            Box::pin(async move { ask(&mut connection, &command).await.map(|_| ()) })
        };
        subjects.iter().map(command).collect()
    }

    /// Asks each server whether it is there, and what it is: one that is no master any more is not heard.
    fn looks(&self) -> Vec<Work> {
        let connections = self.links.iter().flat_map(|link| [&link.listens, &link.publishes]);
        connections
            .map(|connection| -> Work {
                let mut connection = connection.clone();
                Box::pin(async move {
                    match ask(&mut connection, &redis::cmd("ROLE")).await? {
                        Value::Array(role) if !is_master(&role) => {
                            Err("the server is no master any more".to_owned())
                        }
                        _ => Ok(()),
                    }
                })
            })
            .collect()
    }
}

/// Sends what `work` has to send, before anything that is begun later does. What is left of it.
async fn begin(mut work: Work) -> Work {
    match poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
        Poll::Ready(result) => Box::pin(std::future::ready(result)),
        Poll::Pending => work,
    }
}

async fn publish(
    mut connection: MultiplexedConnection,
    messages: Vec<Message>,
    is_sharded: bool,
) -> Result<(), String> {
    let name = if is_sharded { "SPUBLISH" } else { "PUBLISH" };
    let mut pipeline = Pipeline::with_capacity(messages.len());
    for message in &messages {
        pipeline.cmd(name).arg(message.subject.as_bytes()).arg(&message.bytes[..]);
    }
    let answers = connection.send_packed_commands(&pipeline, 0, messages.len()).await;
    let mut moved = None;
    for (message, answer) in messages.into_iter().zip(answers.map_err(said)?) {
        match answer {
            Value::Int(receivers) => message.taken(u32::try_from(receivers).ok()),
            // The message is dropped, and so told to be lost.
            Value::ServerError(error) => moved = Some(error.to_string()),
            _ => {}
        }
    }
    moved.map_or(Ok(()), Err)
}

/// The answer to a command. A refusal too is a sign of life.
async fn ask(connection: &mut MultiplexedConnection, command: &Cmd) -> Result<Value, String> {
    match connection.send_packed_command(command).await {
        Ok(Value::ServerError(error)) if error.code() == "MOVED" => Err(error.to_string()),
        Ok(answer) => Ok(answer),
        Err(error) if error.is_io_error() || error.is_unrecoverable_error() => Err(said(error)),
        Err(error) if error.is_timeout() || error.code() == Some("MOVED") => Err(said(error)),
        Err(_) => Ok(Value::Nil),
    }
}

fn is_master(role: &[Value]) -> bool {
    match role.first() {
        Some(Value::BulkString(role)) => role == b"master",
        Some(Value::SimpleString(role)) => role == "master",
        _ => true,
    }
}

/// Takes what a server says of its own accord.
struct Hears {
    news: News,
    breaks: UnboundedSender<Breach>,
}

impl Hears {
    fn push(&self, push: PushInfo) -> Result<(), ()> {
        let mut data = push.data.into_iter();
        let mut text = || match data.next() {
            Some(Value::BulkString(bytes)) => Some(bytes),
            _ => None,
        };
        let reason = match push.kind {
            PushKind::Message | PushKind::SMessage => {
                let (Some(subject), Some(message)) = (text(), text()) else { return Ok(()) };
                let subject: Arc<str> = String::from_utf8_lossy(&subject).into();
                if self.news.message(subject, message.into()) {
                    return Ok(());
                }
                "messages come faster than they are taken".to_owned()
            }
            PushKind::Subscribe | PushKind::SSubscribe => {
                if let Some(subject) = text() {
                    // Redis counts who gets a message, which says more.
                    let subject = String::from_utf8_lossy(&subject).into();
                    self.news.tell(Event::Subscribed { subject, is_first: false });
                }
                return Ok(());
            }
            PushKind::SUnsubscribe => {
                let subject = text().map(|subject| String::from_utf8_lossy(&subject).into());
                let _ = subject.map(|subject| self.breaks.send(Breach::Ended(subject)));
                return Ok(());
            }
            PushKind::Disconnection => "the connection was closed".to_owned(),
            _ => return Ok(()),
        };
        // A session that has ended hears nothing more.
        let _ = self.breaks.send(Breach::Lost(reason));
        Ok(())
    }
}
