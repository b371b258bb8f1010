//! The logs of a session, with JetStream.

use std::collections::HashMap;
use std::sync::Arc;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use futures_util::future::{AbortHandle, BoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Duration, Instant};

use super::error::NatsError;
use super::page::{Quiet, ReadPage, page};
use super::streams::{epoch, stream, subject, subjects};
use super::subject::token;
use crate::commands::{LogRead, OutgoingEntry};
use crate::error::BusError;
use crate::log::Position;

/// Timeout of a request to JetStream. Shorter than that of the session: without JetStream, the bus goes on.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Time after a failure for which no stream is looked for.
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of entries without a reply. The bytes of a connection without one are bounded before.
const MAX_UNCONFIRMED: usize = 1 << 20;

/// The logs of a session.
pub(super) struct Logs {
    context: Context,
    /// By their subjects.
    streams: HashMap<String, LogStream>,
    followed: HashMap<Arc<str>, Followed>,
    failed_at: Option<Instant>,
    /// Nothing waits for JetStream but these, so that it can be slow.
    in_flight: FuturesUnordered<BoxFuture<'static, Outcome>>,
}

/// The stream of all logs with the same retention.
enum LogStream {
    /// It is being looked for. These entries are sent in order when it is found.
    Sought(Vec<OutgoingEntry>),
    /// It exists and has this name.
    Known(String),
}

/// A log whose entries are received.
struct Followed {
    /// Ends the stream of its entries.
    entries: AbortHandle,
    /// Offsets without entries of this log, by its last read.
    quiet: Option<Quiet>,
}

/// What follows from a reply, beside what was reported.
pub(super) enum Outcome {
    Done,
    /// The stream with these subjects was looked for.
    Sought {
        subjects: String,
        stream: Result<String, NatsError>,
    },
    /// The log was read from this stream.
    Read {
        subjects: String,
        stream: String,
        log: Arc<str>,
        quiet: Option<Quiet>,
    },
    /// The stream with these subjects may not exist any more.
    Forget(String),
    Failed(BusError),
}

impl Logs {
    pub(super) fn new(client: Client) -> Self {
        let context =
            ContextBuilder::new().timeout(TIMEOUT).max_ack_inflight(MAX_UNCONFIRMED).build(client);
        Self {
            context,
            streams: HashMap::new(),
            followed: HashMap::new(),
            failed_at: None,
            in_flight: FuturesUnordered::new(),
        }
    }

    pub(super) fn is_followed(&self, log: &str) -> bool {
        self.followed.contains_key(log)
    }

    /// Records the handle that ends the stream of a log's entries.
    pub(super) fn follow(&mut self, log: Arc<str>, entries: AbortHandle) {
        self.followed.insert(log, Followed { entries, quiet: None });
    }

    pub(super) fn unfollow(&mut self, log: &str) {
        if let Some(followed) = self.followed.remove(log) {
            followed.entries.abort();
        }
    }

    /// Waits for the next outcome, for [`handle`](Self::handle). `None` if none is expected. Cancel safe.
    pub(super) async fn next_outcome(&mut self) -> Option<Outcome> {
        self.in_flight.next().await
    }

