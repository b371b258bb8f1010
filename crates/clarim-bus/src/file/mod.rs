//! A bus within one process whose logs are in a file.

mod clock;
mod database;
mod error;
mod session;
mod stored_log;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::backend::Backend;
use crate::error::BusError;
use crate::event::EventSender;
use crate::log::{Log, LogSupport};
use crate::memory::MemoryBus;
use database::Database;
pub use error::FileBusError;
pub use session::FileSession;
pub use writer::FoundFile;
use writer::{Opening, Request, Writer};

/// Time for the last writes when the file is closed. Without them, it is found as after a crash.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A bus between connections of one process whose logs survive the process. Clones are the same bus.
///
/// When an append is reported, the kernel has the entry, so a process that is killed loses none. The disk has
/// it about a second later: if the machine goes down before, the last entries may be missing, and then all
/// logs get another epoch when the file is opened again. Dropping the last clone and the last connection
/// writes everything to the disk.
///
/// While the disk is full, entries are refused. An existing file can be opened and read then, too.
///
/// If the disk does not reply for some seconds, connections are lost until it does, as with a server.
///
/// Messages on subjects are those of a [`MemoryBus`]. Logs keep exactly what their
/// [`Retention`](crate::Retention) says, in the file, too, whose unused space is given back.
///
/// ```
/// use clarim_bus::{Bus, BusEvent, FileBus, Log, Retention};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), clarim_bus::FileBusError> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("history.db");
/// let bus = Bus::new(FileBus::open(&path)?);
/// let mut connection = bus.connect();
/// assert!(matches!(connection.next().await, BusEvent::Connected));
/// let log = Log::new("orders", Retention::new(100, Duration::from_secs(600), 1 << 20));
/// connection.append(&log, "one".into(), None, 1);
/// assert!(matches!(connection.next().await, BusEvent::Appended { .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FileBus {
    messages: MemoryBus,
    file: Arc<File>,
}

/// The way to the thread that owns the file, which ends with it.
struct File {
    path: PathBuf,
    requests: Option<Sender<Request>>,
    /// Closed when the thread has ended.
    ended: Mutex<Receiver<()>>,
    /// Whether the last session has found that the thread does not reply.
    is_stalled: AtomicBool,
    found: FoundFile,
}

impl FileBus {
    /// Opens a file, or creates it with its directory.
    ///
    /// # Errors
    /// Why the file cannot be used, and what to do.
    pub fn open(path: &Path) -> Result<Self, FileBusError> {
        Self::start(path, Database::open(path)?, Opening { boot: boot(), lacks_entries: false })
    }

    /// Opens a file as [`open`](Self::open) does, or creates it. It lacks entries that were published
    /// elsewhere since it was last open, so all logs get another epoch.
    ///
    /// # Errors
    /// Why the file cannot be used, and what to do. A full disk is an error here, too.
    pub fn open_incomplete(path: &Path) -> Result<Self, FileBusError> {
        Self::start(path, Database::open(path)?, Opening { boot: boot(), lacks_entries: true })
    }

    fn start(path: &Path, database: Database, opening: Opening) -> Result<Self, FileBusError> {
        let messages = MemoryBus::new();
        let (writer, found) = Writer::new(database, messages.clone(), opening)?;
        let (requests, receiver) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        thread::Builder::new()
            .name("clarim-history".to_owned())
            .spawn(move || {
                // Dropped behind the file.
                let _end = end;
                writer.run(&receiver);
            })
            .map_err(|source| FileBusError::unusable(path, source))?;
        let file = File {
            path: path.to_owned(),
            requests: Some(requests),
            ended: Mutex::new(ended),
            is_stalled: AtomicBool::new(false),
            found,
        };
        Ok(Self { messages, file: Arc::new(file) })
    }

    /// Removes the logs whose names `is_kept` does not accept, before everything that is requested later.
    /// They begin anew when they are used again.
    pub fn retain_logs(&self, is_kept: impl Fn(&str) -> bool + Send + 'static) {
        self.file.send(Request::Retain(Box::new(is_kept)));
    }

    /// The state in which the file was found.
    #[must_use]
    pub fn found(&self) -> FoundFile {
        self.file.found
    }
}

/// Names the time since which the machine has been up; empty if the system does not tell. Then a process that
/// did not close the file counts as a machine that went down.
fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

impl Backend for FileBus {
    type Session = FileSession;

    fn kind(&self) -> &'static str {
        "file"
    }

    async fn connect(&self, events: EventSender) -> Result<FileSession, BusError> {
        if self.file.is_stalled.load(Ordering::Relaxed) {
            self.file.reply().await?;
            self.file.is_stalled.store(false, Ordering::Relaxed);
        }
        let messages = self.messages.connect(events).await?;
        Ok(FileSession::new(messages, Arc::clone(&self.file)))
    }

    async fn check_logs(&self, _log: &Log) -> Result<LogSupport, BusError> {
        Ok(LogSupport::Kept)
    }
}

impl File {
    /// Sends a request. Returns whether it will be carried out.
    fn send(&self, request: Request) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.send(request).is_ok())
    }

    /// Waits until everything that was requested so far has been carried out.
    async fn reply(&self) -> Result<(), BusError> {
        let (reply, replied) = oneshot::channel();
        self.send(Request::Reply(reply));
        replied.await.map_err(|_| BusError::Closed)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("found", &self.found).finish_non_exhaustive()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.requests = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It writes what is left. Nothing is sent: the other end is dropped.
        let _ = ended.recv_timeout(CLOSE_TIMEOUT);
    }
}
