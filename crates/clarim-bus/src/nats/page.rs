//! Reading a log from its stream.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use futures_util::stream::StreamExt;

use super::error::NatsError;
use super::streams::{epoch, stream, subject};
use crate::log::{Log, LogEntry, LogPage, PageLimit, Position};

/// Maximum number of entries that are asked for at once.
const BATCH: usize = 256;

/// Time after which the server deletes a consumer whose reader is gone.
const INACTIVE: Duration = Duration::from_secs(10);

/// Reads a page. What the stream has is asked for before the entries are read, and what it has dropped
/// afterwards: so nothing that is missing on the page goes unnoticed.
pub(super) async fn page(
    context: &Context,
    log: &Log,
    after: u64,
    limit: PageLimit,
) -> Result<LogPage, NatsError> {
    let name = stream(context, log.retention()).await?;
    let epoch = epoch(&name).ok_or(NatsError::NoLogs)?;
    let stream = context.get_stream_no_info(&name).await.map_err(NatsError::read)?;
    let subject = subject(log);
    let last = stream.get_info().await.map_err(NatsError::read)?.state.last_sequence;
    let mut entries = Vec::new();
    if limit.entries > 0 && after < last {
        entries = read(&stream, &subject, Position { epoch, offset: after }, limit).await?;
    }
    let offset = match stream.get_last_raw_message_by_subject(&subject).await {
        Ok(newest) => newest.sequence,
        // The log is empty: any later entry comes after what the stream has had.
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => last,
        Err(error) => return Err(NatsError::read(error)),
    };
    let start = start(&stream, &subject, log).await?;
    if let Some(first) = entries.first_mut() {
        first.previous = after.max(start.min(first.position.offset - 1));
    }
    Ok(LogPage::new(Position { epoch, offset }, start, entries))
}

/// The offset after which every entry of the log is kept. Entries leave the stream from its beginning when
/// they are too old, or because the log has too many.
async fn start(stream: &Stream<()>, subject: &str, log: &Log) -> Result<u64, NatsError> {
    let mut info = stream.info_with_subjects(subject).await.map_err(NatsError::read)?;
    let aged = info.info.state.first_sequence.saturating_sub(1);
    let count = match info.next().await {
        Some(of_subject) => of_subject.map_err(NatsError::read)?.1,
        None => 0,
    };
    if count < log.retention().messages as usize {
        return Ok(aged);
    }
    let oldest = stream.get_first_raw_message_by_subject(subject, 1).await;
    Ok(aged.max(oldest.map_err(NatsError::read)?.sequence - 1))
}

async fn read(
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
