//! The thread that owns the file.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::clock::{Clock, time_of_day};
use super::database::{Database, LastWriter, NamedLog, SavedKey, SavedLog};
use super::error::FileBusError;
use super::stored_log::StoredLog;
use crate::error::BusError;
use crate::log::{IDEMPOTENCY_WINDOW, IdempotencyKey, Log, LogEntry, LogPage, PageLimit, Position};
use crate::memory::MemoryBus;

/// Time after which what was appended is on the disk, and between two looks for what has expired.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of requests that are carried out together.
const BATCH: usize = 1_024;

/// Number of logs that are removed before the next requests get their turn.
const MAX_REMOVED: u32 = 64;

/// Time after its last use for which a log stays in memory.
const LOADED: Duration = Duration::from_secs(60);

type Result<T> = std::result::Result<T, FileBusError>;

/// Accepts names of logs.
pub(super) type NameFilter = Box<dyn Fn(&str) -> bool + Send>;

/// A request to the thread.
pub(super) enum Request {
    Append(NewEntry),
    Read {
        log: Log,
        after: u64,
        limit: PageLimit,
        wanted: Wanted,
    },
    /// Remove the logs whose names are not accepted.
    Retain(NameFilter),
    /// Reply when everything before is done.
    Reply(oneshot::Sender<()>),
    /// Take a message, and hang until the other end is dropped, as a disk may.
    #[cfg(test)]
    Hang(Receiver<()>),
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

/// An entry that is to be appended.
#[derive(Debug)]
pub(super) struct NewEntry {
    pub(super) log: Log,
    pub(super) payload: Bytes,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) wanted: Wanted,
}

/// The reply that a session waits for. The session may have ended.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) number: u64,
    pub(super) reply: UnboundedSender<Reply>,
}

impl Wanted {
    fn finish(self, outcome: Outcome) {
        let _ = self.reply.send(Reply { number: self.number, outcome });
    }
}

/// The reply to a request.
#[derive(Debug)]
pub(super) struct Reply {
    /// The number of the request.
    pub(super) number: u64,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Appended { position: Position, is_duplicate: bool },
    Page(LogPage),
    Refused(BusError),
}

/// The state in which a [`FileBus`](super::FileBus) has found its file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundFile {
    /// The machine went down while the file was open, or entries were published elsewhere, so entries may be
    /// missing. All logs have another epoch.
    pub is_incomplete: bool,
    /// The time by which the system's clock is behind the last entry. Entries are kept for longer by as much
    /// as the server was stopped, until the clock has caught up.
    pub clock_behind: Duration,
}

/// Facts about a file that it does not contain.
#[derive(Debug)]
pub(super) struct Opening {
    /// Names the time since which the machine has been up; empty if it is not known.
    pub(super) boot: String,
    /// Whether entries were published elsewhere since it was last open.
    pub(super) lacks_entries: bool,
}

/// Everything that only the thread uses.
#[derive(Debug)]
pub(super) struct Writer {
    database: Database,
    /// Delivers the entries.
    bus: MemoryBus,
    clock: Clock,
    boot: String,
    era: i64,
    /// Whether the file names this process. While the disk is full, it can be read without that.
    is_noted: bool,
    /// The logs that are in use, by name.
    logs: HashMap<Arc<str>, StoredLog>,
    /// Logs of which something may have to be stored.
    used: Vec<Arc<str>>,
    /// Logs that are to be removed, whether they have ended or not.
    unwanted: HashSet<i64>,
    /// The period of the last keys.
    period: u64,
    /// Whether the disk lacks something.
    is_unsynced: bool,
}

/// The outcome of an append.
enum Append {
    Stored(LogEntry),
    Duplicate(Position),
}

impl Writer {
    pub(super) fn new(
        database: Database,
        bus: MemoryBus,
        opening: Opening,
    ) -> Result<(Self, FoundFile)> {
        let Opening { boot, lacks_entries } = opening;
        let last = database.last_writer()?;
        let went_down = |last: &LastWriter| last.is_open && (last.boot != boot || boot.is_empty());
        let is_incomplete = last.as_ref().is_some_and(|last| lacks_entries || went_down(last));
        let era = last.as_ref().map_or(0, |last| last.era) + i64::from(is_incomplete);
        let last_at = last.map_or(Duration::ZERO, |last| last.at);
        let (clock, clock_behind) = Clock::after(last_at, time_of_day());
        let now = clock.now();
        let mut writer = Self {
            database,
            bus,
            clock,
            boot,
            era,
            is_noted: false,
            logs: HashMap::new(),
            used: Vec::new(),
            unwanted: HashSet::new(),
            period: period(now),
            is_unsynced: false,
        };
        match writer.begin_writing() {
            Ok(()) => {}
            // Its logs can be read. The next process must learn from the file that it lacks entries.
            Err(FileBusError::Full { .. }) if !lacks_entries => {}
            Err(error) => return Err(error),
        }
        Ok((writer, FoundFile { is_incomplete, clock_behind }))
    }

