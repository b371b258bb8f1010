//! A bus within one process whose logs are in a file.

mod clock;
mod database;
mod error;
mod stored_log;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::backend::{Backend, Session};
use crate::commands::{Command, Commands};
use crate::error::BusError;
use crate::event::EventSender;
use crate::log::Log;
use crate::memory::{MemoryBus, MemorySession};
use database::Database;
pub use error::FileBusError;
pub use writer::FoundFile;
use writer::{Request, Writer};

/// A bus between connections of one process whose logs survive the process. Clones are the same bus.
///
/// When an append is reported, the kernel has the entry, so a process that is killed loses none. The disk has
/// it about a second later: if the machine goes down before, the last entries may be missing, and then all
/// logs get another epoch when the file is opened again. Dropping the last clone and the last connection
/// writes everything to the disk.
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
    requests: Option<Sender<Request>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    found: FoundFile,
}

/// A connection to a [`FileBus`].
#[derive(Debug)]
pub struct FileSession {
    messages: MemorySession,
    file: Arc<File>,
}

impl FileBus {
    /// Opens a file, or creates it with its directory.
    ///
    /// # Errors
    /// Why the file cannot be used, and what to do.
    pub fn open(path: &Path) -> Result<Self, FileBusError> {
        Self::open_in(path, boot())
    }

    /// Opens a file on a machine that has been up since this boot.
    fn open_in(path: &Path, boot: String) -> Result<Self, FileBusError> {
        Self::start(path, Database::open(path)?, boot)
    }

    fn start(path: &Path, database: Database, boot: String) -> Result<Self, FileBusError> {
        let messages = MemoryBus::new();
        let (writer, found) = Writer::new(database, messages.clone(), boot)?;
        let (requests, receiver) = mpsc::channel();
        let writer = thread::Builder::new()
            .name("clarim-history".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| FileBusError::unusable(path, source))?;
        let writer = Mutex::new(Some(writer));
        Ok(Self { messages, file: Arc::new(File { requests: Some(requests), writer, found }) })
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
        let messages = self.messages.connect(events).await?;
        Ok(FileSession { messages, file: Arc::clone(&self.file) })
    }

    async fn check_logs(&self, _log: &Log) -> Result<(), BusError> {
        Ok(())
    }
}

impl Session for FileSession {
    async fn subscribe(&mut self, subjects: Vec<Arc<str>>) -> Result<(), BusError> {
        self.messages.subscribe(subjects).await
    }

    async fn follow(&mut self, logs: Vec<Arc<str>>) -> Result<(), BusError> {
        self.messages.follow(logs).await
    }

    async fn run(mut self, commands: &mut Commands) -> BusError {
        loop {
            tokio::select! {
                batch = commands.next_batch() => {
                    for command in batch {
                        if let Err(error) = self.execute(command) {
                            return error;
                        }
                    }
                }
                error = self.messages.failed() => return error,
            }
        }
    }
}

impl FileSession {
    fn execute(&self, command: Command) -> Result<(), BusError> {
        match command {
            Command::Append(entry) => self.file.send(Request::Append(entry)),
            Command::Read(read) => {
                let failures = self.messages.failures();
                self.file.send(Request::Read { read, failures });
            }
            command => return self.messages.execute(command),
        }
        Ok(())
    }
}

impl File {
    /// Sends a request. If that is impossible, its drop reports it as lost.
    fn send(&self, request: Request) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(request);
        }
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
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // It writes what is left.
        drop(writer.map(JoinHandle::join));
    }
}
