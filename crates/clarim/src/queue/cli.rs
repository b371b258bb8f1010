//! The commands of an application for its queue; with the feature `cli`.
//!
//! Three lines in `main` are enough:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use clarim::Clarim;
//!
//! #[tokio::main]
//! async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
//!     let clarim = Clarim::from_env()?;
//!     if let Some(code) = clarim::queue::cli::run(&clarim).await {
//!         return Ok(code);
//!     }
//!     // … the application
//!     Ok(ExitCode::SUCCESS)
//! }
//! ```
//!
//! An application with a command line of its own has [`Command`] as one of its subcommands:
//!
//! ```
//! #[derive(clap::Parser)]
//! enum MyApp {
//!     /// Listens for requests
//!     Serve,
//!     /// Runs queued jobs, and shows what became of them
//!     #[command(subcommand)]
//!     Queue(clarim::queue::cli::Command),
//! }
//! # use clap::Parser;
//! # let parsed = MyApp::parse_from(["myapp", "queue", "work", "--queue", "high,default"]);
//! # assert!(matches!(parsed, MyApp::Queue(_)));
//! ```
//!
//! and calls its [`Command::run`].

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::{FailedJob, Storage, Worker, progress};
use crate::{Clarim, Error};

/// Runs the command `queue …` if the process was started with it, and returns how it ended. `None`: the
/// first argument is another one, or there is none.
pub async fn run(clarim: &Clarim) -> Option<ExitCode> {
    #[derive(Parser)]
    enum Line {
        #[command(subcommand, about = "Runs queued jobs, and shows what became of them")]
        Queue(Command),
    }
    let is_ours = std::env::args_os().nth(1).is_some_and(|first| first == "queue");
    if !is_ours {
        return None;
    }
    let Line::Queue(command) = Line::parse();
    Some(command.run(clarim).await)
}

/// What can be asked of a queue.
#[derive(Debug, Clone, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Runs jobs until it is stopped; what has begun is finished
    Work(Work),
    /// Lists the jobs that were given up
    Failed,
    /// Queues jobs again that were given up
    Retry {
        /// Their numbers, or all
        #[arg(required = true, value_name = "ID|all")]
        ids: Vec<Id>,
    },
    /// Forgets jobs that were given up
    Forget {
        /// Their numbers
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
    },
    /// Forgets all jobs that were given up
    Flush,
    /// Shows what is in the queues, and how long the oldest job has been waiting
    Monitor,
}

/// How jobs are run.
#[derive(Debug, Clone, Args)]
#[non_exhaustive]
pub struct Work {
    /// The queues, by priority
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "default")]
    pub queue: Vec<String>,
    /// Jobs that run at the same time; those of one channel never do
    #[arg(long, value_name = "JOBS", default_value_t = 1)]
    pub concurrency: usize,
    /// Runs one job at most
    #[arg(long)]
    pub once: bool,
    /// Ends when nothing is due
    #[arg(long)]
    pub stop_when_empty: bool,
    /// How often the store is asked when there is nothing to do, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub poll: u64,
    /// Time after which the jobs of a worker that has died are run again, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub lease: u64,
}

/// Of a job that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id {
    /// Each of them.
    All,
    /// This one.
    One(u64),
}

impl std::str::FromStr for Id {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            number => number.parse().map(Self::One).map_err(|_| "expected a number, or all"),
        }
    }
}

impl Command {
    /// Does it, and says so on the terminal.
    pub async fn run(&self, clarim: &Clarim) -> ExitCode {
        let done = match clarim.storage() {
            Ok(storage) => self.run_with(clarim, &*storage).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(code) => code,
            Err(error) => {
                complain(&error.to_string());
                ExitCode::FAILURE
            }
        }
    }

    async fn run_with(&self, clarim: &Clarim, storage: &dyn Storage) -> Result<ExitCode, Error> {
        match self {
            Self::Work(work) => work.run(clarim).await,
            Self::Failed => {
                let failed = storage.failed().await?;
                say(&progress::failed(&failed));
                Ok(ExitCode::SUCCESS)
            }
            Self::Retry { ids } => retry(storage, ids).await,
            Self::Forget { ids } => forget(storage, ids).await,
            Self::Flush => {
                say(&format!("{} forgotten", counted(storage.flush().await?)));
                Ok(ExitCode::SUCCESS)
            }
            Self::Monitor => {
                let (sizes, failed) = (storage.sizes().await?, storage.failed().await?);
                say(&progress::sizes(&sizes));
                say(&format!("{} failed", counted(failed.len() as u64)));
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Work {
    async fn run(&self, clarim: &Clarim) -> Result<ExitCode, Error> {
        let broken = |error: std::io::Error| Error::Setting {
            name: "queue work".to_owned(),
            what: format!("signals cannot be heard: {error}"),
        };
        let (mut first, mut both) =
            (Signals::listen().map_err(broken)?, Signals::listen().map_err(broken)?);
        let mut worker = Worker::new(clarim)?
            .queues(self.queue.iter().map(|name| name.trim()))
            .concurrency(self.concurrency)
            .poll(Duration::from_millis(self.poll))
            .lease(Duration::from_secs(self.lease))
            .report(|report| say(&progress::report(&progress::now(), report, progress::width())));
        if self.once {
            worker = worker.at_most(1).stop_when_empty();
        }
        if self.stop_when_empty {
            worker = worker.stop_when_empty();
        }
        say(&format!(
            "Jobs of {}. Ctrl+C stops when what runs is finished.",
            self.queue.join(", ")
        ));
        let stop = async {
            first.next().await;
            say("Stopping when what runs is finished. Ctrl+C again stops now.");
        };
        let at_once = async {
            both.next().await;
            both.next().await;
        };
        tokio::select! {
            () = worker.run_until(stop) => Ok(ExitCode::SUCCESS),
            () = at_once => Ok(ExitCode::FAILURE),
        }
    }
}

/// What asks a process to end.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Each is queued first and forgotten then: a crash between the two runs it twice, and loses nothing.
async fn retry(storage: &dyn Storage, ids: &[Id]) -> Result<ExitCode, Error> {
    let failed = storage.failed().await?;
    let is_meant = |job: &&FailedJob| ids.contains(&Id::All) || ids.contains(&Id::One(job.id));
    for job in failed.iter().filter(is_meant) {
        storage.push(&job.renewed()).await?;
        storage.forget(job.id).await?;
        say(&format!("Job {} is queued again", job.id));
    }
    let is_unknown = |id: &u64| !failed.iter().any(|job| job.id == *id);
    let asked = ids.iter().filter_map(|id| match id {
        Id::One(id) => Some(*id),
        Id::All => None,
    });
    Ok(unknown(asked.filter(is_unknown)))
}

async fn forget(storage: &dyn Storage, ids: &[u64]) -> Result<ExitCode, Error> {
    let mut missing = Vec::new();
    for id in ids {
        if storage.forget(*id).await? {
            say(&format!("Job {id} is forgotten"));
        } else {
            missing.push(*id);
        }
    }
    Ok(unknown(missing))
}

fn unknown(ids: impl IntoIterator<Item = u64>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        complain(&format!("there is no failed job {id}"));
        code = ExitCode::FAILURE;
    }
    code
}

fn counted(jobs: u64) -> String {
    if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") }
}

/// Where nobody reads it, nothing is said.
fn say(text: &str) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(anstream::stderr(), "error: {text}");
}
