//! The log: lines on standard error.
//!
//! A separate thread writes them, so that a stalled terminal, pipe or disk never blocks a worker.

mod console;

use std::io::{self, Write};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use clarim_config::{LogConfig, LogFormat, LogLevel};
use clarim_server::TRAFFIC_TARGET;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::printable::has_colours;
use console::Console;

/// Maximum number of lines that wait to be written. Further lines are dropped and counted.
const MAX_LINES: usize = 4096;

/// Counters of standard error and standard output.
static DROPPED: OnceLock<[ErrorCounter; 2]> = OnceLock::new();

/// Timeout for writing the remaining lines when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The log's threads. Dropping it writes the remaining lines.
#[derive(Debug)]
pub(crate) struct Log(Option<[WorkerGuard; 2]>);

impl Drop for Log {
    fn drop(&mut self) {
        let (done, ended) = mpsc::channel();
        let threads = self.0.take();
        // A guard that can't reach its thread prints to standard output, which may be what has stalled.
        std::thread::spawn(move || {
            drop(threads);
            let _ = done.send(());
        });
        let _ = ended.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// Number of lines that were dropped because standard error or standard output stalled.
pub(crate) fn dropped() -> u64 {
    let counters = DROPPED.get().into_iter().flatten();
    counters.map(|counter| counter.dropped_lines() as u64).sum()
}

/// Starts the log. With `debug`, messages of clients and backends are printed to standard output.
///
/// # Errors
/// If the process has a log already.
pub(crate) fn start(config: LogConfig) -> Result<Log, TryInitError> {
    let LogConfig { format, level, debug, .. } = config;
    let (errors, errors_thread) = writer(io::stderr());
    let (output, output_thread) = writer(io::stdout());
    // A second log is refused below.
    let _ = DROPPED.set([errors.error_counter(), output.error_counter()]);
    // Errors of sqlx and async_nats are logged by their callers. The lines of sqlx may contain secrets, and
    // async_nats has one for each attempt to connect.
    let wanted = Targets::new()
        .with_default(filter(level))
        .with_targets([TRAFFIC_TARGET, "sqlx", "async_nats"].map(|name| (name, LevelFilter::OFF)));
    let lines = tracing_subscriber::fmt::layer().with_writer(errors).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(has_colours(&io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let traffic = debug.then(|| {
        Console::new(output)
            .with_filter(Targets::new().with_target(TRAFFIC_TARGET, LevelFilter::DEBUG))
    });
    tracing_subscriber::registry().with(lines.with_filter(wanted)).with(traffic).try_init()?;
    Ok(Log(Some([errors_thread, output_thread])))
}

fn writer(to: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(MAX_LINES).lossy(true).finish(to)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
