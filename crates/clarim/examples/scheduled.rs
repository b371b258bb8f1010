//! Scheduled events. Start a server (`cargo run`), set its `REVERB_APP_*` variables, and run
//! `cargo run -p clarim --example scheduled -- schedule list`. `schedule work` runs the tasks at their times,
//! and `schedule run` what is due in this minute, once.

use std::process::ExitCode;
use std::time::Duration;

use clarim::schedule::{self, Schedule};
use clarim::{Broadcast, Clarim};
use serde::Serialize;

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "clock")]
struct MinutePassed;

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "clock")]
struct SecondPassed;

fn tasks(clarim: &Clarim) -> Schedule {
    Schedule::new()
        .broadcast(clarim, || MinutePassed)
        .every_minute()
        .broadcast(clarim, || SecondPassed)
        .every(Duration::from_secs(1))
        .without_overlapping()
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let clarim = Clarim::from_env()?;
    // `scheduled schedule list`, `work` or `run`
    if let Some(code) = schedule::cli::run(&clarim, || tasks(&clarim)).await {
        return Ok(code);
    }
    tasks(&clarim).run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
    clarim.idle_within(Duration::from_secs(5)).await?;
    Ok(ExitCode::SUCCESS)
}
