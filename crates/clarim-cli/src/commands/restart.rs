//! `clarim restart`: drains the server that runs from this directory.

use std::io::Write;

use clarim_config::{Config, Flags};
use rustix::process::{Signal, kill_process};

use crate::error::{Access, CommandError};
use crate::flags::sources;
use crate::process::run_file;

pub(crate) fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), CommandError> {
    // Checked first, because with wrong settings the server would not start again.
    let settings = Config::check(flags, &sources())?;
    let port = settings.server.port;
    let file = run_file::path(&settings.state_dir, port);
    let pid = run_file::live(&settings.state_dir, port)
        .map_err(|source| CommandError::File { path: file.clone(), access: Access::Read, source })?
        .ok_or(CommandError::NotRunning { port, file })?;
    kill_process(pid, Signal::TERM).map_err(|error| CommandError::Signal {
        port,
        pid: pid.as_raw_nonzero().get(),
        source: error.into(),
    })?;
    writeln!(out, "The server on port {port} is draining. Its supervisor will restart it.")?;
    Ok(())
}
