//! The file by which `clarim restart` finds a running server: its process id, under a lock that is
//! held as long as the server lives. The lock tells a live server from a file that was left over.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use clarim_config::prepare_state_dir;

/// Marks this process as the server of a port, until it is dropped. Drop it when the server stops
/// to listen, so that its successor can take the place while it drains.
#[derive(Debug)]
pub(crate) struct RunFile {
    // The file itself stays: to remove it would race with a successor that has just opened it.
    _locked: File,
}

impl RunFile {
    /// Writes `{state_dir}/server-{port}.pid` and locks it.
    ///
    /// # Errors When the file can't be written, or another live server has it. The server runs
    /// without as well; only `clarim restart` can't find it.
    pub(crate) fn create(state_dir: &Path, port: u16) -> io::Result<Self> {
        prepare_state_dir(state_dir)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path(state_dir, port))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another live server has locked it"),
            TryLockError::Error(error) => error,
        })?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _locked: file })
    }
}

/// Where the server of `port` keeps its process id.
#[must_use]
pub(crate) fn path(state_dir: &Path, port: u16) -> PathBuf {
    state_dir.join(format!("server-{port}.pid"))
}

/// The process that serves `port` from this state directory; `None`: there is none.
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
    pid.map(Some).ok_or_else(|| io::Error::other("it holds no process id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_found_while_it_lives_and_not_after() {
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