    /// Notes who writes the file, before anything else is written.
    fn begin_writing(&mut self) -> Result<()> {
        if !self.is_noted {
            self.note(true)?;
            self.database.remove_keys(self.clock.now().saturating_sub(IDEMPOTENCY_WINDOW))?;
            self.is_noted = true;
        }
        Ok(())
    }

    fn note(&self, is_open: bool) -> Result<()> {
        let at = self.clock.now();
        let writer = LastWriter { boot: self.boot.clone(), is_open, era: self.era, at };
        self.database.set_writer(&writer)
    }

    /// Runs until nobody can send a request any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let mut next_sync = Instant::now() + SYNC_INTERVAL;
        loop {
            let wait = next_sync.saturating_duration_since(Instant::now());
            match requests.recv_timeout(wait) {
                Ok(first) => {
                    self.carry_out(batch(first, requests));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= next_sync {
                // What fails is tried again. If the disk is full, appends are refused until it is not.
                let has_more = self.clean_up().unwrap_or(false);
                let pause = if has_more { Duration::ZERO } else { SYNC_INTERVAL };
                next_sync = Instant::now() + pause;
            }
        }
        // Otherwise, the next process finds the file as after a crash.
        self.used.extend(self.logs.keys().cloned());
        let closed = self.change(|writer| {
            writer.unwanted.iter().try_for_each(|id| writer.database.remove_log(*id))
        });
        let closed = closed.and_then(|()| self.note(false));
        drop(closed);
    }

    fn carry_out(&mut self, batch: Vec<Request>) {
        let mut appends = Vec::new();
        let mut others = Vec::new();
        for request in batch {
            match request {
                Request::Append(entry) => appends.push(entry),
                request => others.push(request),
            }
        }
        if !appends.is_empty() {
            self.append_all(appends);
        }
        // Behind the appends: a page has every entry that was reported before.
        for request in others {
            match request {
                Request::Append(_) => {}
                Request::Read { log, after, limit, wanted } => {
                    let page = self.read(&log, after, limit);
                    let refused = |error| Outcome::Refused(BusError::backend(error));
                    wanted.finish(page.map_or_else(refused, Outcome::Page));
                }
                Request::Retain(is_kept) => self.find_unwanted(&is_kept),
                // The session may not be wanted any more.
                Request::Reply(reply) => drop(reply.send(())),
                #[cfg(test)]
                Request::Hang(until) => until.iter().for_each(drop),
            }
        }
    }

    fn append_all(&mut self, appends: Vec<NewEntry>) {
        let stored = self.change(|writer| {
            appends.iter().map(|entry| writer.append(entry)).collect::<Result<Vec<_>>>()
        });
        match stored {
            Ok(stored) => {
                for (NewEntry { log, wanted, .. }, append) in appends.into_iter().zip(stored) {
                    let (position, is_duplicate) = match append {
                        Append::Stored(entry) => {
                            self.bus.deliver(log.name(), &entry);
                            (entry.position, false)
                        }
                        Append::Duplicate(first) => (first, true),
                    };
                    wanted.finish(Outcome::Appended { position, is_duplicate });
                }
            }
            Err(error) => {
                // Removing expired entries may make space for the next ones.
                let _ = self.change(|writer| {
                    appends.iter().try_for_each(|entry| writer.open(&entry.log).map(drop))
                });
                let error = Arc::new(error);
                for entry in appends {
                    let error = BusError::backend(Arc::clone(&error));
                    entry.wanted.finish(Outcome::Refused(error));
                }
            }
        }
    }

    /// Makes a change in one transaction, together with the logs that it has used.
    fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.is_unsynced = true;
        let period = period(self.clock.now());
        let begun = self.begin_writing().and_then(|()| self.database.begin());
        let result = begun.and_then(|()| {
            if period > self.period {
                self.database.begin_period(period)?;
            }
            let result = change(self)?;
            self.save_used()?;
            self.database.commit()?;
            self.period = period;
            Ok(result)
        });
        if result.is_err() {
            self.database.roll_back();
            // They are as they were in the file.
            self.logs.clear();
            self.used.clear();
        }
        result
    }

    fn save_used(&mut self) -> Result<()> {
        for name in self.used.drain(..) {
            if let Some(log) = self.logs.get_mut(&name).filter(|log| log.is_dirty) {
                self.database.save_log(log.save())?;
            }
        }
        Ok(())
    }

    fn append(&mut self, new: &NewEntry) -> Result<Append> {
        let now = self.clock.now();
        let NewEntry { log, payload, key, .. } = new;
        let (stored, database) = self.open(log)?;
        let id = stored.id();
        if let Some(key) = key {
            let after = now.saturating_sub(IDEMPOTENCY_WINDOW);
            if let Some(offset) = database.find_key(id, key, after)? {
                return Ok(Append::Duplicate(Position { offset, ..stored.current() }));
            }
        }
        let entry = stored.append(payload.len() as u64, log.retention(), now);
        database.add_entry(id, entry, payload)?;
        if let Some(key) = key {
            let key = SavedKey { log: id, key, offset: entry.offset, at: now };
            database.add_key(period(now), &key)?;
        }
        let previous = entry.offset - 1;
        Ok(Append::Stored(LogEntry::new(stored.current(), previous, payload.clone())))
    }

