//! The command that runs a worker.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clarim_queue::Worker;

use super::progress::{self, print};
use super::signals::Signals;
use crate::error::Error;
use crate::events::delivery::Delivery;
use crate::handle::Clarim;
use crate::jobs::job::BroadcastReader;

/// Options of a worker.
#[derive(Debug, Clone, Args)]
#[non_exhaustive]
pub struct Work {
    /// Queues by priority
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "default")]
    pub queue: Vec<String>,
    /// Number of jobs that run at the same time; jobs of one channel never do
    #[arg(long, value_name = "JOBS", default_value_t = 1)]
    pub concurrency: usize,
    /// Run at most one job
    #[arg(long)]
    pub once: bool,
    /// Stop when no job is due
    #[arg(long)]
    pub stop_when_empty: bool,
    /// Stop after this number of jobs
    #[arg(long, value_name = "JOBS")]
    pub max_jobs: Option<u64>,
    /// Stop after this time, in seconds; running jobs are finished first
    #[arg(long, value_name = "SECONDS")]
    pub max_time: Option<u64>,
    /// Maximum number of attempts of events that set none; 0 is unlimited [default: 100]
    #[arg(long, value_name = "TRIES")]
    pub tries: Option<u32>,
    /// Timeout for one attempt of events that set none, in seconds [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// Delays before further attempts of events that set none, in seconds; the last one repeats
    /// [default: 1,5,10]
    #[arg(long, value_name = "SECONDS", value_delimiter = ',')]
    pub backoff: Option<Vec<u64>>,
    /// Interval at which an empty queue is polled, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub poll: u64,
    /// Time after which the jobs of a dead worker run again, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub lease: u64,
}

impl Work {
    pub(super) async fn run(&self, clarim: &Clarim) -> Result<ExitCode, Error> {
        refuse_unheard(clarim, "queue work")?;
        let failed = |error: std::io::Error| {
            Error::setting("queue work", format!("cannot listen for signals: {error}"))
        };
        let mut first = Signals::listen().map_err(failed)?;
        let mut both = Signals::listen().map_err(failed)?;
        let reader = BroadcastReader::new(clarim.publisher()).delivery(self.delivery());
        let mut worker = Worker::with_storage(clarim.storage()?, Arc::new(reader))
            .queues(self.queue.iter().map(|name| name.trim()))
            .concurrency(self.concurrency)
            .poll(Duration::from_millis(self.poll))
            .lease(Duration::from_secs(self.lease))
            .report(|report| print(&progress::report(&progress::now(), report, progress::width())));
        if let Some(jobs) = self.max_jobs {
            worker = worker.at_most(jobs);
        }
        if self.once {
            worker = worker.at_most(1).stop_when_empty();
        }
        if self.stop_when_empty {
            worker = worker.stop_when_empty();
        }
        print(&format!(
            "Running jobs of {}. Ctrl+C stops after running jobs have finished.",
            self.queue.join(", ")
        ));
        let restart = worker.restart_requested();
        let stop = async {
            tokio::select! {
                () = restart => print("Stopping after running jobs have finished: a restart was requested."),
                () = first.next() => print("Stopping after running jobs have finished. Ctrl+C again stops now."),
                () = self.max_time_is_over() => print("Stopping after running jobs have finished: the time is over."),
            }
        };
        let stop_now = async {
            both.next().await;
            both.next().await;
        };
        tokio::select! {
            () = worker.run_until(stop) => Ok(ExitCode::SUCCESS),
            () = stop_now => Ok(ExitCode::FAILURE),
        }
    }

    /// The settings for events that have none of their own.
    fn delivery(&self) -> Delivery {
        let mut delivery = Delivery::queued();
        delivery.tries = self.tries;
        delivery.timeout = self.timeout.map(Duration::from_secs);
        let backoff = self.backoff.as_ref();
        delivery.backoff =
            backoff.map(|delays| delays.iter().copied().map(Duration::from_secs).collect());
        delivery
    }

    async fn max_time_is_over(&self) {
        match self.max_time {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    }
}

/// Refuses a command whose events would reach nobody.
#[cfg_attr(not(feature = "embedded"), expect(unused_variables, clippy::unnecessary_wraps))]
pub(crate) fn refuse_unheard(clarim: &Clarim, command: &str) -> Result<(), Error> {
    #[cfg(feature = "embedded")]
    if clarim.server().is_some_and(|server| !server.is_clustered()) {
        return Err(Error::setting(
            command,
            "the server in this process has no clients, so its events would reach nobody; run clarim::queue::Worker and Schedule::run in the application's process, or publish to the application over HTTP here: Clarim::new(Settings::http(…).port(…))",
        ));
    }
    Ok(())
}

#[cfg(all(test, feature = "embedded", feature = "sqlite"))]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::embedded::{App, Server, ServerConfig};
    use crate::jobs::connection::QueueConnection;
    use crate::settings::Settings;

    #[tokio::test]
    async fn a_worker_whose_server_has_no_clients_is_refused() {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            work: Work,
        }
        let app = App::new("1", "key", "secret");
        let server = Server::without_port(ServerConfig::default(), vec![app.clone()]).unwrap();
        let queue = QueueConnection::Sqlite("sqlite::memory:".to_owned());
        let clarim = Clarim::with_server(Settings::default().queue(queue), server, &app);
        let Line { work } = Line::parse_from(["work"]);
        let error = work.run(&clarim).await.unwrap_err().to_string();
        assert!(error.contains("has no clients"), "{error}");
    }
}
