//! Commands for an application's schedule. Needs the feature `cli`.
//!
//! ```text
//! myapp schedule list   the tasks, with their next times and conditions
//! myapp schedule work   runs the tasks at their times, until stopped
//! myapp schedule run    runs what is due in this minute, once; for cron or a systemd timer
//! ```
//!
//! A few lines in `main` add them:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use clarim::Clarim;
//! use clarim::schedule::{self, Schedule};
//!
//! fn tasks(clarim: &Clarim) -> Schedule {
//!     Schedule::new().lock(clarim.queue()).call("prune", || async { /* … */ }).daily()
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
//!     let clarim = Clarim::from_env()?;
//!     if let Some(code) = schedule::cli::run(&clarim, || tasks(&clarim)).await {
//!         return Ok(code);
//!     }
//!     // … the application
//!     Ok(ExitCode::SUCCESS)
//! }
//! ```
//!
//! An application with its own command line adds [`Command`] as a subcommand, and calls [`Command::run`].

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Parser, Subcommand};

use super::Schedule;
use crate::commands::progress::{print, print_error};
use crate::commands::signals::Signals;
use crate::commands::work::refuse_unheard;
use crate::error::Error;
use crate::handle::Clarim;
use crate::variables::is_command;

/// Time for events that the tasks have put into a queue in memory.
const IDLE: Duration = Duration::from_secs(10);

/// Runs the command `schedule …` if the process was started with it, and returns its exit code. Returns
/// `None` if the first argument is not `schedule`.
pub async fn run(clarim: &Clarim, schedule: impl FnOnce() -> Schedule) -> Option<ExitCode> {
    #[derive(Parser)]
    enum Line {
        #[command(subcommand, about = "List and run scheduled tasks")]
        Schedule(Command),
    }
    if !is_command("schedule") {
        return None;
    }
    let Line::Schedule(command) = Line::parse();
    Some(command.run(clarim, schedule()).await)
}

/// A command for the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// List the tasks, with their next times and conditions
    List,
    /// Run the tasks at their times until stopped; running tasks are finished first
    Work,
    /// Run the tasks that are due in this minute, each once
    Run,
}

impl Command {
    /// Runs the command and prints its output.
    pub async fn run(self, clarim: &Clarim, schedule: Schedule) -> ExitCode {
        match self.run_with(clarim, schedule).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print_error(&error.to_string());
                ExitCode::FAILURE
            }
        }
    }

    async fn run_with(self, clarim: &Clarim, schedule: Schedule) -> Result<(), Error> {
        match self {
            Self::List => {
                let list = schedule.list(SystemTime::now())?;
                print(if list.is_empty() { "No tasks are scheduled." } else { list.trim_end() });
                return Ok(());
            }
            Self::Work => {
                refuse_unheard(clarim, "schedule work")?;
                let mut signals = Signals::listen().map_err(|error| {
                    Error::setting("schedule work", format!("cannot listen for signals: {error}"))
                })?;
                print("Running scheduled tasks. Ctrl+C stops after running tasks have finished.");
                schedule.run(signals.next()).await?;
            }
            Self::Run => {
                refuse_unheard(clarim, "schedule run")?;
                match schedule.run_due().await? {
                    0 => print("No task is due."),
                    1 => print("1 task was due"),
                    due => print(&format!("{due} tasks were due")),
                }
            }
        }
        clarim.idle_within(IDLE).await
    }
}
