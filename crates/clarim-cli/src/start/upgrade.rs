//! Replacing the program of a running server by the new program on disk, in the same process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use clarim_server::{Handover, HandoverHandle, Inherited, StartError};
use rustix::stdio::dup2_stdin;

use crate::process::program::Program;
use crate::process::run_file::{LastHandover, RunFile};
use crate::process::systemd;

/// The way to the successor.
pub(super) struct Upgrade {
    run_file: Option<RunFile>,
    handover: HandoverHandle,
    program: Program,
}

impl Upgrade {
    pub(super) fn new(run_file: Option<RunFile>, handover: HandoverHandle) -> Self {
        Self { run_file, handover, program: Program::of_process() }
    }

    /// Replaces the program. Returns only if that fails: then the server serves on.
    pub(super) async fn run(&mut self) {
        tracing::info!("restarting with the program on disk; connections stay open");
        self.note(RunFile::begin_handover);
        if let Err(reason) = self.try_run().await {
            tracing::error!(reason, "the restart failed; the server goes on");
            systemd::notify_ready();
            self.note(|file| file.end_handover(LastHandover::Failed { reason: reason.clone() }));
        }
    }

    async fn try_run(&self) -> Result<(), String> {
        let program = self.program.clone();
        let checked = tokio::task::spawn_blocking(move || program.check()).await;
        checked.map_err(|error| error.to_string())??;
        systemd::notify_reloading();
        let kept = self.kept().map_err(|error| error.to_string())?;
        let handover = self.handover.hand_over(kept).await.map_err(|error| error.to_string())?;
        self.replace(&handover).map_err(|error| format!("the program cannot be replaced: {error}"))
    }

    /// Nothing else runs on this thread from the snapshot to here, so nothing has changed since.
    fn replace(&self, handover: &Handover) -> io::Result<()> {
        match self.program.replace(handover.stdin())? {}
    }

    /// The standard input of this program, and the run file.
    fn kept(&self) -> io::Result<Vec<OwnedFd>> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let run_file = self.run_file.as_ref().map(RunFile::descriptor).transpose()?;
        Ok([stdin].into_iter().chain(run_file).collect())
    }

    /// Reports that this program has taken over.
    pub(super) fn report_success(&mut self, pause: Duration) {
        let version = env!("CARGO_PKG_VERSION");
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(version, pause_ms, "restarted; connections were handed over");
        let done = LastHandover::Done { version: version.to_owned(), pause_ms };
        self.note(|file| file.end_handover(done.clone()));
    }

    fn note(&mut self, write: impl Fn(&mut RunFile) -> io::Result<()>) {
        let Some(file) = &mut self.run_file else { return };
        if let Err(error) = write(file) {
            tracing::warn!(%error, "the run file cannot be written; `clarim restart` learns nothing");
        }
    }
}

/// The state that the program before this one has left in this process.
pub(super) struct Predecessor {
    pub(super) inherited: Inherited,
    run_file: Option<RunFile>,
}

impl Predecessor {
    pub(super) fn of_process() -> Result<Self, StartError> {
        let mut inherited = Inherited::receive(io::stdin())?;
        let mut kept = inherited.take_kept().into_iter();
        // The standard input is that of the first program again.
        if let Some(stdin) = kept.next()
            && let Err(error) = dup2_stdin(stdin)
        {
            return Err(StartError::System { source: error.into() });
        }
        let run_file = kept.next().map(RunFile::inherited).transpose();
        let run_file = run_file.map_err(|source| StartError::System { source })?;
        Ok(Self { inherited, run_file })
    }

    pub(super) fn take_run_file(&mut self) -> Option<RunFile> {
        self.run_file.take()
    }
}