    fn read(&mut self, log: &Log, after: u64, limit: PageLimit) -> Result<LogPage> {
        let now = self.clock.now();
        if let Some(stored) = self.logs.get_mut(log.name()).filter(|log| !log.has_ended(now)) {
            stored.touch(log.retention(), now);
        } else if let Err(error) = self.change(|writer| writer.open(log).map(drop)) {
            self.load(log, error)?;
        }
        let Some(stored) = self.logs.get(log.name()) else {
            return Ok(LogPage::new(Position { epoch: 0, offset: 0 }, 0, Vec::new()));
        };
        let after = after.max(stored.start());
        let entries = match stored.count(after, limit) {
            0 => Vec::new(),
            count => self.database.page(stored.id(), stored.current().epoch, after, count)?,
        };
        Ok(LogPage::new(stored.current(), stored.start(), entries))
    }

    /// Loads a log that is as it was stored, though nothing can be written because of an error.
    fn load(&mut self, log: &Log, error: FileBusError) -> Result<()> {
        let now = self.clock.now();
        let is_usable = |saved: &SavedLog| {
            saved.era == self.era && saved.ends_at > now && !self.unwanted.contains(&saved.id)
        };
        let saved = self.database.find_log(log.name())?.filter(is_usable).ok_or(error)?;
        let entries = self.database.entries(saved.id)?;
        let mut stored = StoredLog::load(saved, entries, self.era);
        stored.touch(log.retention(), now);
        self.logs.insert(log.name().clone(), stored);
        Ok(())
    }

    /// Returns a log as it is now. It begins anew if it has ended.
    fn open(&mut self, log: &Log) -> Result<(&mut StoredLog, &Database)> {
        let now = self.clock.now();
        let Self { logs, used, unwanted, database, era, .. } = self;
        used.push(log.name().clone());
        let new = || Ok(StoredLog::new(database.add_log(log.name())?, *era));
        let stored = match logs.entry(log.name().clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(match database.find_log(log.name())? {
                Some(saved) => {
                    let entries = database.entries(saved.id)?;
                    StoredLog::load(saved, entries, *era)
                }
                None => new()?,
            }),
        };
        if stored.has_ended(now) || unwanted.contains(&stored.id()) {
            database.remove_log(stored.id())?;
            *stored = new()?;
        }
        stored.touch(log.retention(), now);
        Ok((stored, database))
    }

    /// Finds the logs whose names are not accepted. They are not used any more.
    fn find_unwanted(&mut self, is_kept: &NameFilter) {
        // A file that cannot be read has no log that could be used.
        for NamedLog { id, name } in self.database.all_logs().unwrap_or_default() {
            if !is_kept(&name) {
                self.logs.remove(&*name);
                self.unwanted.insert(id);
            }
        }
    }

    /// Removes what has expired, and writes everything to the disk. Returns whether there is more to remove.
    fn clean_up(&mut self) -> Result<bool> {
        let now = self.clock.now();
        let is_used = |log: &StoredLog| now < log.used_at + LOADED;
        self.used.extend(self.logs.iter().filter(|(_, log)| log.is_dirty).map(|(n, _)| n.clone()));
        let ended = self.database.ended_logs(now, MAX_REMOVED)?;
        let unwanted = self.unwanted.iter().copied().take(MAX_REMOVED as usize);
        let unwanted: Vec<i64> = unwanted.collect();
        let has_more = [ended.len(), unwanted.len()].contains(&(MAX_REMOVED as usize));
        let has_removed = !ended.is_empty() || !unwanted.is_empty();
        if self.is_unsynced || !self.used.is_empty() || has_removed {
            self.change(|writer| {
                unwanted.iter().try_for_each(|id| writer.database.remove_log(*id))?;
                writer.remove(ended, now)
            })?;
            self.unwanted.retain(|id| !unwanted.contains(id));
            self.database.sync()?;
            self.database.give_back_space()?;
            self.is_unsynced = false;
        }
        self.logs.retain(|_, log| is_used(log));
        Ok(has_more)
    }

    fn remove(&mut self, ended: Vec<NamedLog>, now: Duration) -> Result<()> {
        for NamedLog { id, name } in ended {
            match self.logs.get_mut(&*name) {
                // Its end has moved since it was stored.
                Some(log) if !log.has_ended(now) => self.database.save_log(log.save())?,
                _ => {
                    self.database.remove_log(id)?;
                    self.logs.remove(&*name);
                }
            }
        }
        self.database.set_time(now)
    }
}

/// Takes the requests that can be carried out together. The logs that are removed have no entries of those
/// that come later.
fn batch(first: Request, requests: &Receiver<Request>) -> Vec<Request> {
    let mut batch = vec![first];
    while batch.len() < BATCH && !matches!(batch.last(), Some(Request::Retain(_))) {
        let Ok(next) = requests.try_recv() else { break };
        batch.push(next);
    }
    batch
}

/// Numbers the periods after which keys are removed.
fn period(now: Duration) -> u64 {
    now.as_secs() / IDEMPOTENCY_WINDOW.as_secs()
}
