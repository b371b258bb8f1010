//! The command that clears queues.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;

use clarim_queue::Storage;

use super::progress::{counted, print, print_error};
use crate::error::Error;

/// Options of `queue clear`.
#[derive(Debug, Clone, Args)]
#[non_exhaustive]
pub struct Clear {
    /// Queues to clear
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "default")]
    pub queue: Vec<String>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub force: bool,
}

impl Clear {
    pub(super) async fn run(&self, storage: &dyn Storage) -> Result<ExitCode, Error> {
        if !self.force && !is_confirmed(&self.queue.join(", ")) {
            print_error("nothing was deleted; confirm with y, or add --force");
            return Ok(ExitCode::FAILURE);
        }
        for queue in self.queue.iter().map(|name| name.trim()) {
            let deleted = storage.clear(queue).await?;
            print(&format!("{} of {queue} deleted", counted(deleted)));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks the user. The end of the input counts as no.
fn is_confirmed(queues: &str) -> bool {
    let mut out = anstream::stdout();
    let _ = write!(out, "Delete the waiting jobs of {queues}? [y/N] ");
    let _ = out.flush();
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}
