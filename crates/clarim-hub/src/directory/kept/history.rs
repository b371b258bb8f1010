//! The history of a channel: its last events, by offset.

use std::collections::VecDeque;
use std::time::Duration;

use clarim_protocol::rest::HistoryDirection;
use clarim_protocol::{
    ChannelName, Epoch, Frame, GapReason, Position, Since, SocketId, Start, server,
};

use super::page::{HistoryEvent, HistoryPage, HistoryQuery};
use crate::app::HistoryRule;
use crate::directory::Join;
use crate::snapshot::{SavedHistory, SavedHistoryEvent, SnapshotError};

/// Bytes per event beside its frame.
const OVERHEAD: usize = 96;

/// Bytes of a channel that is kept only for its history.
const ALONE: usize = 512;

/// No history comes this far.
const MAX_OFFSET: u64 = 1 << 62;

/// Shortest time for which an event is kept.
const MIN_TTL: Duration = Duration::from_secs(1);

/// The last events of a channel whose app has a rule for it.
#[derive(Debug)]
pub(crate) struct History {
    epoch: Epoch,
    /// The offset of the last event.
    last: u64,
    /// Everything up to this offset is not kept any more.
    dropped: u64,
    /// Why the last event that was dropped was dropped.
    reason: GapReason,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Whether only the history keeps the channel. Names may be chosen by anyone, so it counts then.
    is_alone: bool,
    /// Time for which an event is kept, by the rule in force when the history was last used.
    ttl: Duration,
    used: Duration,
}

/// An event with its place.
#[derive(Debug)]
struct Entry {
    offset: u64,
    at: Duration,
    /// The connection that does not get it.
    except: Option<SocketId>,
    frame: Frame,
}

impl Entry {
    fn cost(&self) -> usize {
        OVERHEAD + self.frame.bytes().len()
    }
}

/// The first messages of a new subscriber.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// `None` if the history is not known.
    pub(crate) start: Option<Start>,
    /// Past events, or a gap.
    pub(crate) frames: Vec<Frame>,
    pub(crate) gap: Option<GapReason>,
}

impl Recovery {
    /// A gap on a channel whose history is not known.
    pub(crate) fn gap(channel: &ChannelName) -> Self {
        let gap = GapReason::Unknown;
        Self { start: None, frames: vec![server::gap(channel, gap, None)], gap: Some(gap) }
    }
}

impl History {
    /// Makes a history that begins behind a position.
    pub(crate) fn new(position: Position, now: Duration) -> Self {
        let Position { epoch, offset } = position;
        Self {
            epoch,
            last: offset,
            dropped: offset,
            reason: GapReason::Expired,
            entries: VecDeque::new(),
            bytes: 0,
            is_alone: false,
            ttl: Duration::ZERO,
            used: now,
        }
    }

    /// Returns what a snapshot keeps of it.
    pub(crate) fn save(&self) -> SavedHistory {
        let events = self.entries.iter().map(|entry| SavedHistoryEvent {
            offset: entry.offset,
            at: entry.at.into(),
            except: entry.except,
            payload: entry.frame.bytes().slice_ref(entry.frame.payload()),
        });
        SavedHistory {
            epoch: self.epoch,
            last: self.last,
            dropped: self.dropped,
            reason: self.reason,
            is_alone: self.is_alone,
            ttl: self.ttl.into(),
            used: self.used.into(),
            events: events.collect(),
        }
    }

