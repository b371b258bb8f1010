//! The running server that a command is about.

use clarim_config::Config;
use rustix::io::Errno;
use rustix::process::{Signal, kill_process};

use crate::error::CommandError;
use crate::process::run_file::{self, RunningServer};

/// A running server of this machine, and its port.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) port: u16,
    pub(super) server: RunningServer,
}

impl Target {
    /// Finds the server that the settings describe.
    pub(super) fn find(settings: &Config) -> Result<Self, CommandError> {
        let port = settings.server.port;
        let server = run_file::find(&settings.state_dir, port).map_err(|not_found| {
            let directories = not_found.directories;
            match not_found.hidden {
                Some(file) => CommandError::HiddenServer { file },
                None => CommandError::NotRunning { port, directories },
            }
        })?;
        Ok(Self { port, server })
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), CommandError> {
        let Self { port, server } = self;
        let port = *port;
        let pid = server.pid.as_raw_nonzero().get();
        kill_process(server.pid, signal).map_err(|error| match error {
            Errno::PERM => CommandError::NotPermitted { port, pid },
            error => CommandError::Signal { port, pid, source: error.into() },
        })
    }
}
