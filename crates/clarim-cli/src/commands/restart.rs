//! `clarim restart`: tells the server that runs from this directory to drain and exit.

use std::io::Write;

use rustix::process::{Signal, kill_process};

use super::CommandError;
use crate::run_file;
use clarim_config::{Config, Flags};

pub(super) fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), CommandError> {
    // Checked first: with settings that are wrong the server would not come back.
    let settings = Config::check(flags, &super::sources())?;
    let (directory, port) = (&settings.state_dir, settings.server.port);
    let file = run_file::path(directory, port);
    let pid = run_file::live(directory, port)
        .map_err(|error| CommandError::File { path: file.clone(), what: "read", error })?
        .ok_or(CommandError::NotRunning { port, file })?;
    kill_process(pid, Signal::TERM).map_err(|error| CommandError::Signal {
        port,
        pid: pid.as_raw_nonzero().get(),
        error: error.into(),
    })?;
    writeln!(
        out,
        "The server on port {port} is draining and will exit; its supervisor starts it anew."
    )?;
    Ok(())
}
