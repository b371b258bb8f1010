//! The streams of logs. All logs with the same retention are in one stream, each under a subject of its own,
//! and share its sequence numbers as offsets. The stream publishes each message again when it has stored it,
//! on a subject that followers subscribe to. Its name ends with the epoch: a stream that is created anew has
//! another one.

use std::error::Error;

use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamByNameError, GetStreamByNameErrorKind,
    RequestError, RequestErrorKind,
};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Republish, StorageType};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Message, header};

use super::error::NatsError;
use super::subject::token;
use crate::log::{IDEMPOTENCY_WINDOW, Log, LogEntry, Position, Retention};

/// Beginning of the names of streams and of their subjects.
const STREAM: &str = "clarim-log";

/// Beginning of the subjects on which followers receive stored entries.
const ENTRIES: &str = "clarim-entry";

/// The name of the stream of logs with this retention. Creates the stream if there is none.
pub(super) async fn stream(context: &Context, retention: Retention) -> Result<String, NatsError> {
    let subjects = subjects(retention);
    // Another connection may create or delete it at the same time.
    for _ in 0..3 {
        match context.stream_by_subject(&subjects).await {
            Ok(stream) if epoch(&stream).is_some() => return Ok(stream),
            Ok(stream) => return Err(NatsError::ForeignStream { stream, subjects }),
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {}
            Err(error) if is_off(&error) => return Err(NatsError::NoJetStream(error.into())),
            Err(error) => return Err(NatsError::Lookup(error.into())),
        }
        match create(context, retention).await {
            Ok(name) => return Ok(name),
            Err(error) if is_overlap(&error) => {}
            Err(error) => return Err(NatsError::NoStream(error)),
        }
    }
    Err(NatsError::NoLogs)
}

/// Whether JetStream is off, and not only slow or without a leader.
fn is_off(error: &GetStreamByNameError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let has_no_responders = error
            .downcast_ref::<RequestError>()
            .is_some_and(|error| error.kind() == RequestErrorKind::NoResponders);
        // JetStream's own errors are texts here.
        if has_no_responders || error.to_string().contains("not enabled") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Creates a stream with a new epoch.
async fn create(context: &Context, retention: Retention) -> Result<String, CreateStreamError> {
    let name = format!("{STREAM}-{}-{:016x}", retention_name(retention), fastrand::u64(..));
    context.create_stream(config(&name, retention)).await.map(|_| name)
}

/// Whether a stream with these subjects exists already.
fn is_overlap(error: &CreateStreamError) -> bool {
    match error.kind() {
        CreateStreamErrorKind::JetStream(error) => {
            error.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP
        }
        _ => false,
    }
}

fn config(name: &str, retention: Retention) -> Config {
    Config {
        name: name.to_owned(),
        subjects: vec![subjects(retention)],
        max_messages_per_subject: i64::from(retention.messages),
        max_age: retention.ttl.max(IDEMPOTENCY_WINDOW),
        duplicate_window: IDEMPOTENCY_WINDOW,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        republish: Some(Republish {
            source: subjects(retention),
            destination: format!("{ENTRIES}.{{{{wildcard(1)}}}}"),
            headers_only: false,
        }),
        ..Config::default()
    }
}

/// The epoch in the name of a stream.
pub(super) fn epoch(stream: &str) -> Option<u64> {
    let (_, epoch) = stream.strip_prefix(STREAM)?.rsplit_once('-')?;
    u64::from_str_radix(epoch, 16).ok()
}

fn retention_name(retention: Retention) -> String {
    format!("{}-{}", retention.messages, retention.ttl.as_millis())
}

/// The subjects of all logs with this retention.
pub(super) fn subjects(retention: Retention) -> String {
    format!("{STREAM}.{}.*", retention_name(retention))
}

/// The subject of a log in its stream.
pub(super) fn subject(log: &Log) -> String {
    format!("{STREAM}.{}.{}", retention_name(log.retention()), token(log.name()))
}

/// The subject on which the entries of a log are delivered.
pub(super) fn entries_subject(log: &str) -> String {
    format!("{ENTRIES}.{}", token(log))
}

/// The entry that a stream has published.
pub(super) fn published_entry(message: Message) -> Option<LogEntry> {
    let headers = message.headers?;
    let text = |name| headers.get(name).map(header::HeaderValue::as_str);
    let epoch = epoch(text(header::NATS_STREAM)?)?;
    let offset = text(header::NATS_SEQUENCE)?.parse().ok()?;
    let previous = text(header::NATS_LAST_SEQUENCE)?.parse().ok()?;
    Some(LogEntry::new(Position { epoch, offset }, previous, message.payload))
}
