//! The log: one line for each thing worth knowing, to standard error.
//!
//! A thread of its own writes it: a terminal, a pipe or a disk that takes nothing must not hold up a worker.

use std::io::{self, IsTerminal, Write};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::console::Console;
use clarim_config::{LogConfig, LogFormat, LogLevel};
use clarim_server::TRAFFIC_TARGET;

/// Lines that wait to be written. Those that find no room are dropped, and counted.
const MAX_LINES: usize = 4096;

/// Of standard error, and of standard output.
static DROPPED: OnceLock<[ErrorCounter; 2]> = OnceLock::new();

/// How long a process that ends still writes what is to be written.
const FAREWELL: Duration = Duration::from_secs(1);

/// The log's threads, until it is dropped. Then they still write what is to be written.
#[derive(Debug)]
pub(crate) struct Log(Option<[WorkerGuard; 2]>);

impl Drop for Log {
    fn drop(&mut self) {
        let (done, ended) = mpsc::channel();
        let threads = self.0.take();
        // When a guard can't reach its thread it says so on standard output, which may be what has stalled.
        std::thread::spawn(move || {
            drop(threads);
            let _ = done.send(());
        });
        let _ = ended.recv_timeout(FAREWELL);
    }
}

/// Lines that were not written, since whoever should take them did not.
pub(crate) fn dropped() -> u64 {
    let counters = DROPPED.get().into_iter().flatten();
    counters.map(|counter| counter.dropped_lines() as u64).sum()
}

/// Starts the log. `debug` also prints the traffic to standard output.
///
/// # Errors
/// When the process has a log already.
pub(crate) fn start(config: LogConfig) -> Result<Log, TryInitError> {
    let LogConfig { format, level, debug, .. } = config;
    let (errors, errors_thread) = writer(io::stderr());
    let (output, output_thread) = writer(io::stdout());
    // Whoever is second is refused below.
    let _ = DROPPED.set([errors.error_counter(), output.error_counter()]);
    // What sqlx has to say is told by who has asked it; its own lines may show what is a secret.
    let wanted = Targets::new()
        .with_default(filter(level))
        .with_targets([(TRAFFIC_TARGET, LevelFilter::OFF), ("sqlx", LevelFilter::OFF)]);
    let lines = tracing_subscriber::fmt::layer().with_writer(errors).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
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
