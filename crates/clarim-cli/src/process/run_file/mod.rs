//! The file with the process id of a running server, for `clarim restart` and `clarim stop`. The server holds
//! a lock on it, which distinguishes a running server from a leftover file.
//!
//! It also says how the last hand-over went, because a signal has no answer.

mod places;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use places::RunDir;

/// A mark that this process is the server of a port, until it is dropped. It is dropped before the server
/// drains, so that a successor can take over the port.
#[derive(Debug)]
pub(crate) struct RunFile {
    // The file is not removed, because a successor may have opened it just now.
    file: File,
    status: Status,
}

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pid: i32,
    /// Number of hand-overs that have begun. Absent where the server only drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) handovers: Option<u64>,
    /// The result of the last one.
    #[serde(default)]
    pub(crate) last: LastHandover,
}

/// The result of the last hand-over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LastHandover {
    /// There was none.
    #[default]
    None,
    /// It is under way.
    UnderWay,
    /// The new program serves.
    Done {
        /// Its version.
        version: String,
        /// Time for which nothing was delivered, in milliseconds.
        pause_ms: u64,
    },
    /// The old program serves on.
    Failed { reason: String },
}

impl RunFile {
    /// Writes the run file of a port and locks it, in the first directory that this process can write.
    /// `drains`: the server cannot hand over.
    ///
    /// # Errors
    /// If there is none, or another running server holds the file. A server works without it, but
    /// `clarim restart` does not find it.
    pub(crate) fn create(state_dir: &Path, port: u16, drains: bool) -> io::Result<Self> {
        let mut problem = io::Error::other("there is no directory for it");
        for place in places::own(runtime_dir().as_deref(), state_dir) {
            match Self::create_in(&place, port, drains) {
                Ok(file) => return Ok(file),
                Err(error) => {
                    let path = place.path.display();
                    problem = io::Error::new(error.kind(), format!("{path}: {error}"));
                }
            }
        }
        Err(problem)
    }

    fn create_in(place: &RunDir, port: u16, drains: bool) -> io::Result<Self> {
        place.prepare()?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path(&place.path, port))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another running server has locked it"),
            TryLockError::Error(error) => error,
        })?;
        let handovers = (!drains).then_some(0);
        let status = Status { pid: pid(), handovers, last: LastHandover::None };
        let mut own = Self { file, status };
        own.write()?;
        Ok(own)
    }

    /// Takes over the file that this process has kept over a hand-over, with its lock.
    pub(crate) fn inherited(descriptor: OwnedFd) -> io::Result<Self> {
        let mut file = File::from(descriptor);
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        let status = Status { pid: pid(), ..parse(&text)? };
        Ok(Self { file, status })
    }

    /// Returns a descriptor of the file, which keeps its lock.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Writes that a hand-over has begun.
    pub(crate) fn begin_handover(&mut self) -> io::Result<()> {
        self.status.handovers = Some(self.status.handovers.unwrap_or(0) + 1);
        self.end_handover(LastHandover::UnderWay)
    }

    /// Writes how the hand-over went.
    pub(crate) fn end_handover(&mut self, last: LastHandover) -> io::Result<()> {
        self.status.last = last;
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        let text = serde_json::to_string(&self.status)?;
        self.file.rewind()?;
        self.file.set_len(0)?;
        // A reader that sees a part of it reads again.
        writeln!(self.file, "{text}")
    }
}

fn pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn runtime_dir() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
}

/// Path to the file of the server of `port`.
fn path(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!("server-{port}.pid"))
}

/// A running server, found by its run file.
#[derive(Debug)]
pub(crate) struct RunningServer {
    pub(crate) pid: Pid,
    pub(crate) path: PathBuf,
    pub(crate) status: Status,
}

/// Why no server was found.
#[derive(Debug)]
pub(crate) struct NotFound {
    /// The directories that were looked at.
    pub(crate) directories: Vec<PathBuf>,
    /// A run file that may not be read.
    pub(crate) hidden: Option<PathBuf>,
}

/// The running server of `port`.
pub(crate) fn find(state_dir: &Path, port: u16) -> Result<RunningServer, NotFound> {
    let mut not_found = NotFound { directories: Vec::new(), hidden: None };
    for place in places::all(runtime_dir().as_deref(), state_dir) {
        let path = path(&place.path, port);
        match read(&path) {
            Ok(Some(status)) => {
                if let Some(pid) = Pid::from_raw(status.pid) {
                    return Ok(RunningServer { pid, path, status });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                not_found.hidden = Some(path);
            }
            Ok(None) | Err(_) => {}
        }
        not_found.directories.push(place.path);
    }
    Err(not_found)
}

/// Reads a run file. `None` if no running server holds it.
pub(crate) fn read(path: &Path) -> io::Result<Option<Status>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let status = parse(&text)?;
    Ok(is_of_its_owner(&file, status.pid).then_some(status))
}

fn parse(text: &str) -> io::Result<Status> {
    // Earlier versions wrote the process id alone.
    if let Ok(pid) = text.trim().parse() {
        return Ok(Status { pid, handovers: None, last: LastHandover::None });
    }
    serde_json::from_str(text).map_err(io::Error::from)
}

/// Whether the process belongs to the owner of the file: another user could name any process in a file of its
/// own.
fn is_of_its_owner(file: &File, pid: i32) -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let owner = file.metadata().map(|metadata| metadata.uid());
    let of_process = fs::metadata(format!("/proc/{pid}")).map(|metadata| metadata.uid());
    owner.is_ok_and(|owner| of_process.is_ok_and(|user| user == owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port that no server has.
    const PORT: u16 = 1;

    #[test]
    fn a_server_is_found_while_it_is_running() {
        let directory = tempfile::tempdir().unwrap();
        let place = &places::own(None, directory.path())[2];
        let path = path(&place.path, PORT);
        assert_eq!(read(&path).unwrap(), None);
        let file = RunFile::create_in(place, PORT, false).unwrap();
        let status = read(&path).unwrap().unwrap();
        assert_eq!(status.pid, pid());
        RunFile::create_in(place, PORT, false).unwrap_err();
        drop(file);
        assert_eq!(read(&path).unwrap(), None);
        RunFile::create_in(place, PORT, false).unwrap();
    }

    #[test]
    fn the_file_of_an_earlier_version_is_read() {
        let status = parse("17\n").unwrap();
        assert_eq!((status.pid, status.handovers), (17, None));
        parse("{\"pid\":1").unwrap_err();
    }
}
