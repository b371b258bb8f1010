//! Logs in Redis. A log is a stream of its entries and a text about it. One script appends an entry and
//! publishes it with its position, so that all nodes see one order.
//!
//! The keys of the log `news` are `{news}:log`, `{news}:log:about` and `{news}:log:key:KEY`, and its entries
//! are published on `{news}:log`. The braces put them into one slot of a cluster. No subject of messages may
//! have such a name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};

use super::error::RedisError;
use crate::commands::{LogRead, OutgoingEntry};
use crate::error::BusError;
use crate::log::{IDEMPOTENCY_WINDOW, Log, LogEntry, LogPage, Position};

const APPEND: &str = concat!(include_str!("common.lua"), include_str!("append.lua"));
const READ: &str = concat!(include_str!("common.lua"), include_str!("read.lua"));

/// What follows a log's name in the name of its stream.
const SUFFIX: &str = "}:log";

/// Characters of a log's name that would end its hash tag.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%').add(b'{').add(b'}');

/// Longest time that is sent to a server, which refuses those that do not fit its clock.
const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Larger offsets are not told apart by the scripts.
const MAX_OFFSET: u64 = 1 << 53;

/// The scripts of a server, and what they need to know about it.
#[derive(Debug, Clone, Default)]
pub(super) struct Scripts {
    append: String,
    read: String,
    /// Changes when the server is restarted, or replaced by another one.
    run: String,
    version: String,
}

/// How a script is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// By its hash.
    Hash,
    /// With its text, because the server has forgotten it.
    Text,
}

impl Scripts {
    /// Loads the scripts. A user who may not do that has no logs, but can use the rest of the bus.
    pub(super) async fn load(connection: &mut MultiplexedConnection) -> Result<Self, BusError> {
        let mut requests = Pipeline::new();
        for script in [APPEND, READ] {
            requests.cmd("SCRIPT").arg("LOAD").arg(script);
        }
        requests.cmd("INFO").arg("server");
        let replies = connection.send_packed_commands(&requests, 0, 3).await?;
        let mut texts = replies.into_iter().map(|reply| text(&reply).unwrap_or_default());
        let append = texts.next().unwrap_or_default();
        let read = texts.next().unwrap_or_default();
        let info = texts.next().unwrap_or_default();
        let field = |name: &str| {
            let mut values = info.lines().filter_map(|line| line.strip_prefix(name));
            values.next().unwrap_or_default().to_owned()
        };
        Ok(Self { append, read, run: field("run_id:"), version: field("redis_version:") })
    }

    /// Checks that the server's version has the commands of the scripts.
    pub(super) fn check_version(&self) -> Result<(), BusError> {
        let mut numbers = self.version.split('.').map(|number| number.parse::<u32>().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) if major < 6 || (major == 6 && minor < 2) => {
                Err(RedisError::TooOldForLogs { version: self.version.clone() }.into())
            }
            _ => Ok(()),
        }
    }

    /// The request that appends an entry.
    pub(super) fn append(&self, entry: &OutgoingEntry, call: Call, is_sharded: bool) -> Cmd {
        let name = stream_name(entry.log().name());
        let mut request = call.of(&self.append, APPEND);
        request.arg(if entry.key().is_some() { 3 } else { 2 }).arg(&name);
        request.arg(format!("{name}:about"));
        if let Some(key) = entry.key() {
            request.arg(format!("{name}:key:{}", key.as_str()));
        }
        self.arguments(&mut request, entry.log());
        request.arg(&entry.payload()[..]);
        request.arg(if is_sharded { "SPUBLISH" } else { "PUBLISH" });
        request.arg(millis(IDEMPOTENCY_WINDOW));
        request
    }

    /// The request that reads a log.
    pub(super) fn read(&self, read: &LogRead, call: Call) -> Cmd {
        let name = stream_name(read.log().name());
        let mut request = call.of(&self.read, READ);
        request.arg(2).arg(&name).arg(format!("{name}:about"));
        self.arguments(&mut request, read.log());
        request.arg(read.after().min(MAX_OFFSET)).arg(read.limit().entries);
        request.arg(read.limit().bytes);
        request
    }

    /// Adds the arguments that both scripts have.
    fn arguments(&self, request: &mut Cmd, log: &Log) {
        let retention = log.retention();
        // The epoch of the log if it begins now.
        request.arg(fastrand::u64(..)).arg(&self.run);
        request.arg(retention.messages).arg(millis(retention.ttl));
        request.arg(retention.bytes).arg(millis(retention.idle()));
    }
}

