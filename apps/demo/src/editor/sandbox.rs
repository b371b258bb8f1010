//! The process in which the library handles updates, with limits of memory and time. It has the program's
//! code, and neither its environment, nor its files, nor its connections.
//!
//! A task that crashes it, or exceeds a limit, is rejected, and nothing has changed.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::content::{Outcome, Problem, Task};
use crate::error::ApiError;

/// The argument that makes the program this process.
pub(crate) const COMMAND: &str = "document-sandbox";

/// Maximum address space.
const MEMORY: u64 = 512 * 1024 * 1024;
/// Maximum CPU time, in seconds.
const CPU: u64 = 5;
/// Size of the stack. Deleting nested content recurses; what fits here also fits into a browser's stack.
const STACK: usize = 512 * 1024;
/// Maximum size of an answer, far above that of a document.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// Processes at the same time.
static PROCESSES: Semaphore = Semaphore::const_new(4);
/// Timeout for a task. The limit of CPU time comes first, unless the machine is very busy.
const TIMEOUT: Duration = Duration::from_secs(12);

/// Why there is no outcome.
#[derive(Debug)]
pub(super) enum Failure {
    Rejected(Problem),
    /// The library crashed or exceeded a limit.
    Crashed,
    /// A later attempt may succeed.
    Unavailable(anyhow::Error),
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejected(problem) => problem.into(),
            Failure::Crashed => Problem::Malformed.into(),
            Failure::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

/// Runs a task in a new process.
pub(super) async fn run(task: &Task) -> Result<Outcome, Failure> {
    let (succeeded, answer) = timeout(TIMEOUT, ask(task))
        .await
        .context("the document's process has not answered in time")
        .flatten()
        .map_err(Failure::Unavailable)?;
    if !succeeded {
        return Err(Failure::Crashed);
    }
    let outcome: Result<Outcome, Problem> =
        serde_json::from_slice(&answer).map_err(|error| Failure::Unavailable(error.into()))?;
    outcome.map_err(Failure::Rejected)
}

/// Returns whether the process ended well, and its answer.
async fn ask(task: &Task) -> Result<(bool, Vec<u8>)> {
    let task = serde_json::to_vec(task)?;
    let _permit = PROCESSES.acquire().await?;
    let mut process = Command::new(program()?)
        .arg(COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Ctrl+C in a terminal ends the program gracefully, and this process with its task.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the document's process")?;
    let mut input = process.stdin.take().context("no pipe to the document's process")?;
    let output = process.stdout.take().context("no pipe from the document's process")?;
    let write = async move {
        // A process that crashes does not read everything.
        input.write_all(&task).await.ok();
    };
    let mut answer = Vec::new();
    let mut output = output.take(MAX_ANSWER);
    let (read, ()) = tokio::join!(output.read_to_end(&mut answer), write);
    read?;
    // A process that has more to say would wait for its reader.
    drop(output);
    let status = process.wait().await?;
    if !status.success() {
        tracing::warn!(%status, "update rejected: the document's process has crashed");
    }
    Ok((status.success(), answer))
}

#[cfg(not(test))]
fn program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// The tests' program is in target/PROFILE/deps.
#[cfg(test)]
fn program() -> io::Result<PathBuf> {
    let tests = std::env::current_exe()?;
    let folder = tests.parent().and_then(std::path::Path::parent);
    let program = folder.map(|folder| folder.join("clarim-demo")).filter(|file| file.exists());
    program.ok_or_else(|| io::Error::other("not built: cargo build -p clarim-demo"))
}

/// The process itself: a task from the standard input, its outcome to the standard output.
pub(crate) fn main() -> Result<()> {
    let limit = |resource, value| {
        setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
    };
    limit(Resource::As, MEMORY)?;
    limit(Resource::Cpu, CPU)?;
    limit(Resource::Core, 0)?;
    // The pipes are open. No other file and no connection can be opened.
    limit(Resource::Nofile, 0)?;
    let mut task = Vec::new();
    io::stdin().read_to_end(&mut task)?;
    let task: Task = serde_json::from_slice(&task)?;
    let work = std::thread::Builder::new().stack_size(STACK).spawn(|| task.run())?;
    let Ok(outcome) = work.join() else { bail!("the library has panicked") };
    io::stdout().write_all(&serde_json::to_vec(&outcome)?)?;
    Ok(())
}
