//! A connection to a [`FileBus`](super::FileBus).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, interval};

use super::writer::{NewEntry, Outcome, Reply, Request, Wanted};
use super::{File, FileBusError};
use crate::backend::Session;
use crate::commands::{Command, Commands, LogRead, OutgoingEntry};
use crate::error::BusError;
use crate::memory::MemorySession;

/// Time for the disk to reply. A disk that is only busy writes what has gathered in less.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two checks whether the disk replies.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A connection to a [`FileBus`](super::FileBus).
#[derive(Debug)]
pub struct FileSession {
    messages: MemorySession,
    file: Arc<File>,
    /// Commands without an outcome, by number. Dropping them reports them as lost.
    waiting: HashMap<u64, Waiting>,
    last_number: u64,
    reply: UnboundedSender<Reply>,
    replies: UnboundedReceiver<Reply>,
    /// The last time at which nothing was waiting, or a reply came.
    replied_at: Instant,
}

/// A command that waits for the thread that owns the file.
#[derive(Debug)]
enum Waiting {
    Append(OutgoingEntry),
    Read(LogRead),
}

impl Session for FileSession {
    async fn subscribe(&mut self, subjects: Vec<Arc<str>>) -> Result<(), BusError> {
        self.messages.subscribe(subjects).await
    }

    async fn follow(&mut self, logs: Vec<Arc<str>>) -> Result<(), BusError> {
        self.messages.follow(logs).await
    }

    async fn run(mut self, commands: &mut Commands) -> BusError {
        let mut checks = interval(CHECK_INTERVAL);
        loop {
            let done = tokio::select! {
                batch = commands.next_batch() => {
                    batch.into_iter().try_for_each(|command| self.execute(command))
                }
                // The session has a sender, too.
                Some(reply) = self.replies.recv() => self.finish(reply),
                error = self.messages.failed() => Err(error),
                _ = checks.tick() => self.check(),
            };
            if let Err(error) = done {
                return error;
            }
        }
    }
}

impl FileSession {
    pub(super) fn new(messages: MemorySession, file: Arc<File>) -> Self {
        let (reply, replies) = unbounded_channel();
        let replied_at = Instant::now();
        Self { messages, file, waiting: HashMap::new(), last_number: 0, reply, replies, replied_at }
    }

    fn execute(&mut self, command: Command) -> Result<(), BusError> {
        match command {
            Command::Append(entry) => {
                let request = NewEntry {
                    log: entry.log().clone(),
                    payload: entry.payload().clone(),
                    key: entry.key().cloned(),
                    wanted: self.next(),
                };
                self.request(Request::Append(request), Waiting::Append(entry));
            }
            Command::Read(read) => {
                let log = read.log().clone();
                let after = read.after();
                let limit = read.limit();
                let request = Request::Read { log, after, limit, wanted: self.next() };
                self.request(request, Waiting::Read(read));
            }
            command => return self.messages.execute(command),
        }
        Ok(())
    }

    fn next(&mut self) -> Wanted {
        self.last_number += 1;
        Wanted { number: self.last_number, reply: self.reply.clone() }
    }

    fn request(&mut self, request: Request, waiting: Waiting) {
        if self.waiting.is_empty() {
            self.replied_at = Instant::now();
        }
        if self.file.send(request) {
            self.waiting.insert(self.last_number, waiting);
        }
    }

    fn finish(&mut self, Reply { number, outcome }: Reply) -> Result<(), BusError> {
        self.replied_at = Instant::now();
        match (self.waiting.remove(&number), outcome) {
            (Some(Waiting::Append(entry)), Outcome::Appended { position, is_duplicate }) => {
                entry.appended(position, is_duplicate);
            }
            (Some(Waiting::Append(entry)), Outcome::Refused(error)) => entry.refused(error),
            (Some(Waiting::Read(read)), Outcome::Page(page)) => return read.page(page),
            (Some(Waiting::Read(read)), Outcome::Refused(error)) => read.refused(error),
            _ => {}
        }
        Ok(())
    }

    /// Ends the session if the disk hangs, so that its commands are reported as lost and do not wait.
    fn check(&self) -> Result<(), BusError> {
        if self.waiting.is_empty() || self.replied_at.elapsed() < REPLY_TIMEOUT {
            return Ok(());
        }
        self.file.is_stalled.store(true, Ordering::Relaxed);
        let path = self.file.path.clone();
        Err(BusError::backend(FileBusError::Stalled { path, timeout: REPLY_TIMEOUT }))
    }
}
