//! The file with the process id of a running server, for `clarim restart`. The server holds a lock on it,
//! which distinguishes a running server from a leftover file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clarim_config::prepare_state_dir;
use rustix::process::Pid;

/// A mark that this process is the server of a port, until it is dropped. It is dropped before the server
/// drains, so that a successor can take over the port.
#[derive(Debug)]
pub(crate) struct RunFile {
    // The file is not removed, because a successor may have opened it just now.
    _locked: File,
}

impl RunFile {
    /// Writes `{state_dir}/server-{port}.pid` and locks it.
    ///
    /// # Errors
    /// If the file can't be written, or another running server holds it. A server works without it, but
    /// `clarim restart` does not find it.
    pub(crate) fn create(state_dir: &Path, port: u16) -> io::Result<Self> {
        prepare_state_dir(state_dir)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path(state_dir, port))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another running server has locked it"),
            TryLockError::Error(error) => error,
        })?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _locked: file })
    }
}

/// Path to the file of the server of `port`.
#[must_use]
pub(crate) fn path(state_dir: &Path, port: u16) -> PathBuf {
    state_dir.join(format!("server-{port}.pid"))
}

/// The running server of `port` with this state directory, if there is one.
pub(crate) fn live(state_dir: &Path, port: u16) -> io::Result<Option<Pid>> {
    let mut file = match File::open(path(state_dir, port)) {
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
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    pid.map(Some).ok_or_else(|| io::Error::other("it contains no process id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_found_while_it_is_running() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(live(directory.path(), 1).unwrap(), None);
        let file = RunFile::create(directory.path(), 1).unwrap();
        let pid = live(directory.path(), 1).unwrap().unwrap();
        assert_eq!(u32::try_from(pid.as_raw_nonzero().get()).unwrap(), std::process::id());
        assert!(RunFile::create(directory.path(), 1).is_err());
        assert_eq!(live(directory.path(), 2).unwrap(), None);
        drop(file);
        assert_eq!(live(directory.path(), 1).unwrap(), None);
        RunFile::create(directory.path(), 1).unwrap();
    }
}
