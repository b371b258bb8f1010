//! A broadcast between being begun and being awaited.

use std::any::Any;

use serde::Serialize;
use serde_json::Value;

use crate::handle::{Clarim, Inner, Payload};
use crate::publisher::{BoxFuture, MAX_CHANNELS, Notice, Publication, Sent};
use crate::queue::Job;
use crate::{Broadcast, Channel, Delivery, Error, EventName, SocketId};

/// What is said about one broadcast, and not about its type.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    except: Option<SocketId>,
    now: Option<bool>,
    rescue: bool,
}

/// A broadcast that happens when it is awaited.
#[must_use = "nothing is broadcast before this is awaited"]
#[derive(Debug)]
pub struct PendingBroadcast<E> {
    clarim: Clarim,
    event: E,
    options: Options,
}

macro_rules! options {
    () => {
        /// Leaves out the connection that caused it: the one of the request's [`SocketId`]. `None` leaves
        /// out nobody.
        pub fn to_others(mut self, socket: impl Into<Option<SocketId>>) -> Self {
            self.options.except = socket.into();
            self
        }

        /// Past the queue: when this returns, the server has it.
        pub fn now(mut self) -> Self {
            self.options.now = Some(true);
            self
        }

        /// Through the queue, also where the event's type says otherwise.
        pub fn queued(mut self) -> Self {
            self.options.now = Some(false);
            self
        }

        /// Logs an error instead of returning it: for requests that shall not fail with the broadcast.
        pub fn rescue(mut self) -> Self {
            self.options.rescue = true;
            self
        }
    };
}

impl<E: Broadcast + Send + 'static> PendingBroadcast<E> {
    pub(crate) fn new(clarim: Clarim, event: E) -> Self {
        Self { clarim, event, options: Options::default() }
    }

    options!();
}

impl<E: Broadcast + Send + 'static> IntoFuture for PendingBroadcast<E> {
    type Output = Result<(), Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { clarim, event, options } = self;
        Box::pin(async move {
            if !event.broadcast_when() {
                return Ok(());
            }
            let outgoing = Outgoing {
                channels: event.broadcast_on(),
                name: event.broadcast_as(),
                data: event.broadcast_with(),
                delivery: event.delivery(),
                options,
                notice: None,
            };
            outgoing.send(&clarim.inner, || Some(Box::new(event))).await
        })
    }
}

/// An event without a type; see [`Clarim::on`].
#[must_use = "nothing is broadcast before `send` is awaited"]
#[derive(Debug)]
pub struct Anonymous {
    clarim: Clarim,
    channels: Vec<Channel>,
    name: EventName,
    data: Payload,
    delivery: Delivery,
    options: Options,
}

impl Anonymous {
    pub(crate) fn new(clarim: Clarim, channel: Channel) -> Self {
        Self {
            clarim,
            channels: vec![channel],
            name: "AnonymousEvent".into(),
            data: Ok(Value::Null),
            delivery: Delivery::default(),
            options: Options::default(),
        }
    }

    /// On this channel too.
    pub fn and(mut self, channel: impl Into<Channel>) -> Self {
        self.channels.push(channel.into());
        self
    }

    /// The event's name; without it `AnonymousEvent`.
    pub fn name(mut self, name: impl Into<EventName>) -> Self {
        self.name = name.into();
        self
    }

    /// The payload; without it `null`.
    pub fn with(mut self, payload: impl Serialize) -> Self {
        self.data = serde_json::to_value(payload);
        self
    }

    /// How it is delivered.
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    options!();

    /// Broadcasts it.
    ///
    /// # Errors
    /// When it can't be sent, or the queue doesn't take it.
    pub async fn send(self) -> Result<(), Error> {
        let Self { clarim, channels, name, data, delivery, options } = self;
        let outgoing = Outgoing { channels, name, data, delivery, options, notice: None };
        outgoing.send(&clarim.inner, || None).await
    }
}

/// Everything that is known of a broadcast.
pub(crate) struct Outgoing {
    pub(crate) channels: Vec<Channel>,
    pub(crate) name: EventName,
    pub(crate) data: Payload,
    pub(crate) delivery: Delivery,
    pub(crate) options: Options,
    /// What goes through the queue with it, and is done before it.
    pub(crate) notice: Option<Notice>,
}

impl Outgoing {
    pub(crate) async fn send(
        self,
        to: &Inner,
        event: impl FnOnce() -> Option<Box<dyn Any + Send>>,
    ) -> Result<(), Error> {
        if self.channels.is_empty() {
            return Ok(());
        }
        let rescue = self.options.rescue;
        let name = self.name.full(&to.settings.namespace);
        match self.deliver(to, &name, event).await {
            Err(error) if rescue => {
                tracing::error!(event = name, %error, "broadcast failed");
                Ok(())
            }
            result => result,
        }
    }

    async fn deliver(
        self,
        to: &Inner,
        name: &str,
        event: impl FnOnce() -> Option<Box<dyn Any + Send>>,
    ) -> Result<(), Error> {
        let Self { channels, data, delivery, options, notice, .. } = self;
        let cannot = |cause| Error::Payload { event: name.to_owned(), cause };
        let data = data.map_err(cannot)?;
        let except = options.except.map(|SocketId(id)| id);
        let publications = to.publications(&channels, name, &data.to_string(), except)?;
        let now = options.now.unwrap_or(delivery.now);
        let mut job = Job { notice, ..Job::new(name.to_owned(), publications, delivery) };
        if let Some(fake) = &to.fake {
            let queue = (!now).then(|| job.queue().to_owned());
            fake.record(Sent { name: name.to_owned(), channels, data, except, queue }, event());
            Ok(())
        } else if now {
            job.attempt(&*to.publisher).await
        } else {
            to.queue.push(job).await
        }
    }
}

impl Inner {
    /// What is sent of an event: its open channels in parts of a hundred, its encrypted ones one by one,
    /// for each is encrypted with a key of its own.
    fn publications(
        &self,
        channels: &[Channel],
        name: &str,
        data: &str,
        socket_id: Option<clarim_protocol::SocketId>,
    ) -> Result<Vec<Publication>, Error> {
        let (mut open, mut encrypted) = (Vec::new(), Vec::new());
        for channel in channels {
            let is_encrypted = channel.parse()?.kind().is_encrypted();
            let names = if is_encrypted { &mut encrypted } else { &mut open };
            let name = channel.as_str().to_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let publication = |channels: Vec<String>, data: String| {
            let limit = self.settings.max_data_bytes;
            if data.len() > limit {
                let (event, bytes) = (name.to_owned(), data.len());
                return Err(Error::TooLarge { event, bytes, limit });
            }
            Ok(Publication { channels, name: name.to_owned(), data, socket_id })
        };
        let mut publications = Vec::new();
        for part in open.chunks(MAX_CHANNELS) {
            publications.push(publication(part.to_vec(), data.to_owned())?);
        }
        for channel in encrypted {
            let Some(key) = &self.settings.master_key else {
                return Err(Error::NoEncryptionKey { channel });
            };
            let data = key.encrypt(&channel, data)?;
            publications.push(publication(vec![channel], data)?);
        }
        Ok(publications)
    }
}
