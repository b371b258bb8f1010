//! Idempotency keys in a snapshot.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::KeyHash;
use serde::{Deserialize, Serialize};

use super::{Answer, Entry, State, Table};
use crate::runtime::KeyNumbers;

/// The way of records into a snapshot.
pub(super) type Write<'a> = &'a mut dyn FnMut(SavedKeys) -> io::Result<()>;

/// A record of idempotency keys.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SavedKeys {
    /// Numbers of all keys.
    Numbers { repeats: u64, forgotten: u64 },
    /// A key with its answer, which is encoded as for other nodes.
    Answered { key: [u8; 16], fingerprint: u64, seconds_left: u64, answer: Bytes },
}

pub(super) fn save(table: &Table, now: Duration, write: Write<'_>) -> io::Result<()> {
    let KeyNumbers { repeats, forgotten } = table.numbers;
    write(SavedKeys::Numbers { repeats, forgotten })?;
    for (due, key) in &table.answered {
        if let Some(Entry { fingerprint, state: State::Answered(answer) }) = table.entries.get(key)
        {
            write(SavedKeys::Answered {
                key: key.0.to_le_bytes(),
                fingerprint: *fingerprint,
                seconds_left: due.saturating_sub(now).as_secs(),
                answer: answer.encode(),
            })?;
        }
    }
    Ok(())
}

pub(super) fn restore(table: &mut Table, saved: SavedKeys, now: Duration) {
    match saved {
        SavedKeys::Numbers { repeats, forgotten } => {
            table.numbers = KeyNumbers { repeats, forgotten };
        }
        SavedKeys::Answered { key, fingerprint, seconds_left, answer } => {
            let key = KeyHash(u128::from_le_bytes(key));
            let answer = Answer::decode(&answer);
            table.bytes += answer.cost();
            table.answered.push_back((now + Duration::from_secs(seconds_left), key));
            table.entries.insert(key, Entry { fingerprint, state: State::Answered(answer) });
        }
    }
}
