//! `clarim restart`: replaces the program of the running server, which keeps its connections.

use std::io::Write;
use std::time::{Duration, Instant};

use clarim_config::Config;
use rustix::process::Signal;

use super::target::Target;
use crate::error::CommandError;
use crate::flags::ConfigInputs;
use crate::process::run_file::{self, LastHandover, RunningServer};

/// Timeout for the restart: that of the check of the new program, and some time for the hand-over.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two looks at the run file.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn run(inputs: &ConfigInputs, out: &mut dyn Write) -> Result<(), CommandError> {
    // Checked first, because with wrong settings the server would not start again.
    let settings = Config::check(&inputs.flags, &inputs.sources)?;
    let target = Target::find(&settings)?;
    let port = target.port;
    let Some(before) = target.server.status.handovers else {
        // An earlier version, or a system without hand-overs.
        target.signal(Signal::TERM)?;
        writeln!(out, "The server on port {port} is draining. Its supervisor will restart it.")?;
        return Ok(());
    };
    if target.server.status.last == LastHandover::UnderWay {
        return Err(CommandError::RestartUnderWay { port });
    }
    target.signal(Signal::USR2)?;
    match wait(&target.server, before)? {
        LastHandover::Done { version, pause_ms } => {
            writeln!(
                out,
                "The server on port {port} runs Clarim {version} now, and kept its connections \
                 (pause: {pause_ms} ms)."
            )?;
            Ok(())
        }
        LastHandover::Failed { reason } => Err(CommandError::RestartFailed { port, reason }),
        LastHandover::None | LastHandover::UnderWay => Err(CommandError::RestartSilent { port }),
    }
}

/// Waits for the result of the hand-over after `before` others.
fn wait(server: &RunningServer, before: u64) -> Result<LastHandover, CommandError> {
    let deadline = Instant::now() + TIMEOUT;
    let mut last = LastHandover::UnderWay;
    while Instant::now() < deadline {
        // A file that is being written is read again.
        match run_file::read(&server.path) {
            Ok(None) => return Err(CommandError::EndedInRestart),
            Ok(Some(status)) if status.handovers > Some(before) => last = status.last,
            Ok(Some(_)) | Err(_) => {}
        }
        if last != LastHandover::UnderWay {
            return Ok(last);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(last)
}