    pub(super) async fn handle(&mut self, outcome: Outcome) -> Result<(), BusError> {
        match outcome {
            Outcome::Done => {}
            Outcome::Sought { subjects, stream } => self.found(subjects, stream).await,
            Outcome::Read { subjects, stream, log, quiet } => {
                self.streams.entry(subjects).or_insert(LogStream::Known(stream));
                if let (Some(followed), Some(_)) = (self.followed.get_mut(&log), quiet) {
                    followed.quiet = quiet;
                }
            }
            Outcome::Forget(subjects) => {
                if self.known(&subjects).is_some() {
                    self.streams.remove(&subjects);
                }
            }
            Outcome::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends an entry, or lets it wait for its stream. Its outcome is reported when the stream has replied.
    pub(super) async fn append(&mut self, entry: OutgoingEntry) {
        let retention = entry.log().retention();
        let subjects = subjects(retention);
        match self.streams.get_mut(&subjects) {
            Some(LogStream::Known(_)) => {
                self.in_flight.extend(send(&self.context, subjects, entry).await);
            }
            Some(LogStream::Sought(waiting)) => waiting.push(entry),
            None if self.failed_at.is_some_and(|at| at.elapsed() < PAUSE) => {
                entry.refused(NatsError::NoLogs.into());
            }
            None => {
                self.streams.insert(subjects.clone(), LogStream::Sought(vec![entry]));
                let context = self.context.clone();
                self.in_flight.push(Box::pin(async move {
                    Outcome::Sought { subjects, stream: stream(&context, retention).await }
                }));
            }
        }
    }

    /// Sends the entries that have waited for a stream, or refuses them.
    async fn found(&mut self, subjects: String, stream: Result<String, NatsError>) {
        let Some(LogStream::Sought(waiting)) = self.streams.remove(&subjects) else { return };
        match stream {
            Ok(name) => {
                self.streams.insert(subjects.clone(), LogStream::Known(name));
                for entry in waiting {
                    self.in_flight.extend(send(&self.context, subjects.clone(), entry).await);
                }
            }
            Err(error) => {
                self.failed_at = Some(Instant::now());
                let error = Arc::new(error);
                for entry in waiting {
                    entry.refused(error.clone().into());
                }
            }
        }
    }

    /// Begins to read a page, which is reported when it is complete.
    pub(super) fn read(&self, read: LogRead) {
        let context = self.context.clone();
        let subjects = subjects(read.log().retention());
        let known = self.known(&subjects).cloned();
        let quiet = self.followed.get(read.log().name()).and_then(|followed| followed.quiet);
        self.in_flight.push(Box::pin(async move {
            match read_page(&context, known, &read, quiet).await {
                Ok((stream, ReadPage { page, quiet })) => {
                    let log = read.log().name().clone();
                    match read.page(page) {
                        Ok(()) => Outcome::Read { subjects, stream, log, quiet },
                        Err(error) => Outcome::Failed(error),
                    }
                }
                Err(error) => {
                    read.refused(error.into());
                    Outcome::Forget(subjects)
                }
            }
        }));
    }

    fn known(&self, subjects: &str) -> Option<&String> {
        match self.streams.get(subjects)? {
            LogStream::Known(name) => Some(name),
            LogStream::Sought(_) => None,
        }
    }
}

/// Reads a page from the known stream, or looks for the stream before. Returns its name, too.
async fn read_page(
    context: &Context,
    known: Option<String>,
    read: &LogRead,
    quiet: Option<Quiet>,
) -> Result<(String, ReadPage), NatsError> {
    let name = match known {
        Some(name) => name,
        None => stream(context, read.log().retention()).await?,
    };
    let epoch = epoch(&name).ok_or(NatsError::NoLogs)?;
    let stream = context.get_stream_no_info(&name).await.map_err(NatsError::read)?;
    let page = page(&stream, epoch, read, quiet).await?;
    Ok((name, page))
}

/// Sends an entry. Returns what waits for the reply.
async fn send(
    context: &Context,
    subjects: String,
    entry: OutgoingEntry,
) -> Option<BoxFuture<'static, Outcome>> {
    let mut message = PublishMessage::build().payload(entry.payload().clone());
    if let Some(key) = entry.key() {
        // Unique in the stream.
        let log = token(entry.log().name());
        message = message.message_id(format!("{log}.{}", token(key.as_str())));
    }
    match context.send_publish(subject(entry.log()), message).await {
        Ok(reply) => Some(Box::pin(appended(reply, subjects, entry))),
        Err(error) => {
            entry.refused(BusError::backend(error));
            None
        }
    }
}

/// Waits for the reply to an entry, and reports it.
async fn appended(reply: PublishAckFuture, subjects: String, entry: OutgoingEntry) -> Outcome {
    match reply.await {
        Ok(ack) => match epoch(&ack.stream) {
            Some(epoch) => {
                entry.appended(Position { epoch, offset: ack.sequence }, ack.duplicate);
            }
            None => {
                entry.refused(NatsError::ForeignStream { stream: ack.stream, subjects }.into());
            }
        },
        Err(error) => match error.kind() {
            PublishErrorKind::StreamNotFound => {
                entry.refused(BusError::backend(error));
                return Outcome::Forget(subjects);
            }
            // Dropping the entry reports it as lost.
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {}
            _ => entry.refused(BusError::backend(error)),
        },
    }
    Outcome::Done
}
