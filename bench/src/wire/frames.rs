//! What subscribers read: WebSocket frames, and the sequence number and time in an event's data.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::{Decompress, FlushDecompress};

/// Marks the sequence number in a frame.
const MARK: &[u8] = b"#seq:";
/// Digits of the sequence number, and of the time that follows it.
const DIGITS: usize = 20;
/// Length of the shortest data with room for mark and numbers.
pub(crate) const MIN_SIZE: usize = MARK.len() + 2 * DIGITS;
/// Maximum length of a frame; no server has a reason to send a longer one.
const MAX_FRAME: u64 = 4 << 20;

/// The data of an event, `size` bytes long: mark, sequence number, scheduled time in nanoseconds, and then
/// escaped JSON with values that differ from event to event.
pub(crate) fn data(sequence: u64, scheduled: Duration, size: usize) -> String {
    let mark = String::from_utf8_lossy(MARK);
    let mut data = format!("{mark}{sequence:020}{:020}", scheduled.as_nanos());
    let mut random = fastrand::Rng::with_seed(sequence);
    while data.len() < size {
        let id = random.u32(..1_000_000);
        let user = random.u32(..5_000);
        let price = f64::from(random.u32(..100_000)) / 100.0;
        let state = STATES[random.usize(..STATES.len())];
        data += &format!(
            r#"{{\"id\":{id},\"user\":\"user-{user}\",\"price\":{price:.2},\"state\":\"{state}\"}},"#
        );
    }
    data.truncate(size.max(MIN_SIZE));
    if data.ends_with('\\') {
        data.pop();
        data.push(' ');
    }
    data
}

/// Values of a field in the data.
const STATES: [&str; 4] = ["open", "paid", "shipped", "cancelled"];

/// A frame from the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    pub(crate) compressed: bool,
    /// Bytes, including the header.
    pub(crate) length: usize,
}

/// The first frame, if it is complete.
pub(crate) fn first(bytes: &[u8]) -> Result<Option<Frame<'_>>> {
    let Some((header, payload)) = lengths(bytes) else { return Ok(None) };
    ensure!(
        payload <= MAX_FRAME,
        "invalid measurement: frame of {payload} bytes, maximum {MAX_FRAME}"
    );
    let length = header + usize::try_from(payload)?;
    let Some(payload) = bytes.get(header..length) else { return Ok(None) };
    ensure!(bytes[0] & 0xb0 == 0x80, "invalid measurement: fragmented frame");
    let compressed = bytes[0] & 0x40 != 0;
    Ok(Some(Frame { opcode: bytes[0] & 0x0f, payload, compressed, length }))
}

/// Lengths of the header and the payload of a server's frame.
fn lengths(bytes: &[u8]) -> Option<(usize, u64)> {
    match *bytes.get(1)? & 0x7f {
        126 => Some((4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)))),
        127 => Some((10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        short => Some((2, u64::from(short))),
    }
}

/// An event that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) sequence: u64,
    pub(crate) scheduled: Duration,
}

/// The event in a message. `mark` is the offset of the mark in the last event, which is the same for all
/// events of a channel.
pub(crate) fn arrival(payload: &[u8], mark: &mut usize) -> Option<Arrival> {
    if !payload.get(*mark..)?.starts_with(MARK) {
        *mark = payload.windows(MARK.len()).position(|window| window == MARK)?;
    }
    let numbers = payload.get(*mark + MARK.len()..*mark + MIN_SIZE)?;
    let (sequence, scheduled) = numbers.split_at(DIGITS);
    let scheduled = Duration::from_nanos(number(scheduled)?);
    Some(Arrival { sequence: number(sequence)?, scheduled })
}

/// Number of decompressed frames that are remembered, more than are usually in flight.
const REMEMBERED: usize = 32;

/// Decompresses events, each one only once: all clients receive the same bytes.
#[derive(Debug)]
pub(crate) struct Inflater {
    state: Decompress,
    text: Vec<u8>,
    read: VecDeque<(Vec<u8>, Arrival)>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { state: Decompress::new(false), text: Vec::new(), read: VecDeque::new() }
    }
}

impl Inflater {
    pub(crate) fn arrival(&mut self, payload: &[u8]) -> Result<Arrival> {
        if let Some((_, arrival)) = self.read.iter().find(|(known, _)| known == payload) {
            return Ok(*arrival);
        }
        self.state.reset(false);
        self.text.clear();
        self.text.reserve(usize::try_from(MAX_FRAME)?);
        for part in [payload, &[0x00, 0x00, 0xff, 0xff]] {
            self.state.decompress_vec(part, &mut self.text, FlushDecompress::Sync)?;
        }
        let arrival = arrival(&self.text, &mut 0)
            .context("invalid measurement: compressed frame without an event")?;
        if self.read.len() == REMEMBERED {
            self.read.pop_front();
        }
        self.read.push_back((payload.to_vec(), arrival));
        Ok(arrival)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}
