//! Sending of events.

use std::any::Any;
use std::time::Duration;

use clarim_protocol::SocketId as RawSocketId;
use serde_json::Value;

use super::broadcaster::Broadcaster;
use crate::channel::{Channel, InvalidChannel};
use crate::error::Error;
use crate::events::delivery::Delivery;
use crate::events::name::EventName;
use crate::fake::Sent;
use crate::jobs::job::Job;
use crate::jobs::target::Target;
use crate::publisher::publication::{MAX_CHANNELS, Notice, Publication};
use crate::socket_id::SocketId;

/// The channels of an event.
pub(crate) type EventChannels = Result<Vec<Channel>, InvalidChannel>;

/// The payload of an event.
pub(crate) type Payload = serde_json::Result<Value>;

/// Options of a single broadcast.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) except: Option<SocketId>,
    pub(crate) now: Option<bool>,
    pub(crate) queue: Option<String>,
    pub(crate) delay: Option<Duration>,
    pub(crate) tries: Option<u32>,
}

impl Options {
    /// The options of a broadcast in a transaction, which is always queued.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn in_transaction(self) -> Self {
        Self { now: Some(false), ..self }
    }

    /// The delivery of the event's type, with what this broadcast sets.
    fn delivery(&self, of_type: Delivery) -> Delivery {
        Delivery {
            now: self.now.unwrap_or(of_type.now),
            queue: self.queue.clone().or(of_type.queue),
            delay: self.delay.or(of_type.delay),
            tries: self.tries.or(of_type.tries),
            ..of_type
        }
    }
}

/// An event with everything that is needed to send it.
pub(crate) struct Outgoing {
    pub(crate) channels: EventChannels,
    pub(crate) name: EventName,
    pub(crate) data: Payload,
    pub(crate) delivery: Delivery,
    pub(crate) options: Options,
    /// A notification that is delivered before the event, in the same job.
    pub(crate) notice: Option<Notice>,
}

impl Outgoing {
    /// Sends the event, or puts it into the target. `event` is the typed event, for a fake.
    pub(crate) async fn send(
        self,
        to: &Broadcaster,
        target: &mut Target<'_>,
        event: impl FnOnce() -> Option<Box<dyn Any + Send>>,
    ) -> Result<(), Error> {
        let Self { channels, name, data, delivery, options, notice } = self;
        let channels = channels?;
        if channels.is_empty() {
            return Ok(());
        }
        let name = name.full(&to.settings.namespace);
        let data = data.map_err(|source| Error::Payload { event: name.clone(), source })?;
        let except = options.except.map(|SocketId(id)| id);
        let publications = publications(to, &channels, &name, &data.to_string(), except)?;
        let delivery = options.delivery(delivery);
        let now = delivery.now;
        let mut job = Job { notice, ..Job::new(name.clone(), publications, delivery) };
        if let Some(fake) = &to.fake {
            let queue = (!now).then(|| job.queue().to_owned());
            fake.record(Sent { name, channels, data, except, queue }, event());
            Ok(())
        } else if now {
            job.attempt(&*to.publisher).await
        } else {
            target.push(job).await
        }
    }
}

/// Splits an event into publications: its open channels in groups of a hundred, and each encrypted channel
/// alone, since each has its own key.
fn publications(
    from: &Broadcaster,
    channels: &[Channel],
    name: &str,
    data: &str,
    socket_id: Option<RawSocketId>,
) -> Result<Vec<Publication>, Error> {
    let mut open = Vec::new();
    let mut encrypted = Vec::new();
    for channel in channels {
        let names = if channel.is_encrypted() { &mut encrypted } else { &mut open };
        let name = channel.as_str().to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let publication = |channels: Vec<String>, data: String| {
        let limit = from.settings.max_data_bytes;
        if data.len() > limit {
            let event = name.to_owned();
            return Err(Error::TooLarge { event, bytes: data.len(), limit });
        }
        let publication = Publication::new(channels, name, data).with_random_key();
        Ok(Publication { socket_id, ..publication })
    };
    let mut publications = Vec::new();
    for part in open.chunks(MAX_CHANNELS) {
        publications.push(publication(part.to_vec(), data.to_owned())?);
    }
    for channel in encrypted {
        let Some(key) = &from.settings.master_key else {
            return Err(Error::NoEncryptionKey { channel });
        };
        let data = key.encrypt(&channel, data)?;
        publications.push(publication(vec![channel], data)?);
    }
    Ok(publications)
}
