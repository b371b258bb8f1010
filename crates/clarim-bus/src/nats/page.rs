//! Reading a log from its stream.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use futures_util::stream::StreamExt;

use super::error::NatsError;
use super::streams::subject;
use crate::commands::LogRead;
use crate::log::{Log, LogEntry, LogPage, PageLimit, Position};

/// Maximum number of entries that are asked for at once.
const BATCH: usize = 256;

/// Time after which the server deletes a consumer whose reader is gone.
const INACTIVE: Duration = Duration::from_secs(10);

/// Maximum number of times that a page is read whose entries leave the stream while it is read.
const ATTEMPTS: usize = 3;

/// A page, and what it has shown about the stream.
pub(super) struct ReadPage {
    pub(super) page: LogPage,
    /// `None` if there is more to read.
    pub(super) quiet: Option<Quiet>,
}

/// A range of offsets in which a log has had no entry.
///
/// Entries leave a stream without a trace when they are too old. Those of this range were of other logs: a
/// reader who knows the log until the range has not missed them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    epoch: u64,
    after: u64,
    until: u64,
}

impl Quiet {
    /// Whether a reader who knows the log until `after` has missed no entry up to `start`.
    fn covers(self, epoch: u64, after: u64, start: u64) -> bool {
        self.epoch == epoch && self.after <= after && start <= self.until
    }
}

/// What a stream has, and a log in it.
struct StreamState {
    last: u64,
    /// The offset before the stream's first entry.
    dropped: u64,
    /// Number of entries of the log.
    count: usize,
}

/// Reads a page. The newest entry is asked for before the entries are read, so that they reach it, and what
/// the stream has dropped afterwards. So nothing that is missing on the page goes unnoticed.
pub(super) async fn page(
    stream: &Stream<()>,
    epoch: u64,
    read: &LogRead,
    quiet: Option<Quiet>,
) -> Result<ReadPage, NatsError> {
    let after = read.after();
    let limit = read.limit();
    let subject = subject(read.log());
    for _ in 0..ATTEMPTS {
        let mut state = stream_state(stream, &subject).await?;
        let newest = newest(stream, &subject).await?;
        let last = state.last;
        let mut entries = Vec::new();
        if newest.is_none_or(|newest| newest > after) {
            if newest.is_some() && limit.entries > 0 {
                entries = entries_after(stream, &subject, Position { epoch, offset: after }, limit)
                    .await?;
                if entries.is_empty() {
                    // The newest entry has left the stream.
                    continue;
                }
            }
            state = stream_state(stream, &subject).await?;
        }
        let mut start = start(stream, &subject, read.log(), &state).await?;
        if quiet.is_some_and(|quiet| quiet.covers(epoch, after, start)) {
            start = start.min(after);
        }
        if let Some(first) = entries.first_mut() {
            first.previous = after.max(start.min(first.position.offset - 1));
        }
        let reached = entries.last().map_or(after, |entry| entry.position.offset);
        let offset = match newest {
            Some(newest) if newest <= after => newest,
            Some(newest) => newest.max(reached),
            // The log is empty. A reader knows nothing beyond the page's start.
            None => start.max(after.min(last)),
        };
        let is_complete = newest.is_none_or(|newest| newest <= reached);
        // An empty log has had nothing since `start`.
        let from = newest.map_or(start, |_| offset);
        let quiet = is_complete.then_some(Quiet { epoch, after: from, until: last });
        return Ok(ReadPage {
            page: LogPage::new(Position { epoch, offset }, start, entries),
            quiet,
        });
    }
    Err(NatsError::Dropping)
}

async fn stream_state(stream: &Stream<()>, subject: &str) -> Result<StreamState, NatsError> {
    let mut info = stream.info_with_subjects(subject).await.map_err(NatsError::read)?;
    let last = info.info.state.last_sequence;
    let dropped = info.info.state.first_sequence.saturating_sub(1);
    let count = match info.next().await {
        Some(of_subject) => of_subject.map_err(NatsError::read)?.1,
        None => 0,
    };
    Ok(StreamState { last, dropped, count })
}

/// The offset of the log's newest entry.
async fn newest(stream: &Stream<()>, subject: &str) -> Result<Option<u64>, NatsError> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(newest) => Ok(Some(newest.sequence)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(NatsError::read(error)),
    }
}

/// The offset after which every entry of the log is kept. Entries leave the stream from its beginning when
/// they are too old, or because the log has too many.
async fn start(
    stream: &Stream<()>,
    subject: &str,
    log: &Log,
    state: &StreamState,
) -> Result<u64, NatsError> {
    if state.count < log.retention().messages as usize {
        return Ok(state.dropped);
    }
    let oldest = stream.get_first_raw_message_by_subject(subject, 1).await;
    Ok(state.dropped.max(oldest.map_err(NatsError::read)?.sequence - 1))
}

async fn entries_after(
    stream: &Stream<()>,
    subject: &str,
    after: Position,
    limit: PageLimit,
) -> Result<Vec<LogEntry>, NatsError> {
    let config = Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after.offset + 1 },
        ack_policy: AckPolicy::None,
        filter_subject: subject.to_owned(),
        inactive_threshold: INACTIVE,
        memory_storage: true,
        num_replicas: 1,
        ..Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(NatsError::read)?;
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut bytes = 0;
    'pages: while entries.len() < limit.entries as usize {
        let wanted = (limit.entries as usize - entries.len()).min(BATCH);
        let fetch = consumer.fetch().max_messages(wanted).messages().await;
        let mut messages = fetch.map_err(NatsError::read)?;
        let mut received = 0;
        while let Some(message) = messages.next().await {
            let message = message.map_err(NatsError::read)?;
            received += 1;
            bytes += message.payload.len() as u64;
            if bytes > limit.bytes && !entries.is_empty() {
                break 'pages;
            }
            let offset = message.info().map_err(NatsError::read)?.stream_sequence;
            let previous = entries.last().map_or(after.offset, |entry| entry.position.offset);
            let position = Position { offset, ..after };
            entries.push(LogEntry::new(position, previous, message.payload.clone()));
        }
        if received < wanted {
            break;
        }
    }
    // The server deletes it otherwise, a little later.
    let _ = stream.delete_consumer(&consumer.cached_info().name).await;
    Ok(entries)
}