impl Call {
    fn of(self, hash: &str, script: &str) -> Cmd {
        let mut request = Cmd::new();
        match self {
            Self::Hash => request.arg("EVALSHA").arg(hash),
            Self::Text => request.arg("EVAL").arg(script),
        };
        request
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.min(MAX_TTL).as_millis()).unwrap_or(u64::MAX)
}

/// The stream of a log, and the name on which its entries are published.
pub(super) fn stream_name(log: &str) -> String {
    format!("{{{}{SUFFIX}", utf8_percent_encode(log, ESCAPED))
}

/// The log that has a stream of this name.
pub(super) fn log_of(stream: &str) -> Option<Arc<str>> {
    let escaped = stream.strip_prefix('{')?.strip_suffix(SUFFIX)?;
    Some(crate::url::decode(escaped).into())
}

/// The entry in a published message: `EPOCH:OFFSET:PREVIOUS:PAYLOAD`.
pub(super) fn published_entry(message: &Bytes) -> Option<LogEntry> {
    let mut fields = message.splitn(4, |byte| *byte == b':');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let position = Position { epoch: number()?, offset: number()? };
    let previous = number()?;
    let payload = fields.next()?;
    let payload = message.slice_ref(payload);
    Some(LogEntry::new(position, previous, payload))
}

/// The position in a reply to an append, and whether it is an earlier one.
pub(super) fn appended(reply: &Value) -> Option<(Position, bool)> {
    let Value::Array(fields) = reply else { return None };
    let [epoch, offset, is_duplicate] = &fields[..] else { return None };
    let position = Position { epoch: text(epoch)?.parse().ok()?, offset: number(offset)? };
    Some((position, number(is_duplicate)? == 1))
}

/// The page in a reply to a read.
pub(super) fn page(reply: Value) -> Option<LogPage> {
    let Value::Array(fields) = reply else { return None };
    let [epoch, offset, start, entries]: [Value; 4] = fields.try_into().ok()?;
    let epoch = text(&epoch)?.parse().ok()?;
    let Value::Array(entries) = entries else { return None };
    let entries: Option<_> = entries.into_iter().map(|entry| stored_entry(epoch, entry)).collect();
    Some(LogPage::new(Position { epoch, offset: number(&offset)? }, number(&start)?, entries?))
}

/// An entry of a stream: its id and the fields `previous` and `payload`.
fn stored_entry(epoch: u64, entry: Value) -> Option<LogEntry> {
    let Value::Array(entry) = entry else { return None };
    let [id, fields]: [Value; 2] = entry.try_into().ok()?;
    let Value::Array(fields) = fields else { return None };
    let [_, previous, _, payload]: [Value; 4] = fields.try_into().ok()?;
    let offset = text(&id)?.split_once('-')?.0.parse().ok()?;
    let Value::BulkString(payload) = payload else { return None };
    let previous = text(&previous)?.parse().ok()?;
    Some(LogEntry::new(Position { epoch, offset }, previous, payload.into()))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_hash_tag_and_is_found_again() {
        for name in ["news", "}", "{", "{}", "a:{b}:c", "}:log", "per%cent", "é 漢字\n"] {
            let stream = stream_name(name);
            assert_eq!(stream.matches(['{', '}']).count(), 2, "{stream}");
            assert_eq!(log_of(&stream).as_deref(), Some(name));
        }
        assert_eq!(stream_name("app:1:private-x"), "{app:1:private-x}:log");
        assert_eq!(log_of("news"), None);
    }

    #[test]
    fn a_published_entry_has_any_payload() {
        for payload in ["", ":", "a:b:c:d"] {
            let message = Bytes::from(format!("18446744073709551615:42:40:{payload}"));
            let position = Position { epoch: u64::MAX, offset: 42 };
            let expected = LogEntry::new(position, 40, payload.into());
            assert_eq!(published_entry(&message), Some(expected));
        }
        for invalid in ["", "1:2:3", "x:1:2:", "1:-1:0:"] {
            assert_eq!(published_entry(&invalid.into()), None, "{invalid}");
        }
    }
}
