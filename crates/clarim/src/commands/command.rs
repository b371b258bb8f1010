//! The commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use clarim_queue::{FailedJob, Storage};

use super::clear::Clear;
use super::progress::{self, counted, print, print_error};
use super::work::Work;
use crate::error::Error;
use crate::handle::Clarim;
use crate::jobs::job::Job;
use crate::variables::is_command;

/// Runs the command `queue …` if the process was started with it, and returns its exit code. Returns `None`
/// if the first argument is not `queue`.
pub async fn run(clarim: &Clarim) -> Option<ExitCode> {
    #[derive(Parser)]
    enum Line {
        #[command(subcommand, about = "Run queued jobs, and manage failed ones")]
        Queue(Command),
    }
    if !is_command("queue") {
        return None;
    }
    let Line::Queue(command) = Line::parse();
    Some(command.run(clarim).await)
}

/// A command for the queue.
#[derive(Debug, Clone, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Run jobs until stopped; running jobs are finished first
    Work(Work),
    /// List the failed jobs
    Failed,
    /// Queue failed jobs again
    Retry {
        /// Ids of failed jobs, or all
        #[arg(required = true, value_name = "ID|all")]
        ids: Vec<Id>,
    },
    /// Delete failed jobs
    Forget {
        /// Ids of failed jobs
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
    },
    /// Delete all failed jobs
    Flush,
    /// Show the number of jobs in each queue, and the age of the oldest
    Monitor,
    /// Delete the waiting jobs of a queue; running jobs are finished
    Clear(Clear),
    /// Ask all workers to end after their running jobs, for a supervisor that starts them again
    Restart,
}

/// The id of a failed job, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id {
    /// All failed jobs.
    All,
    /// The failed job with this id.
    One(u64),
}

impl std::str::FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            number => number.parse().map(Self::One).map_err(|_| InvalidId),
        }
    }
}

/// An argument that is neither a number nor `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a number, or all")]
#[non_exhaustive]
pub struct InvalidId;

impl InvalidId {
    /// A stable identifier for programs: `invalid_job_id`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "invalid_job_id"
    }
}

impl Command {
    /// Runs the command and prints its output.
    pub async fn run(&self, clarim: &Clarim) -> ExitCode {
        let done = match clarim.storage() {
            Ok(storage) => self.run_with(clarim, &*storage).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(code) => code,
            Err(error) => {
                print_error(&error.to_string());
                ExitCode::FAILURE
            }
        }
    }

    async fn run_with(&self, clarim: &Clarim, storage: &dyn Storage) -> Result<ExitCode, Error> {
        match self {
            Self::Work(work) => work.run(clarim).await,
            Self::Failed => {
                let failed = storage.failed().await?;
                print(&progress::failed(&failed));
                Ok(ExitCode::SUCCESS)
            }
            Self::Retry { ids } => retry(storage, ids).await,
            Self::Forget { ids } => forget(storage, ids).await,
            Self::Flush => {
                print(&format!("{} deleted", counted(storage.flush().await?)));
                Ok(ExitCode::SUCCESS)
            }
            Self::Clear(clear) => clear.run(storage).await,
            Self::Restart => {
                storage.request_restart().await?;
                print("Workers end when their running jobs have finished.");
                Ok(ExitCode::SUCCESS)
            }
            Self::Monitor => {
                let failed = storage.failed().await?.len() as u64;
                print(&progress::sizes(&storage.sizes().await?));
                print(&format!("{} failed", counted(failed)));
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Queues each job before it deletes it: a crash in between runs a job twice, and loses none.
async fn retry(storage: &dyn Storage, ids: &[Id]) -> Result<ExitCode, Error> {
    let failed = storage.failed().await?;
    let is_selected = |job: &&FailedJob| ids.contains(&Id::All) || ids.contains(&Id::One(job.id));
    for job in failed.iter().filter(is_selected) {
        storage.push(&Job::retry(job)).await?;
        storage.forget(job.id).await?;
        print(&format!("Job {} queued again", job.id));
    }
    let is_unknown = |id: &u64| !failed.iter().any(|job| job.id == *id);
    let selected = ids.iter().filter_map(|id| match id {
        Id::One(id) => Some(*id),
        Id::All => None,
    });
    Ok(unknown(selected.filter(is_unknown)))
}

async fn forget(storage: &dyn Storage, ids: &[u64]) -> Result<ExitCode, Error> {
    let mut missing = Vec::new();
    for id in ids {
        if storage.forget(*id).await? {
            print(&format!("Job {id} deleted"));
        } else {
            missing.push(*id);
        }
    }
    Ok(unknown(missing))
}

fn unknown(ids: impl IntoIterator<Item = u64>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        print_error(&format!("no failed job has the id {id}"));
        code = ExitCode::FAILURE;
    }
    code
}
