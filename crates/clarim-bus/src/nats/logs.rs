//! The logs of a session, with JetStream.

use std::collections::HashSet;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Duration, Instant};

use super::error::NatsError;
use super::page::page;
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
    /// The subjects of streams that exist.
    known: HashSet<String>,
    failed_at: Option<Instant>,
    in_flight: FuturesUnordered<BoxFuture<'static, Outcome>>,
}

/// What follows from a reply, beside what was reported.
pub(super) enum Outcome {
    Done,
    /// The stream with these subjects does not exist any more.
    Forget(String),
    Failed(BusError),
}

impl Logs {
    pub(super) fn new(client: Client) -> Self {
        let context =
            ContextBuilder::new().timeout(TIMEOUT).max_ack_inflight(MAX_UNCONFIRMED).build(client);
        Self { context, known: HashSet::new(), failed_at: None, in_flight: FuturesUnordered::new() }
    }

    /// Waits for the next reply. `None` if none is expected.
    pub(super) async fn next_outcome(&mut self) -> Option<Result<(), BusError>> {
        Some(match self.in_flight.next().await? {
            Outcome::Done => Ok(()),
            Outcome::Forget(subjects) => {
                self.known.remove(&subjects);
                Ok(())
            }
            Outcome::Failed(error) => Err(error),
        })
    }

    /// Sends an entry. Its outcome is reported when the stream has replied.
    pub(super) async fn append(&mut self, entry: OutgoingEntry) {
        let subjects = subjects(entry.log().retention());
        if !self.known.contains(&subjects) {
            if self.failed_at.is_some_and(|at| at.elapsed() < PAUSE) {
                return entry.refused(NatsError::NoLogs.into());
            }
            if let Err(error) = stream(&self.context, entry.log().retention()).await {
                self.failed_at = Some(Instant::now());
                return entry.refused(error.into());
            }
            self.known.insert(subjects.clone());
        }
        let mut message = PublishMessage::build().payload(entry.payload().clone());
        if let Some(key) = entry.key() {
            // Unique in the stream.
            let log = token(entry.log().name());
            message = message.message_id(format!("{log}.{}", token(key.as_str())));
        }
        match self.context.send_publish(subject(entry.log()), message).await {
            Ok(reply) => self.in_flight.push(Box::pin(async move {
                match reply.await {
                    Ok(ack) => match epoch(&ack.stream) {
                        Some(epoch) => {
                            let position = Position { epoch, offset: ack.sequence };
                            entry.appended(position, ack.duplicate);
                            Outcome::Done
                        }
                        None => {
                            let stream = ack.stream;
                            entry.refused(NatsError::ForeignStream { stream, subjects }.into());
                            Outcome::Done
                        }
                    },
                    Err(error) => match error.kind() {
                        PublishErrorKind::StreamNotFound => {
                            entry.refused(BusError::backend(error));
                            Outcome::Forget(subjects)
                        }
                        // Dropping the entry reports it as lost.
                        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Outcome::Done,
                        _ => {
                            entry.refused(BusError::backend(error));
                            Outcome::Done
                        }
                    },
                }
            })),
            Err(error) => entry.refused(BusError::backend(error)),
        }
    }

    /// Begins to read a page, which is reported when it is complete.
    pub(super) fn read(&self, read: LogRead) {
        let context = self.context.clone();
        self.in_flight.push(Box::pin(async move {
            match page(&context, read.log(), read.after(), read.limit()).await {
                Ok(page) => match read.page(page) {
                    Ok(()) => Outcome::Done,
                    Err(error) => Outcome::Failed(error),
                },
                Err(error) => {
                    read.refused(error.into());
                    Outcome::Done
                }
            }
        }));
    }
}