    pub(crate) fn restored(saved: &SavedHistory) -> Result<Self, SnapshotError> {
        let offsets = saved.events.iter().map(|event| event.offset);
        let offsets = std::iter::once(saved.dropped).chain(offsets);
        if !offsets.clone().is_sorted() || offsets.max() > Some(saved.last.min(MAX_OFFSET)) {
            return Err(SnapshotError::invalid("a history has offsets that are not in order"));
        }
        let entries = saved.events.iter().map(|event| Entry {
            offset: event.offset,
            at: event.at.get(),
            except: event.except,
            frame: Frame::text(&event.payload),
        });
        let entries: VecDeque<Entry> = entries.collect();
        Ok(Self {
            epoch: saved.epoch,
            last: saved.last,
            dropped: saved.dropped,
            reason: saved.reason,
            bytes: entries.iter().map(Entry::cost).sum(),
            entries,
            is_alone: saved.is_alone,
            ttl: saved.ttl.get(),
            used: saved.used.get(),
        })
    }

    /// Returns the position behind the last event.
    pub(crate) fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.last }
    }

    /// Returns the bytes that count against the limits of the shard.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + if self.is_alone { ALONE } else { 0 }
    }

    /// Whether it keeps no event.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the time at which something in it expires: an event, or the history itself.
    pub(crate) fn expires_at(&self) -> Duration {
        self.entries.front().map_or(self.used, |entry| entry.at) + self.ttl
    }

    /// Whether it keeps nothing, and the channel has not been used for as long as an event is kept.
    pub(crate) fn is_expired(&self, now: Duration) -> bool {
        self.entries.is_empty() && self.used + self.ttl <= now
    }

    /// Records whether the channel has subscribers, or another reason to stay.
    pub(crate) fn set_alone(&mut self, is_alone: bool, now: Duration) {
        self.is_alone = is_alone;
        self.used = now;
    }

    /// Records that the channel is in use, by this rule.
    pub(crate) fn touch(&mut self, rule: &HistoryRule, now: Duration) {
        self.used = now;
        self.trim(rule, now);
    }

    /// Moves on to a position behind which the next event comes.
    pub(crate) fn skip_to(&mut self, position: Position) {
        if position.epoch == self.epoch {
            self.last = self.last.max(position.offset);
        }
    }

    /// Appends an event, which has this offset. Returns it with its offset.
    pub(crate) fn append(
        &mut self,
        event: &Frame,
        except: Option<SocketId>,
        offset: u64,
        rule: &HistoryRule,
        now: Duration,
    ) -> Frame {
        self.last = offset;
        let frame = server::with_offset(event, self.last);
        let entry = Entry { offset: self.last, at: now, except, frame: frame.clone() };
        self.bytes += entry.cost();
        self.entries.push_back(entry);
        self.touch(rule, now);
        frame
    }

    /// Drops what the rule does not keep any more.
    pub(crate) fn trim(&mut self, rule: &HistoryRule, now: Duration) {
        self.ttl = rule.ttl.max(MIN_TTL);
        let ttl = self.ttl;
        while self.entries.front().is_some_and(|entry| entry.at + ttl <= now) {
            self.drop_oldest(GapReason::Expired);
        }
        while self.entries.len() > rule.messages || self.bytes > rule.bytes {
            self.drop_oldest(GapReason::TooMany);
        }
    }

    /// Drops the oldest events, because there is no room for them: an eighth, at least one.
    pub(crate) fn evict(&mut self) {
        for _ in 0..self.entries.len().div_ceil(8) {
            self.drop_oldest(GapReason::TooMany);
        }
    }

    fn drop_oldest(&mut self, reason: GapReason) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.cost();
            self.dropped = entry.offset;
            self.reason = reason;
        }
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// Returns what a new subscriber gets first: what it has missed since its position, or without one the
    /// last events, if the rule has a rewind. Makes no partial replay. A position may be ahead of the history
    /// by `max_ahead`.
    pub(crate) fn recover(&self, join: &Join<'_>, rule: &HistoryRule, max_ahead: u64) -> Recovery {
        let Some(since) = join.since else { return self.rewind(rule.rewind, join.socket_id) };
        match self.since(since, join, max_ahead) {
            Ok(recovery) => recovery,
            Err(reason) => {
                let position = self.position();
                let start = Start { position, recovered: false, missed: 0 };
                let gap = server::gap(&join.channel.name, reason, Some(position));
                Recovery { start: Some(start), frames: vec![gap], gap: Some(reason) }
            }
        }
    }

    fn since(&self, since: &Since, join: &Join<'_>, max_ahead: u64) -> Result<Recovery, GapReason> {
        let &Since::Position { position, socket_id } = since else {
            return Err(GapReason::Unknown);
        };
        self.check(position, max_ahead)?;
        let is_own =
            |id| id == join.socket_id || Some(id) == socket_id || join.former.contains(&id);
        let frames = self.behind(position.offset, is_own);
        let position = self.start(position.offset, &frames);
        let start = Start { position, recovered: true, missed: frames.len() };
        Ok(Recovery { start: Some(start), frames, gap: None })
    }

    /// Checks that all events behind a position are kept. The position may be ahead of the history by
    /// `max_ahead`.
    fn check(&self, position: Position, max_ahead: u64) -> Result<(), GapReason> {
        self.check_existed(position, max_ahead)?;
        if position.offset < self.dropped { Err(self.reason) } else { Ok(()) }
    }

    /// Checks that this history has been at a position.
    fn check_existed(&self, position: Position, max_ahead: u64) -> Result<(), GapReason> {
        if position.epoch != self.epoch {
            return Err(GapReason::Epoch);
        }
        if position.offset > self.last + max_ahead { Err(GapReason::Unknown) } else { Ok(()) }
    }

    /// Returns a part of the events.
    pub(crate) fn page(&self, query: &HistoryQuery) -> HistoryPage {
        let position = self.position();
        let (range, gap) = match (query.since, query.direction) {
            (None, _) => (0..self.entries.len(), None),
            (Some(since), HistoryDirection::Forward) => {
                let first = self.entries.partition_point(|entry| entry.offset <= since.offset);
                (first..self.entries.len(), self.check(since, 0).err())
            }
            (Some(since), HistoryDirection::Backward) => {
                let end = self.entries.partition_point(|entry| entry.offset < since.offset);
                (0..end, self.check_existed(since, 0).err())
            }
        };
        if gap.is_some() {
            return HistoryPage { position, events: Vec::new(), has_more: false, gap };
        }
        let range = self
            .entries
            .range(range)
            .map(|entry| HistoryEvent { offset: entry.offset, frame: entry.frame.clone() });
        let (events, has_more) = match query.direction {
            HistoryDirection::Forward => query.take(range),
            HistoryDirection::Backward => query.take(range.rev()),
        };
        HistoryPage { position, events, has_more, gap: None }
    }

    fn rewind(&self, count: usize, own: SocketId) -> Recovery {
        let first = self.entries.len().saturating_sub(count);
        let offset = match first.checked_sub(1) {
            Some(before) => self.entries.get(before).map_or(self.last, |entry| entry.offset),
            None => self.dropped,
        };
        let frames = self.behind(offset, |id| id == own);
        let position = self.start(offset, &frames);
        let start = Start { position, recovered: false, missed: frames.len() };
        Recovery { start: Some(start), frames, gap: None }
    }

    /// Returns the position from which a subscription starts that gets these events behind an offset. Without
    /// any, it is the newest one, since an old position may be forgotten soon.
    fn start(&self, offset: u64, frames: &[Frame]) -> Position {
        let offset = if frames.is_empty() { offset.max(self.last) } else { offset };
        Position { epoch: self.epoch, offset }
    }

    /// Returns the events behind an offset that are meant for a client, by its ids.
    fn behind(&self, offset: u64, is_own: impl Fn(SocketId) -> bool) -> Vec<Frame> {
        let first = self.entries.partition_point(|entry| entry.offset <= offset);
        let entries = self.entries.range(first..);
        entries
            .filter(|entry| !entry.except.is_some_and(&is_own))
            .map(|entry| entry.frame.clone())
            .collect()
    }
}
